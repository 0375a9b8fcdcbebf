//! Valid configurations, and the errors for invalid ones.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::rules::UnknownApp;
use super::{Config, ConfigErrors};

const APP: &str = "[apps.'com.Example.App']\ntype = 'fcm'\nservice_account_file = 'sa.json'\n";

fn load(toml: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().unwrap();
    load_in(folder.path(), toml).map_err(|errors| {
        // Without the file and the line.
        let error = errors.lines().first().cloned().unwrap_or_default();
        error.split_once(": [").map(|(_, text)| format!("[{text}")).unwrap_or(error)
    })
}

fn load_in(folder: &Path, toml: &str) -> Result<Config, ConfigErrors> {
    let path = folder.join("config.toml");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    Config::load(Some(&path))
}

/// The notices about settings; other variables of the environment may add some.
fn notices(config: &Config) -> Vec<String> {
    config.notices().into_iter().filter(|notice| !notice.starts_with("environment variable ")).collect()
}

#[track_caller]
fn refused(toml: &str) -> String {
    load(&format!("{toml}\n{APP}")).map(drop).unwrap_err()
}

#[test]
fn one_app_is_the_only_required_setting() {
    let config = load(APP).unwrap();
    assert_eq!(config.http.bind.as_slice(), ["127.0.0.1:5000".parse().unwrap()]);
    assert_eq!(config.http.max_body.get(), 524_288);
    assert_eq!(config.limits.request_deadline.get(), Duration::from_secs(25));
    assert_eq!(config.limits.max_devices, 500);
    assert_eq!(config.dedup.exempt_event_ids.as_slice(), ["$THIS_IS_A_FAKE_EVENT_ID"]);
    assert_eq!(config.routing.unknown_app, UnknownApp::Reject);
    assert!(config.rejection_breaker.enabled && notices(&config).is_empty());
}

#[test]
fn the_error_for_a_configuration_without_apps_shows_the_lines_to_add() {
    for nothing in ["", "[http]\nbind = '127.0.0.1:0'", "[apps]"] {
        let error = load(nothing).map(drop).unwrap_err();
        assert!(error.contains("[apps.\"com.example.app.ios\"]") && error.contains("service_account_file"), "{error}");
    }
    // These lines are a valid configuration.
    let lines: String = super::NO_APPS.lines().skip(2).map(|line| format!("{}\n", line.trim())).collect();
    assert_eq!(load(&lines).unwrap().apps.len(), 2);
}

#[test]
fn an_app_id_keeps_its_case_and_its_dots_and_paths_are_relative_to_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "{APP}[apps.'*.ios']\ntype = 'apns'\ntopic = 'a.b'\nkey_file = 'k/a.p8'\nkey_id = 'ABC1234567'\nteam_id = 'DEF1234567'"
    );
    let config = load_in(folder.path(), &toml).unwrap();
    let patterns: Vec<&String> = config.apps.keys().collect();
    assert_eq!(patterns, ["*.ios", "com.Example.App"]);
    let files =
        |pattern: &str| config.apps[pattern].watched_files().iter().map(|file| file.to_path_buf()).collect::<Vec<_>>();
    assert_eq!(config.apps["com.Example.App"].own.type_name(), "fcm");
    assert_eq!(files("com.Example.App"), [folder.path().join("sa.json")]);
    assert_eq!(config.apps["*.ios"].own.type_name(), "apns");
    assert_eq!(files("*.ios"), [folder.path().join("k/a.p8")]);
}

#[test]
fn unknown_keys_name_the_nearest_one_that_is_known() {
    for (toml, error) in [
        ("[htpt]\nbind = 'x'", "[htpt]: unknown section; did you mean [http]?"),
        ("[limits]\nmax_device = 5", "[limits] max_device: unknown key; did you mean max_devices?"),
        ("[apps.'a.b']\ntype = 'apns'\ntopik = 'x'", "[apps.\"a.b\"] topik: unknown key; did you mean topic?"),
        ("[apps.'a.b']\ntype = 'apsn'", "[apps.\"a.b\"] type: unknown type \"apsn\": did you mean \"apns\"?"),
    ] {
        assert_eq!(refused(toml), error);
    }
}

#[test]
fn wrong_values_name_their_key() {
    for (toml, start) in [
        ("[limits]\nrequest_deadline = 'soon'", "[limits] request_deadline: "),
        ("[limits]\nper_pushkey = 'often'", "[limits] per_pushkey: "),
        ("[limits]\nmax_devices = 0", "[limits] "),
        ("[routing]\nunknown_app = 'ignore'", "[routing] unknown_app: "),
        ("[rejection_breaker]\nshare = 50", "[rejection_breaker] share: "),
        ("[http]\nbind = []", "[http] bind: "),
        ("[http]\nbase_path = 'x y'", "[http] base_path: "),
        ("[outbound]\nproxy = 'user:secret@host'", "[outbound] proxy: "),
        ("[apps.'x']", "[apps.\"x\"] type: missing"),
        ("[apps.'']\ntype = 'apns'", "[apps.\"\"]: "),
        ("[apps.'x']\ntype = 'apns'\ntopic = 'a.b'\nplatform = 'prod'", "[apps.\"x\"] platform: "),
        ("[apps.'x']\ntype = 'fcm'\ncredentials = 'adc'\nttl = 'long'", "[apps.\"x\"] ttl: "),
    ] {
        let error = refused(toml);
        assert!(error.starts_with(start) && !error.contains("secret"), "{toml}: {error}");
    }
    assert!(load("apps = 5\n").is_err());
    assert_eq!(refused("[apps]\nx = 5"), "[apps.\"x\"]: found 5; expected a table");
}

#[test]
fn unknown_types_and_legacy_keys_are_refused_by_name() {
    let error = refused("[apps.'x']\ntype = 'htp'");
    assert!(error.contains("did you mean \"http\"?"), "{error}");
    let legacy = refused("[apps.'x']\ntype = 'fcm'\napi_key = 'AAAA:secret'");
    assert!(legacy.contains("service_account_file") && legacy.contains("project_id"), "{legacy}");
    assert!(!legacy.contains("secret"), "{legacy}");
    assert!(refused("[apps.'x']\ntype = 'gcm'").contains("\"fcm\""));
}

#[test]
fn the_proxy_comes_from_a_file_or_from_its_key_but_not_from_both() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("proxy"), "http://u:p@proxy:3128\n").unwrap();
    let config = load_in(folder.path(), &format!("[outbound]\nproxy_file = 'proxy'\n{APP}")).unwrap();
    assert_eq!(config.outbound.proxy, "http://u:p@proxy:3128".parse().ok());
    assert!(!format!("{config:?}").contains("u:p@"));
    let twice = format!("[outbound]\nproxy_file = 'proxy'\nproxy = 'http://x'\n{APP}");
    let error = load_in(folder.path(), &twice).map(drop).unwrap_err().to_string();
    assert!(error.ends_with(":3: [outbound] proxy and proxy_file are both set; keep one of them"), "{error}");
}

#[test]
fn a_file_that_holds_a_secret_or_a_certificate_is_watched() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("proxy"), "http://proxy:3128").unwrap();
    let toml = format!("[outbound]\nproxy_file = 'proxy'\nextra_ca_file = 'ca.pem'\n{APP}");
    let config = load_in(folder.path(), &toml).unwrap();
    let file = folder.path().join("config.toml");
    let expected = ["config.toml", "ca.pem", "proxy", "sa.json"].map(|name| folder.path().join(name));
    assert_eq!(config.watched_files(Some(&file)), expected);
}

#[test]
fn a_secret_that_every_user_can_read_is_a_notice() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let toml =
        "[apps.'a.b']\ntype = 'apns'\ntopic = 'a.b'\nkey_file = 'a.p8'\nkey_id = 'ABC1234567'\nteam_id = 'DEF1234567'";
    let config = load_in(folder.path(), toml).unwrap();
    std::fs::write(folder.path().join("a.p8"), "x").unwrap();
    for (mode, is_exposed) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(folder.path().join("a.p8"), std::fs::Permissions::from_mode(mode)).unwrap();
        let notices = notices(&config);
        assert_eq!(notices.len(), usize::from(is_exposed), "{notices:?}");
        assert!(notices.iter().all(|notice| notice.starts_with("INSECURE: [apps.\"a.b\"] key_file: every user")));
    }
}

#[test]
fn settings_are_equal_only_with_the_same_type_and_values() {
    let app = |toml: &str| load(&format!("[apps.'x']\n{toml}")).unwrap().apps["x"].clone();
    let fcm = "type = 'fcm'\nservice_account_file = '/sa.json'";
    let apns = "type = 'apns'\ntopic = 'a'\nkey = 'one'";
    assert!(app(fcm).is_equal(&app(fcm)) && app(apns).is_equal(&app(apns)));
    // A key with its default value changes nothing.
    assert!(app(fcm).is_equal(&app(&format!("{fcm}\nmax_concurrent = 4096"))));
    assert!(!app(fcm).is_equal(&app(&format!("{fcm}\nttl = '1h'"))));
    assert!(!app(apns).is_equal(&app(&apns.replace("one", "two"))), "secrets are compared");
    assert!(!app(apns).is_equal(&app(fcm)));
}
