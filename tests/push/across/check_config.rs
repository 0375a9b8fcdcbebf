//! `push-gateway check-config`, without and with a word to the push services.

use harness::world::push::{ANDROID, DEADLINE, IOS, World};
use std::process::Output;

use harness::certificates::Certificate;
use harness::fcm::Fault;
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
