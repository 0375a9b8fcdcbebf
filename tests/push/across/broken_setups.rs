//! Broken set-ups of the push gateway, as `check-config` reports them: each line with its place, the value that was found and
//! what is expected.

use harness::process::new_folder;
use harness::{binary, broken_setups};
use tempfile::TempDir;

/// An app that is served without a file.
const APP: &str = "[apps.'com.example.app']\ntype = 'fcm'\ncredentials = 'metadata'\nproject_id = 'p'\n";

async fn check(folder: &TempDir, toml: &str, environment: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
    broken_setups::check(binary::push_gateway(), folder, toml, environment).await
}

/// Configurations with one error each, and the line that reports it: after [`APP`], so that the section begins in line 5.
const ERRORS: &str = include_str!("broken_setups.txt");

#[tokio::test(flavor = "multi_thread")]
async fn an_error_is_named_with_its_line_what_was_found_and_what_is_expected() {
    broken_setups::assert_each_is_named(binary::push_gateway(), APP, ERRORS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_errors_are_reported_at_once_and_a_value_from_the_environment_is_named_as_such() {
    let folder = new_folder();
    let toml = "[http]\nbnid = 1\n[apps.'a.b']\ntype = 'fcm'\nservice_account_file = 'one.json'\n[apps.'c.d']\ntype = 'apns'\n\
                topic = 'c d'\n";
    let environment = [("PUSH_GATEWAY__APPS__c.d__PLATFORM", "prod"), ("PUSH_GATEWAY__LIMITS__MAX_DEVICES", "many")];
    let (code, lines) = check(&folder, toml, &environment).await;
    let text = lines.join("\n");
    assert!(code == Some(1) && lines[0].starts_with("push-gateway: the configuration has "), "{text}");
    for expected in [
        "config.toml:2: [http] bnid: unknown key; did you mean bind?",
        "config.toml:5: [apps.\"a.b\"] ",
        "config.toml:8: [apps.\"c.d\"] topic: found \"c d\"; expected the app's bundle id, such as \"com.example.app\"",
        "environment variable PUSH_GATEWAY__APPS__c.d__PLATFORM: [apps.\"c.d\"] platform: found \"prod\"; expected \"",
        "environment variable PUSH_GATEWAY__LIMITS__MAX_DEVICES: [limits] max_devices: found \"many\"; expected a whole number",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(expected)), "expected: {expected}\nfound: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_programs_file_and_a_misspelt_variable_are_named() {
    let folder = new_folder();
    let sygnal = "http:\n  bind_addresses: ['127.0.0.1']\n  port: 5000\napps:\n  com.example.*:\n    type: gcm\n";
    let (code, lines) = check(&folder, sygnal, &[]).await;
    assert!(code == Some(1) && lines[0].contains("this is a sygnal.yaml"), "{lines:?}");
    let (code, lines) = check(&folder, APP, &[("PUSH_GATEWAY_HTTP_BIND", "127.0.0.1:1")]).await;
    let note = "note: environment variable PUSH_GATEWAY_HTTP_BIND is not read";
    assert!(code == Some(0) && lines.iter().any(|line| line.starts_with(note)), "{lines:?}");
    assert_eq!(lines[0], "configuration: config.toml");
    let open = format!("[admin]\nbind = '0.0.0.0:9000'\n{APP}");
    let (code, lines) = check(&folder, &open, &[]).await;
    let note = "note: [admin] bind: everyone who reaches 0.0.0.0:9000 can read the metrics";
    assert!(code == Some(0) && lines.iter().any(|line| line.starts_with(note)), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_an_app_that_the_environment_makes_is_named_by_its_variable() {
    let folder = new_folder();
    let (code, lines) = check(&folder, APP, &[("PUSH_GATEWAY__APPS__com.example.app.ios__TYPE", "apns")]).await;
    let expected =
        "environment variable PUSH_GATEWAY__APPS__com.example.app.ios__TYPE: [apps.\"com.example.app.ios\"] topic";
    assert!(code == Some(1) && lines[0].contains(expected), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_effect_or_is_open_is_noted() {
    let folder = new_folder();
    for (toml, note) in [
        ("[http]\nbind = '127.0.0.1:9000'\n", "note: [http] bind: has the port of 127.0.0.1:9000"),
        ("[http]\nbind = '0.0.0.0:9000'\n", "note: [http] bind: has the port of 127.0.0.1:9000"),
        ("[outbound]\nallow_cidrs = ['0.0.0.0/0']\n", "note: INSECURE: [outbound] allow_cidrs: 0.0.0.0/0"),
        ("[http]\ntrusted_proxies = ['::/0']\n", "note: INSECURE: [http] trusted_proxies: every client in ::/0"),
        ("[apps.'com.[ab]']\ntype = 'unifiedpush'\n", "note: [apps.\"com.[ab]\"]: no app_id is likely to match"),
        ("[apps.'https://x']\ntype = 'unifiedpush'\n", "note: [apps.\"https://x\"]: no app_id is likely to match"),
    ] {
        let (code, lines) = check(&folder, &format!("{toml}{APP}"), &[]).await;
        let notes: Vec<_> = lines.iter().filter(|line| line.starts_with("note: ")).collect();
        assert!(code == Some(0) && notes.len() == 1 && notes[0].starts_with(note), "{lines:?}");
    }
}
