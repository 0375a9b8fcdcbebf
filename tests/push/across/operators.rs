//! What an operator sees at the default level of the log and in `/ready`, and how credentials may come.

use harness::fcm::Fault;
use harness::process::{Server, new_folder};
use harness::wait::wait_for;
use harness::world::push::{
    ANDROID, DEADLINE, IOS, NOTIFY, Settings, World, android_app, android_device, ios_device, message_body, token,
};
use harness::{apns, binary, fcm};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_names_the_app_and_its_cause_and_the_circuit_opens_and_closes() {
    let world = World::start("").await;
    world.google.fault(Fault::html(502));
    for number in 0..10 {
        let event = format!("${number}");
        world.notify_message(&event, json!([android_device("phone")])).await.refused(502, "M_UNKNOWN");
    }
    world.server.wait_for_log("circuit breaker opened", DEADLINE).await;
    world.google.mend();
    wait_for("the probe", DEADLINE, async || {
        (world.notify_message("$last", json!([android_device("phone")])).await.code() == 200).then_some(())
    })
    .await;
    world.server.wait_for_log("circuit breaker closed", DEADLINE).await;
    let logs = world.server.logs();
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains("events are undelivered")).collect();
    assert_eq!(lines.len(), 1, "one line a minute: {logs}");
    assert!(lines[0].contains("WARN") && lines[0].contains(ANDROID) && lines[0].contains("gateway"), "{}", lines[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_app_and_a_wrong_path_are_named_once_a_minute() {
    let world = World::start("").await;
    for number in 0..3 {
        let device = json!({ "app_id": format!("com.example.other\n{}", "x".repeat(200)), "pushkey": "k" });
        world.notify_message(&format!("${number}"), json!([device])).await.expect(200);
        world.api.post(&format!("/push{NOTIFY}"), json!({})).send().await.refused(404, "M_UNRECOGNIZED");
    }
    let logs = world.server.logs();
    for (text, sign) in [("no app is configured", "com.example.other"), ("unknown path", "/push/_matrix/push")] {
        let lines: Vec<&str> = logs.lines().filter(|line| line.contains(text)).collect();
        assert_eq!(lines.len(), 1, "{logs}");
        assert!(lines[0].contains("WARN") && lines[0].contains(sign) && lines[0].len() < 400, "{}", lines[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reason_of_a_goaway_is_in_the_log() {
    let world = World::start("").await;
    let reason = "BadCertificateEnvironment";
    world.apple.fault(&token('a'), apns::Fault::GoAway { reason, two_phase: false });
    world.notify_message("$event", json!([ios_device(&token('a'))])).await.refused(502, "M_UNKNOWN");
    world.server.wait_for_log(reason, DEADLINE).await;
    let logs = world.server.logs();
    assert!(logs.lines().any(|line| line.contains("WARN") && line.contains(reason) && line.contains(IOS)), "{logs}");
}

async fn ready(server: &Server) -> (u16, Value) {
    let answer = harness::api::Api::new(&server.admin_url()).get("/ready").send().await;
    (answer.code(), answer.json())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_account_without_a_token_is_a_note_and_the_other_apps_are_served() {
    let world = World::with(Settings::default()).await;
    let bad = fcm::Google::start().await;
    bad.token_fault(Fault::json(400, json!({ "error": "invalid_grant" })));
    let folder = new_folder();
    let own = std::fs::read_to_string(world.server.folder().join("config.toml")).expect("the configuration");
    let config = format!("{own}\n{}", bad.config("com.example.old", folder.path()));
    let server = Server::start(binary::push_gateway(), &config, &[]).await;
    let (_, body) = wait_for("readiness", DEADLINE, async || {
        let found = ready(&server).await;
        (found.0 == 200).then_some(found)
    })
    .await;
    assert!(body["notes"].to_string().contains("com.example.old"), "{body}");
    let api = harness::api::Api::new(&server.url());
    api.post(NOTIFY, message_body("$event", json!([android_device("phone")]))).send().await.expect(200);
    let old = json!([{ "app_id": "com.example.old", "pushkey": "k" }]);
    api.post(NOTIFY, message_body("$event", old)).send().await.refused(502, "M_UNKNOWN");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_may_come_as_text_and_by_the_environment() {
    let world = World::serving("", "", &[android_app("com.example.app", "")]).await;
    let folder = world.server.folder();
    let config = std::fs::read_to_string(folder.join("config.toml")).expect("the configuration");
    let file = config.lines().find(|line| line.starts_with("service_account_file")).expect("the key");
    let path = file.split('"').nth(1).expect("a path");
    let account = std::fs::read_to_string(folder.join(path)).expect("the account");
    let without = config.replace(file, "");
    let escaped_twice = serde_json::to_string(&account).expect("JSON");
    for text in [account.clone(), format!("\u{feff}{account}"), escaped_twice] {
        let environment = [("PUSH_GATEWAY__APPS__com.example.app__SERVICE_ACCOUNT", text.as_str())];
        let server = Server::start(binary::push_gateway(), &without, &environment).await;
        let api = harness::api::Api::new(&server.url());
        let device = json!([{ "app_id": "com.example.app", "pushkey": "phone" }]);
        api.post(NOTIFY, message_body("$event", device)).send().await.expect(200);
    }
    assert_eq!(world.google.messages_for("phone").len(), 3);
}
