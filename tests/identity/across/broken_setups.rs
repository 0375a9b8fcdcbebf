//! Broken set-ups of the identity server, as `check-config` reports them: each line with its place, the value that was found
//! and what is expected; and what is open to the world, as a note.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::process::{new_folder, run};
use harness::{binary, broken_setups};
use tempfile::TempDir;

const PUBLIC: &str = "[server]\npublic_base_url = \"https://id.example.org\"\ndata_dir = \"data\"\n";

async fn check(folder: &TempDir, toml: &str, environment: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    broken_setups::check(binary::identity(), folder, toml, environment).await
}

fn write(folder: &Path, name: &str, text: &str, mode: u32) {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("a folder");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("our file");
}

/// Configurations with one error each, and the line that reports it: after [`PUBLIC`], so that the section begins in line 4.
const ERRORS: &str = include_str!("broken_setups.txt");

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_named_with_its_line_what_was_found_and_what_is_expected() {
    broken_setups::assert_each_is_named(binary::identity(), PUBLIC, ERRORS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_errors_are_reported_at_once_and_a_value_from_the_environment_is_named_as_such() {
    let folder = new_folder();
    let toml =
        format!("{PUBLIC}[http]\nworkers = 0\nbnid = 1\n[log]\nlevel = \"x\"\n[terms]\nfile = \"nowhere.yaml\"\n");
    let environment = [("IDENTITY__EMAIL__PORT", "smtp"), ("IDENTITY__SESSIONS__LIFETIME", "long")];
    let (code, lines) = check(&folder, &toml, &environment).await;
    let starts = [
        "identity: the configuration has 6 errors",
        "config.toml:5: [http] workers: found 0",
        "config.toml:6: [http] bnid: unknown key",
        "config.toml:8: [log] level: found \"x\"",
        "config.toml:10: [terms] file: nowhere.yaml",
        "environment variable IDENTITY__EMAIL__PORT: [email] port: found \"smtp\"; expected a whole number",
        "environment variable IDENTITY__SESSIONS__LIFETIME: [sessions] lifetime: found \"long\"; expected a duration",
    ];
    assert_eq!((code, lines.len()), (Some(1), starts.len()), "{}", lines.join("\n"));
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\nexpected: {start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_file_is_recognised() {
    let folder = new_folder();
    for (text, name) in [
        ("[general]\nserver.name = id.example.org\n[db]\ndb.file = sydent.db\n", "this is a sydent.conf"),
        ("matrix:\n  domain: 'example.org'\nkey:\n  path: '/var/lib/ma1sd/sign.key'\n", "this is a ma1sd.yaml"),
        ("http:\n  port: 5000\napps:\n  com.example.*:\n    type: gcm\n", "this is a sygnal.yaml"),
        ("server_name: \"example.org\"\nlisteners:\n  - port: 8008\n", "this is Synapse's homeserver.yaml"),
    ] {
        let (code, lines) = check(&folder, text, &[]).await;
        assert!(code == Some(1) && lines[0].contains(name), "{}", lines.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_to_the_world_or_has_no_effect_is_noted() {
    let folder = new_folder();
    for (name, mode) in [("open", 0o644), ("closed", 0o600)] {
        write(folder.path(), name, "hunter2\n", mode);
    }
    std::fs::create_dir_all(folder.path().join("templates/mine")).expect("a folder");
    let quiet = format!(
        "{PUBLIC}[http]\ntrusted_proxies = [\"127.0.0.1\"]\n[registration]\nallow_servers = [\"example.org\"]\n[invites]\n\
         web_client = \"https://app.example.org\"\n[email]\nhost = \"mx.example.org\"\nusername = \"u\"\npassword_file = \
         \"closed\"\n"
    );
    let (code, lines) = check(&folder, &quiet, &[]).await;
    let notes = |lines: &[String]| lines.iter().filter(|line| line.starts_with("note: ")).cloned().collect::<Vec<_>>();
    assert_eq!((code, notes(&lines)), (Some(0), Vec::<String>::new()), "{}", lines.join("\n"));
    assert_eq!(lines[0], "configuration: config.toml");
    assert_eq!(lines.last().map(String::as_str), Some("the configuration is good"));
    for (from, to, environment, note) in [
        (
            "allow_servers = [\"example.org\"]",
            "",
            None,
            "[registration] allow_servers is empty: users of every homeserver",
        ),
        (
            "[invites]",
            "[lookup]\nalgorithms = [\"sha256\", \"none\"]\n[invites]",
            None,
            "[lookup] algorithms has \"none\"",
        ),
        (
            "https://app.example.org",
            "https://app.element.io",
            None,
            "[invites] web_client is https://app.element.io, of another",
        ),
        ("[http]", "[admin]\nbind = \"0.0.0.0:9090\"\n[http]", None, "[admin] bind: everyone who reaches 0.0.0.0:9090"),
        (
            "trusted_proxies = [\"127.0.0.1\"]",
            "",
            None,
            "[http] trusted_proxies is empty: all clients behind your reverse",
        ),
        ("127.0.0.1\"]", "192.0.2.1\"]", None, "is a range of examples"),
        ("\"closed\"", "\"open\"", None, "INSECURE: [email] password_file: every user of this machine can access open"),
        ("[invites]", "[limits]\nenabled = false\n[invites]", None, "INSECURE: [limits] enabled is off"),
        ("[invites]", "[federation]\ntls_verify = false\n[invites]", None, "INSECURE: [federation] tls_verify is off"),
        ("[invites]", "[templates]\ndir = \"templates\"\n[invites]", None, "[templates] default_brand: "),
        (
            "[\"example.org\"]",
            "[\"example.org\", \"?*\"]",
            None,
            "has a pattern that matches every name: users of every",
        ),
        (
            "[invites]",
            "deny_servers = [\"*\"]\n[invites]",
            None,
            "[registration] deny_servers has a pattern that matches every",
        ),
        (
            "[\"127.0.0.1\"]",
            "[\"127.0.0.1\", \"0.0.0.0/0\"]",
            None,
            "INSECURE: [http] trusted_proxies: every client in 0.0.0.0/0",
        ),
        (
            "[invites]",
            "[outbound]\nallow_cidrs = [\"::/0\"]\n[invites]",
            None,
            "INSECURE: [outbound] allow_cidrs: ::/0",
        ),
        ("[email]", "[email]\ntls = \"none\"", None, "INSECURE: [email] tls is \"none\""),
        (
            "[invites]",
            "[database]\nurl = \"postgres://u:hunter2@db.example/d?sslmode=disable\"\n[invites]",
            None,
            "INSECURE: [database] the URL has sslmode=disable",
        ),
        (
            "trusted_proxies = [\"127.0.0.1\"]",
            "bind = \"0.0.0.0:8090\"\n[legacy_v1]\nprofile = \"delegate\"\ndelegate_allow_ips = [\"127.0.0.1\"]",
            None,
            "[legacy_v1] delegate_allow_ips has 127.0.0.1/32, and [http] trusted_proxies is empty",
        ),
        (
            "[invites]",
            "[legacy_v1]\nprofile = \"delegate\"\ndelegate_allow_ips = [\"0.0.0.0/0\"]\n[invites]",
            None,
            "INSECURE: [legacy_v1] delegate_allow_ips: every client in 0.0.0.0/0",
        ),
        ("[invites]", "[invites]\nblocked_keywords = [\"\"]", None, "[invites] blocked_keywords: an empty word"),
        (
            "id.example.org\"",
            "id.example.org/_matrix/identity\"",
            None,
            "[server] public_base_url has the path /_matrix/identity",
        ),
        ("", "", Some(("IDENTITY_HTTP_BIND", "x")), "write IDENTITY__HTTP__BIND"),
        ("", "", Some(("IDENTITY.HTTP.BIND", "x")), "write IDENTITY__HTTP__BIND"),
        ("", "", Some(("DENTITY__HTTP__BIND", "x")), "write IDENTITY__HTTP__BIND"),
        ("", "", Some(("IDENTITY_CONFIG_FILE", "x")), "IDENTITY_CONFIG names the configuration file"),
        ("", "", Some(("IDENTIY__HTTP__BIND", "x")), "environment variable IDENTIY__HTTP__BIND is not read"),
    ] {
        let toml = quiet.replacen(from, to, usize::from(!from.is_empty()));
        let (code, lines) = check(&folder, &toml, environment.as_slice()).await;
        let found = notes(&lines);
        let is_named = found.len() == 1 && found[0].contains(note);
        assert!(code == Some(0) && is_named, "{to}\nexpected: {note}\nfound: {}", lines.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_administrator_need_only_the_settings_that_they_use() {
    let folder = new_folder();
    let toml = "[server]\ndata_dir = \"data\"\npublic_base_url = \"nonsense\"\n[email]\nhost = \"mx\"\nusername = \"u\"\n\
                password_file = \"/nowhere/secret\"\n[sms]\nprovider = \"nexmo\"\n";
    std::fs::write(folder.path().join("config.toml"), toml).expect("a folder");
    let run = async |arguments: &[&str]| {
        let output = run(binary::identity(), folder.path(), arguments, &[]).await;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code(), text)
    };
    let (code, text) = run(&["migrate"]).await;
    assert_eq!(code, Some(0), "{text}");
    for (arguments, expected) in
        [(&["invites", "list"][..], "no invitations"), (&["outbox", "list"], "the outbox is empty")]
    {
        let (code, text) = run(arguments).await;
        assert!(code == Some(0) && text.contains(expected), "{text}");
    }
    write(&folder.path().join("data"), "signing.key", "ed25519 0 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1\n", 0o600);
    let (code, text) = run(&["rotate-key"]).await;
    assert!(code == Some(0) && text.contains("is the signing key now"), "{text}");
    let (code, _) = run(&["check-config"]).await;
    assert_eq!(code, Some(1));
}
