//! The gateway's own errors, end to end: a wrong key, certificate, project or setting causes retries and a log line,
//! and deletes no pusher.
//!
//! Invariant: every test pushes to many devices, because such an error does harm in bulk.

use harness::api::Answer;
use harness::apns;
use harness::certificates::Authority;
use harness::fcm;
use harness::process::{NotStarted, Server, new_folder};
use harness::world::push::{ANDROID, DEADLINE, IOS, NOTIFY, Settings, World, android_device, ios_device, message_body};
use serde_json::{Value, json};

/// More devices than the mass-rejection guard needs to open.
const DEVICES: usize = 60;

/// The log line about settings with which no delivery succeeds.
const OURS: &str = "the gateway's credentials or settings for this app are wrong";

fn iphones() -> impl Iterator<Item = Value> {
    (0..DEVICES).map(|number| ios_device(&format!("{number:064x}")))
}

fn androids() -> impl Iterator<Item = Value> {
    (0..DEVICES).map(|number| android_device(&format!("phone{number}")))
}

/// Pushes to each device by its own request, as Synapse does.
async fn push_to_each(world: &World, event_id: &str, devices: impl Iterator<Item = Value>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for device in devices {
        answers.push(world.notify_message(event_id, json!([device])).await);
    }
    answers
}

/// No device is delivered or rejected, and the metrics count each as a failure.
async fn assert_all_owed(world: &World, app: &str, outcome: &str, devices: impl Iterator<Item = Value>) {
    let before = world.deliveries(app, outcome).await;
    for answer in push_to_each(world, "$owed", devices).await {
        answer.refused(502, "M_UNKNOWN");
    }
    assert_eq!(world.deliveries(app, outcome).await, before + DEVICES as u64);
    assert_eq!(world.deliveries(app, "rejected").await, 0);
}

/// After the error is corrected, every failed delivery succeeds.
async fn assert_all_delivered(world: &World, devices: impl Iterator<Item = Value>) {
    for answer in push_to_each(world, "$owed", devices).await {
        assert_eq!(answer.expect(200), json!({ "rejected": [] }));
    }
}

/// One log line with this level contains all of these texts; not one line for each device.
fn assert_logged(world: &World, level: &str, gist: &[&str]) {
    let logs = world.server.logs();
    let lines = logs.lines().filter(|line| line.contains(level) && gist.iter().all(|part| line.contains(part)));
    let lines = lines.count();
    assert!((1..DEVICES / 4).contains(&lines), "{lines} lines with {gist:?} in\n{logs}");
    assert!(!logs.contains("phone1") && !logs.contains(&"0".repeat(60)), "a pushkey is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_project_rejects_no_pushkey() {
    let world =
        World::with(Settings { android: "project_id = \"other-project\"\nretry_waits = []\n", ..Settings::default() })
            .await;
    assert_all_owed(&world, ANDROID, "permanent", androids()).await;
    assert_logged(&world, "ERROR", &[OURS, ANDROID, "NOT_FOUND", "check project_id"]);
    world.google.add_project("other-project");
    assert_all_delivered(&world, androids()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_may_not_send_rejects_no_pushkey() {
    let world = World::start("").await;
    world.google.fault(fcm::Fault::error(403, "PERMISSION_DENIED"));
    assert_all_owed(&world, ANDROID, "permanent", androids()).await;
    assert_logged(&world, "ERROR", &[OURS, ANDROID, "PERMISSION_DENIED", "the service account may not send"]);
    world.google.mend();
    assert_all_delivered(&world, androids()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_key_for_apple_rejects_no_pushkey() {
    let mut world = World::start("").await;
    let other = apns::Apple::start().await;
    std::fs::write(world.server.folder().join("apns.p8"), other.key_pem()).unwrap();
    world.restart_with(|config| config).await;
    assert_all_owed(&world, IOS, "permanent", iphones()).await;
    assert_logged(&world, "ERROR", &[OURS, IOS, "403 InvalidProviderToken", "check key_file, key_id and team_id"]);
    std::fs::write(world.server.folder().join("apns.p8"), world.apple.key_pem()).unwrap();
    world.restart_with(|config| config).await;
    assert_all_delivered(&world, iphones()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_while_it_is_in_use_rejects_no_pushkey() {
    let world = World::start("").await;
    world.notify_message("$before", json!([ios_device(&"a".repeat(64))])).await.expect(200);
    world.apple.fault("", apns::Fault::error(403, "InvalidProviderToken"));
    assert_all_owed(&world, IOS, "permanent", iphones()).await;
    assert_logged(&world, "ERROR", &[OURS, IOS, "403 InvalidProviderToken", "check key_file"]);
    assert_eq!(world.apple.requests().len(), 1 + DEVICES);
    world.apple.mend();
    assert_all_delivered(&world, iphones()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_rejects_no_pushkey() {
    let world = World::start("").await;
    world.apple.fault("", apns::Fault::error(403, "ExpiredProviderToken"));
    assert_all_owed(&world, IOS, "permanent", iphones()).await;
    assert_logged(&world, "ERROR", &[OURS, IOS, "403 ExpiredProviderToken", "check the clock"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_account_that_is_revoked_rejects_no_pushkey() {
    let mut world = World::start("").await;
    let refusal = json!({ "error": "invalid_grant", "error_description": "Invalid grant: account not found" });
    world.google.token_fault(fcm::Fault::json(400, refusal));
    world.restart_with(|config| config).await;
    assert_all_owed(&world, ANDROID, "temporary", androids()).await;
    assert_logged(
        &world,
        "ERROR",
        &["no access token for Google", ANDROID, "invalid_grant", "check the service account"],
    );
    let ready = harness::api::Api::new(&world.server.admin_url()).get("/ready").send().await;
    // The other apps are served.
    assert_eq!(ready.code(), 200);
    assert!(ready.text().contains(ANDROID), "{ready}");
    assert!(world.google.messages().is_empty());
    // Apple's users are not affected.
    world.notify_message("$ios", json!([ios_device(&"a".repeat(64))])).await.expect(200);
    world.google.mend();
    harness::wait::wait_for("a token", DEADLINE, async || {
        (world.notify_message("$owed", json!([android_device("phone0")])).await.code() == 200).then_some(())
    })
    .await;
    assert_all_delivered(&world, androids()).await;
}

/// The settings with a client certificate in place of the key.
fn with_certificate(config: &str) -> String {
    let is_key = |line: &&str| ["key_file", "key_id", "team_id"].iter().any(|key| line.starts_with(key));
    let lines: Vec<&str> = config.lines().filter(|line| !is_key(line)).collect();
    lines.join("\n").replace("type = \"apns\"", "type = \"apns\"\ncert_file = \"client.pem\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_has_ended_rejects_no_pushkey() {
    let mut world = World::start("").await;
    let clients = Authority::new("Apple's authority for developers");
    world.apple.ask_for_certificates(&clients);
    let file = world.server.folder().join("client.pem");
    std::fs::write(&file, clients.issue_expired_client_pem("Apple Push Services: com.example.app")).unwrap();
    world.restart_with(|config| with_certificate(&config)).await;
    assert!(world.server.logs().contains("its certificate EXPIRED "), "{}", world.server.logs());
    world.server.wait_for_log("the APNs certificate of this app is not valid", DEADLINE).await;
    assert_all_owed(&world, IOS, "temporary", iphones()).await;
    assert_logged(&world, "WARN", &["APNs closes the gateway's connections without a response: check cert_file", IOS]);
    assert!(world.apple.requests().is_empty());

    std::fs::write(&file, clients.issue_client_pem("Apple Push Services: com.example.app")).unwrap();
    world.restart_with(|config| config).await;
    assert_all_delivered(&world, iphones()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_certificate_that_apple_does_not_like_rejects_no_pushkey() {
    let world = World::start("").await;
    world.apple.fault("", apns::Fault::error(403, "BadCertificate"));
    assert_all_owed(&world, IOS, "permanent", iphones()).await;
    assert_logged(&world, "ERROR", &[OURS, IOS, "403 BadCertificate", "check cert_file"]);
}

/// The guard lets through as many rejections as it needs to open, and no more.
async fn assert_doubted(world: &World, app: &str, devices: impl Iterator<Item = Value> + Clone) {
    // A rejection by a push service is stored; an unknown app is looked up each time.
    let remembered: u64 = if app == "unknown" { 0 } else { 19 };
    for (event, believed) in [("$1", 19), ("$2", remembered)] {
        let answers = push_to_each(world, event, devices.clone()).await;
        for (number, answer) in (0..).zip(&answers) {
            if number < believed {
                assert_eq!(answer.expect(200)["rejected"].as_array().map(Vec::len), Some(1), "{number}");
            } else {
                answer.refused(502, "M_UNKNOWN");
                let wait = answer.header("retry-after").and_then(|wait| wait.parse::<u64>().ok()).expect("a wait");
                assert!((600..=900).contains(&wait), "{wait}");
            }
        }
    }
    let texts = ["the gateway's settings are the likelier cause", "rejections of this app are withheld"];
    assert_logged(world, "ERROR", &texts);
    assert_eq!(world.deliveries(app, "rejected").await, 19 + remembered);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_key_in_production_rejects_only_the_first_few() {
    let world = World::start("").await;
    world.apple.fault("", apns::Fault::error(400, "BadDeviceToken"));
    assert_doubted(&world, IOS, iphones().collect::<Vec<_>>().into_iter()).await;
    // The stored rejections cause no request; the other devices do, each time.
    assert_eq!(world.apple.requests().len(), DEVICES + DEVICES - 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_another_firebase_project_rejects_only_the_first_few() {
    let world = World::start("").await;
    world.google.fault(fcm::Fault::sender_id_mismatch());
    assert_doubted(&world, ANDROID, androids().collect::<Vec<_>>().into_iter()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_have_lost_an_app_reject_only_the_first_few() {
    let world = World::start("").await;
    let strangers =
        (0..DEVICES).map(|number| json!({ "app_id": "com.example.lost", "pushkey": format!("key{number}") }));
    assert_doubted(&world, "unknown", strangers).await;
    let logs = world.server.logs();
    assert_eq!(
        logs.matches("com.example.lost").count(),
        1,
        "once a minute, because any client could write this: {logs}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_are_being_moved_reject_no_pushkey() {
    let world = World::start("[routing]\nunknown_app = \"error\"").await;
    for number in 0..DEVICES {
        let stranger = json!({ "app_id": "com.example.lost", "pushkey": format!("key{number}") });
        world.api.post(NOTIFY, message_body("$e", json!([stranger]))).send().await.refused(502, "M_UNKNOWN");
    }
    assert_eq!(world.deliveries("unknown", "rejected").await, 0);
}

/// The exit of a gateway that does not start with these settings.
async fn refusal(config: &str, files: &[(&str, &str)]) -> String {
    let folder = new_folder();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("an empty folder");
    }
    let config = format!("[http]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n{config}");
    let started = Server::try_start_in(folder, harness::binary::push_gateway(), &config, &[]).await;
    let NotStarted { status, output } = started.expect_err("it started");
    assert!(status.is_some_and(|status| !status.success()), "{output}");
    output
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_work_does_not_start_and_says_why() {
    let apns = |more: &str| format!("[apps.{IOS:?}]\ntype = \"apns\"\ntopic = \"com.example.app\"\n{more}\n");
    let key = "key_file = \"apns.p8\"\nkey_id = \"ABC1234567\"\nteam_id = \"DEF1234567\"";
    let fcm = format!("[apps.{ANDROID:?}]\ntype = \"fcm\"\nservice_account_file = \"sa.json\"\n");
    for (config, files, gist) in [
        (String::new(), &[][..], &["no app is configured", "[apps."][..]),
        (apns(key), &[], &[IOS, "apns.p8"]),
        (apns(key), &[("apns.p8", "")], &[IOS, "key"]),
        (apns(key), &[("apns.p8", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")], &[IOS, "key"]),
        // A folder cannot be read as a file, even by root.
        (apns("key_file = \".\"\nkey_id = \"ABC1234567\"\nteam_id = \"DEF1234567\""), &[], &[IOS, "key_file"]),
        (apns("cert_file = \"client.pem\""), &[], &[IOS, "client.pem"]),
        (apns("cert_file = \"client.pem\""), &[("client.pem", "nonsense")], &[IOS, "cert_file"]),
        (apns(""), &[], &[IOS, "key_file", "cert_file"]),
        (fcm.clone(), &[], &[ANDROID, "sa.json"]),
        (fcm.clone(), &[("sa.json", "{}")], &[ANDROID, "service_account_file"]),
        (fcm, &[("sa.json", "nonsense")], &[ANDROID, "service_account_file"]),
    ] {
        let output = refusal(&config, files).await;
        assert!(
            gist.iter().all(|part| output.contains(part)),
            "{gist:?} is not in what it says:\n{output}\nof\n{config}"
        );
        assert!(!output.contains("panicked") && output.lines().count() < 20, "{output}");
    }
}
