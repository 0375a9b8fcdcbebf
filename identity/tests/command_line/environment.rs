//! Settings from the environment: each key can be set there, and a wrong one is found there too.

use std::path::Path;

use super::example_config::known;
use super::{identity, text};

/// Runs `identity check-config` with these variables alone; gives its success and what it said.
fn check(folder: &Path, variables: &[(&str, &str)]) -> (bool, String) {
    let output = identity(&["check-config"]).env("HOME", folder).envs(variables.iter().copied()).output().unwrap();
    (output.status.success(), text(&output))
}

#[test]
fn an_unknown_variable_is_an_error_with_the_nearest_known_key() {
    let folder = tempfile::tempdir().unwrap();
    for (section, key) in known() {
        let variable = format!("IDENTITY__{}__{}X", section.to_uppercase(), key.to_uppercase());
        let (success, said) = check(folder.path(), &[(&variable, "1")]);
        assert!(!success, "{variable}");
        let place = format!("environment variable {variable}");
        let expected = format!("identity: {place}: [{section}] {key}x: unknown key; did you mean {key}?\n");
        assert_eq!(said, expected, "{variable}");
    }
    let (success, said) = check(folder.path(), &[("IDENTITY__HTPT__BIND", "1")]);
    assert!(!success && said.contains("[htpt]: unknown section; did you mean [http]?"), "{said}");
}

#[test]
fn a_value_that_cannot_be_parsed_is_an_error_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    for (variable, value, expected) in [
        ("IDENTITY__SERVER__ALLOW_HTTP_BASE_URL", "perhaps", "[server] allow_http_base_url: "),
        (
            "IDENTITY__SERVER__PUBLIC_BASE_URL",
            "http://id.example.org",
            "[server] public_base_url: found \"http://id.example.org\"; expected https",
        ),
        ("IDENTITY__HTTP__BIND", "127.0.0.1:8090, here", "[http] bind: "),
        ("IDENTITY__HTTP__MAX_BODY", "1MB", "[http] max_body: found \"1MB\"; expected a size such as"),
        (
            "IDENTITY__HTTP__TRUSTED_PROXIES",
            "10.0.0.1,proxy",
            "[http] trusted_proxies: found \"proxy\"; expected a network",
        ),
        ("IDENTITY__ADMIN__BIND", "9090", "[admin] bind: found \"9090\"; expected an address such as"),
        ("IDENTITY__LOG__LEVEL", "loud", "[log] level: "),
        ("IDENTITY__DATABASE__MAX_CONNECTIONS", "0", "[database] max_connections: found \"0\"; expected at least 1"),
        ("IDENTITY__DATABASE__URL", "mysql://u:hunter2@h/d", "[database] url: expected sqlite:///path"),
        ("IDENTITY__DATABASE__URL", "postgres://u:p@hunter2:hunter2@h/d", "percent-encoded"),
        ("IDENTITY__KEYS__REVOKED", "0", "[keys] revoked: found \"0\"; expected \"ed25519:<id>\""),
        ("IDENTITY__AUTH__TOKEN_IDLE", "soon", "found \"soon\"; expected a duration such as"),
        ("IDENTITY__ACCOUNT__LIST_OWN_BINDINGS", "2", "[account] list_own_bindings: "),
        ("IDENTITY__SESSIONS__EMAIL_MAX_WRONG", "-1", "[sessions] email_max_wrong: "),
        ("IDENTITY__EMAIL__TLS", "opportunistic", "[email] tls: "),
        ("IDENTITY__EMAIL__FROM", "no-address", "no-address"),
        ("IDENTITY__EMAIL__TRANSPORT", "smtp", "[email] host: not set"),
        ("IDENTITY__LOOKUP__ALGORITHMS", "none", "expected \"sha256\" in the list"),
        ("IDENTITY__LOOKUP__ALGORITHMS", "sha256,md5", "expected \"sha256\" or \"none\""),
        ("IDENTITY__BIND__VALIDITY", "1y", "[bind] validity: "),
        ("IDENTITY__UNBIND__ALLOW_OWNER_TOKEN", "maybe", "[unbind] allow_owner_token: "),
        ("IDENTITY__FEDERATION__DNS_SERVERS", "9.9.9.9", "[federation] dns_servers: "),
        ("IDENTITY__OUTBOUND__EXTRA_CA_FILE", "nowhere.pem", "[outbound] extra_ca_file: "),
        ("IDENTITY__LIMITS__EMAIL_PER_ACCOUNT__BURST", "3", "[limits] email_per_account: every is missing; set it"),
        ("IDENTITY__TERMS__FILE", "nowhere.yaml", "[terms] file: nowhere.yaml: "),
    ] {
        let (success, said) = check(folder.path(), &[(variable, value)]);
        assert!(!success && said.contains(expected), "{variable}={value}: {said}");
        assert!(!said.contains("hunter2"), "{variable}={value}: {said}");
        assert_eq!(said.lines().count(), 1, "{variable}={value}: {said}");
    }
}

#[test]
fn good_values_are_taken_lists_with_commas_included() {
    let folder = tempfile::tempdir().unwrap();
    let (success, said) = check(
        folder.path(),
        &[
            ("IDENTITY__SERVER__PUBLIC_BASE_URL", "https://id.example.org"),
            ("IDENTITY__HTTP__BIND", "127.0.0.1:8090, [::1]:8090"),
            ("IDENTITY__HTTP__TRUSTED_PROXIES", "10.0.0.1,fd00::/8"),
            ("IDENTITY__ADMIN__BIND", "unix:/run/identity.sock"),
            ("IDENTITY__DATABASE__URL", "postgres://u:p%40ss@localhost/d?sslmode=disable"),
            ("IDENTITY__LOOKUP__ALGORITHMS", "sha256,none"),
            ("IDENTITY__REGISTRATION__ALLOW_SERVERS", "example.org,*.example.org"),
            ("IDENTITY__INVITES__WEB_CLIENT", "https://app.example.org"),
            ("IDENTITY__SESSIONS__NEXT_LINK_HOSTS", "app.example.org,*.example.com"),
            ("IDENTITY__EMAIL__HOST", "smtp.example.org"),
            ("IDENTITY__LIMITS__EMAIL_PER_ACCOUNT__BURST", "3"),
            ("IDENTITY__LIMITS__EMAIL_PER_ACCOUNT__EVERY", "1m"),
            // An empty one is as good as none.
            ("IDENTITY__HTTP__WORKERS", ""),
        ],
    );
    assert!(success, "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.first(), Some(&"configuration: no file and 12 environment variables"));
    assert_eq!(lines.last(), Some(&"the configuration is good"));
    // The only one that opens the server to others.
    assert!(lines.len() == 3 && lines[1].starts_with("note: [lookup] algorithms has \"none\""), "{said}");
}

#[test]
fn a_secret_comes_from_a_file_or_from_its_place_and_never_from_both() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    let file = file.display().to_string();
    let login = [("IDENTITY__EMAIL__HOST", "smtp.example.org"), ("IDENTITY__EMAIL__USERNAME", "u")];
    let with = |more: &[(&str, &str)]| check(folder.path(), &[&login, more].concat());

    let (success, said) = with(&[]);
    assert!(!success && said.contains("password"), "{said}");
    let (success, said) = with(&[("IDENTITY__EMAIL__PASSWORD_FILE", &file)]);
    assert!(success, "{said}");
    let (success, said) = with(&[("IDENTITY__EMAIL__PASSWORD_FILE", &file), ("IDENTITY__EMAIL__PASSWORD", "hunter3")]);
    let expected = "identity: environment variable IDENTITY__EMAIL__PASSWORD: [email] password and password_file are both set; keep one of them\n";
    assert_eq!((success, said.as_str()), (false, expected));
    let (success, said) = with(&[("IDENTITY__EMAIL__PASSWORD_FILE", "nowhere")]);
    assert!(!success && said.contains("cannot read the file") && !said.contains("nowhere"), "{said}");

    std::fs::write(&file, "sqlite::memory:\n").unwrap();
    let url = ("IDENTITY__DATABASE__URL_FILE", file.as_str());
    assert!(check(folder.path(), &[url]).0);
    let (success, said) = check(folder.path(), &[url, ("IDENTITY__DATABASE__URL", "sqlite::memory:")]);
    let expected = "identity: environment variable IDENTITY__DATABASE__URL: [database] url and url_file are both set; keep one of them\n";
    assert_eq!((success, said.as_str()), (false, expected));
}
