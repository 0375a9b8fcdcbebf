//! `push-gateway check-config`, without and with a word to the push services.

use harness::world::push::{ANDROID, DEADLINE, IOS, World};
use std::process::Output;

use harness::certificates::{Authority, Certificate};
use harness::fcm::Fault;
use harness::process::{new_folder, run};
use serde_json::json;

fn result_of(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The line with the result for an app: the last one about it.
#[track_caller]
fn line<'a>(text: &'a str, app: &str) -> &'a str {
    let of_app = |line: &&str| line.starts_with(&format!("app {app}: "));
    text.lines().rfind(of_app).unwrap_or_else(|| panic!("{app} is not mentioned in:\n{text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn asked_to_it_asks_the_push_services_and_says_what_they_say() {
    let world = World::start("").await;
    harness::wait::wait_until("the gateway is ready", DEADLINE, || {
        world.google.token_requests().len() == 1 && world.apple.open_connections() == 1
    })
    .await;
    let (code, text) = result_of(&world.server.run(&["check-config"]).await);
    assert_eq!((code, world.google.token_requests().len(), world.apple.connections()), (Some(0), 1, 1), "{text}");

    let (code, text) = result_of(&world.server.run(&["check-config", "--online"]).await);
    assert_eq!((code, world.google.token_requests().len(), world.apple.connections()), (Some(0), 2, 2), "{text}");
    assert!(line(&text, ANDROID).contains("access token"), "{text}");
    assert!(line(&text, IOS).contains("connected"), "{text}");
    assert!(text.trim_end().ends_with("the configuration is good"), "{text}");
    assert_eq!((world.google.messages().len(), world.apple.requests().len()), (0, 0), "nothing is sent");

    let refusal = json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." });
    world.google.token_fault(Fault::json(400, refusal));
    let (code, text) = result_of(&world.server.run(&["check-config", "--online"]).await);
    assert_eq!(code, Some(1), "{text}");
    let failed = line(&text, ANDROID);
    assert!(
        failed.contains("FAILED") && failed.contains("invalid_grant") && failed.contains("service account"),
        "{text}"
    );
    assert!(!line(&text, IOS).contains("FAILED") && !text.contains("is good"), "{text}");

    world.google.mend();
    world.apple.set_certificate(&Certificate::self_signed(&["127.0.0.1"]));
    let (code, text) = result_of(&world.server.run(&["check-config", "--online"]).await);
    assert_eq!(code, Some(1), "{text}");
    let failed = line(&text, IOS);
    assert!(failed.contains("FAILED") && failed.contains("extra_ca_file"), "{text}");
    assert!(!line(&text, ANDROID).contains("FAILED"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_without_effect_are_named() {
    let check = async |apps: &str| {
        let folder = new_folder();
        std::fs::write(folder.path().join("config.toml"), apps).expect("an empty folder");
        let output = run(harness::binary::push_gateway(), folder.path(), &["check-config"], &[]).await;
        let (code, text) = result_of(&output);
        (code, text + &String::from_utf8_lossy(&output.stderr))
    };
    let app = "[apps.'x']\ntype = 'fcm'\ncredentials = 'metadata'\nproject_id = 'p'\n";
    let (code, text) = check(&format!("{app}relay_topic = 'collapse'\nbase_url = 'http://fcm.example'\n")).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("[apps.\"x\"] relay_topic: has no effect without relay = true; remove it"), "{text}");
    assert!(text.contains("[apps.\"x\"] base_url: is http: "), "{text}");
    let (code, text) = check(&format!("{app}team_id = 'ABCDE12345'\n")).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("[apps.\"x\"] team_id: has no effect for type \"fcm\"; remove it"), "{text}");
}

/// The result of `check-config` of both services for a listener with these files.
async fn check_listener(chain: &str, key: &str) -> Vec<(Option<i32>, String)> {
    let app = "[apps.'com.example.app']\ntype = 'fcm'\ncredentials = 'metadata'\nproject_id = 'p'\n";
    let mut results = Vec::new();
    for (binary, more) in [(harness::binary::push_gateway(), app), (harness::binary::identity(), "")] {
        let folder = new_folder();
        let files = "[http]\nbind = '127.0.0.1:0'\ntls_cert_file = 'chain.pem'\ntls_key_file = 'tls.key'\n";
        for (name, text) in [("config.toml", &*format!("{files}{more}")), ("chain.pem", chain), ("tls.key", key)] {
            std::fs::write(folder.path().join(name), text).expect("an empty folder");
        }
        let environment = [("IDENTITY__SERVER__DATA_DIR".to_owned(), folder.path().display().to_string())];
        let output = run(binary, folder.path(), &["check-config"], &environment).await;
        let text = [output.stdout, output.stderr].concat();
        results.push((output.status.code(), String::from_utf8_lossy(&text).into_owned()));
    }
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pasted_certificate_is_read_and_no_byte_of_an_unusable_key_is_shown() {
    let folder = new_folder();
    let authority = Authority::new("an authority");
    let read = |certificate: &Certificate| {
        let (chain, key) = certificate.write_pem(folder.path());
        [chain, key].map(|file| std::fs::read_to_string(file).expect("the file was written"))
    };
    let [chain, key] = read(&authority.issue(&["id.example.org"]));
    for form in [key.replace('\n', "\\n"), key.replace('\n', " "), format!("\u{feff}\"{}\"", key.trim())] {
        for (code, text) in check_listener(&chain.replace('\n', "\\n"), &form).await {
            assert_eq!(code, Some(0), "{text}");
        }
    }
    let body = key.lines().nth(1).expect("the base64");
    for unusable in [&key[..key.len() - 30], &key.replace("PRIVATE", "ENCRYPTED PRIVATE"), &key.replace('-', "")] {
        for (code, text) in check_listener(&chain, unusable).await {
            assert_eq!(code, Some(1), "{text}");
            assert!(text.contains("[http] tls_key_file: ") && text.contains("tls.key"), "{text}");
            let shown = &body[..20];
            assert!(!text.contains(shown) && !text.contains("45, 45") && text.len() < 500, "{text}");
        }
    }
    let [chain, key] = read(&authority.issue_expired(&["id.example.org"]));
    for (code, text) in check_listener(&chain, &key).await {
        let note = text.lines().find(|line| line.starts_with("note: [http] tls_cert_file: "));
        assert!(code == Some(0) && note.is_some_and(|note| note.contains("EXPIRED")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_in_use_is_named_without_its_password() {
    let folder = new_folder();
    let app =
        "[apps.'com.example.app']\ntype = 'fcm'\ncredentials = 'metadata'\nproject_id = 'p'\nretry_waits = '1s'\n";
    let proxy = ("HTTPS_PROXY".to_owned(), "user:hunter2@proxy.example:3128".to_owned());
    let waits = ("PUSH_GATEWAY__APPS__com.example.app__RETRY_WAITS".to_owned(), "1s,2s".to_owned());
    for (more, line) in [("", "proxy: proxy.example:3128 (from HTTPS_PROXY)"), ("[outbound]\nproxy = ''\n", "")] {
        std::fs::write(folder.path().join("config.toml"), format!("{more}{app}")).expect("an empty folder");
        let environment = [proxy.clone(), waits.clone()];
        let output = run(harness::binary::push_gateway(), folder.path(), &["check-config"], &environment).await;
        let (code, text) = result_of(&output);
        assert_eq!(code, Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(text.lines().any(|found| found == line), !line.is_empty(), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_key_is_accepted_and_a_contact_that_apple_refuses_is_noted() {
    let world = World::start("").await;
    let output = tokio::process::Command::new(harness::binary::push_gateway()).arg("generate-vapid-key").output().await;
    let output = output.expect("the binary can be started");
    let (pem, public) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let public = public.trim().strip_prefix("public key: ").expect("the public key");
    assert!(
        pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && public.len() == 87 && public.starts_with('B'),
        "{public}"
    );
    std::fs::write(world.server.folder().join("vapid.pem"), pem.as_bytes()).unwrap();
    let settings = |contact: &str| {
        format!(
            "[apps.web]\ntype = \"webpush\"\nvapid_private_key_file = \"vapid.pem\"\nvapid_contact = \"{contact}\"\n\
             [apps.up]\ntype = \"unifiedpush\"\n"
        )
    };
    let config = world.server.folder().join("config.toml");
    for (contact, is_noted) in [("ops@example.com", false), ("ops@localhost", true)] {
        std::fs::write(&config, settings(contact)).unwrap();
        let (code, text) = result_of(&world.server.run(&["check-config", "--online"]).await);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains(&format!("app web: Web Push, VAPID key {}", &public[..8])), "{text}");
        assert!(text.contains("app up: UnifiedPush, without VAPID"), "{text}");
        assert_eq!(text.contains("[apps.\"web\"] vapid_contact: Apple"), is_noted, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_truth_values_of_an_app_may_come_from_the_environment() {
    let folder = new_folder();
    let apps = "[apps.'com.example.hms']\ntype = 'huawei'\nclient_secret = 's'\n[apps.'com.example.web']\ntype = 'unifiedpush'\n";
    std::fs::write(folder.path().join("config.toml"), apps).expect("an empty folder");
    let variable = |key: &str, value: &str| (format!("PUSH_GATEWAY__APPS__{key}"), value.to_owned());
    let mut environment = vec![
        variable("com.example.hms__VERSION", "1"),
        variable("com.example.hms__APP_ID_NUMBER", "100000001"),
        variable("com.example.hms__COLLAPSE_KEY", "-1"),
        variable("com.example.hms__MAX_CONCURRENT", "8"),
        variable("com.example.hms__SEND_BADGE_COUNTS", "false"),
        variable("com.example.web__ALLOW_HTTP", "true"),
        variable("com.example.web__RETRY_WAITS", "1s,2s"),
    ];
    let binary = harness::binary::push_gateway();
    let (code, text) = result_of(&run(binary, folder.path(), &["check-config"], &environment).await);
    assert!(code == Some(0) && text.contains("Huawei Push Kit v1, data messages, app 100000001"), "{text}");
    environment.push(variable("com.example.web__MAX_CONCURRENT", "many"));
    let output = run(binary, folder.path(), &["check-config"], &environment).await;
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains("max_concurrent: found \"many\""), "{text}");
}
