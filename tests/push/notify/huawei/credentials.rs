//! Tokens of both versions, `check-config` and `test-push`.

use std::process::Output;

use harness::api::Api;
use harness::certificates::Certificate;
use harness::huawei::Fault;
use harness::wait::wait_until;
use harness::world::push::{DEADLINE, World, huawei_app, ids, with};
use serde_json::{Value, json};

use super::{HARMONY, HMS, world};

fn event(number: usize, device: &Value) -> Value {
    with(ids(), json!({ "event_id": format!("${number}"), "devices": [device] }))
}

fn result_of(output: &Output) -> (Option<i32>, String) {
    let text = [&*output.stdout, &*output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_token_serves_and_a_refused_one_is_replaced_once() {
    let world = world().await;
    for app in [HARMONY, HMS] {
        let phones: Vec<Value> = (0..20).map(|_| world.huawei_phone(app)).collect();
        let answer = world.notify(&with(ids(), json!({ "devices": phones }))).await;
        assert_eq!(answer.expect(200), json!({ "rejected": [] }));
        let tokens: std::collections::HashSet<_> = world
            .huawei
            .messages()
            .iter()
            .filter(|message| message.target.starts_with(if app == HMS { "/v1/" } else { "/v3/" }))
            .map(|message| message.header("authorization").expect("a token").to_owned())
            .collect();
        assert_eq!(tokens.len(), 1, "{app}");
    }
    assert_eq!(world.huawei.token_requests().len(), 1);

    world.huawei.expire_tokens();
    for app in [HARMONY, HMS] {
        let phone = world.huawei_phone(app);
        world.notify(&event(1, &phone)).await.expect(200);
        let messages = world.huawei.messages_for(phone["pushkey"].as_str().expect("a pushkey"));
        assert_eq!(messages.iter().map(|message| message.is_accepted).collect::<Vec<_>>(), [false, true], "{app}");
    }
    assert_eq!(world.huawei.token_requests().len(), 2);
    world.huawei.fault(None, Fault::code("80200001", "OAuth authentication error"));
    for app in [HARMONY, HMS] {
        let phone = world.huawei_phone(app);
        world.notify(&event(2, &phone)).await.refused(502, "M_UNKNOWN");
        assert_eq!(world.huawei.messages_for(phone["pushkey"].as_str().expect("a pushkey")).len(), 2, "{app}");
    }
    world.server.wait_for_log("check the credential and the clock", DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_events_wait_and_the_gateway_is_ready_with_a_note() {
    let world = world().await;
    wait_until("the first token", DEADLINE, || world.huawei.token_requests().len() == 1).await;
    world.huawei.expire_tokens();
    let wrong = json!({ "error": 1101, "sub_error": 20_044, "error_description": "invalid client_secret" });
    world.huawei.token_fault(None, Fault::Reply(harness::push_service::Reply::json(400, wrong)));
    let phone = world.huawei_phone(HMS);
    let answer = world.notify(&event(1, &phone)).await;
    answer.refused(502, "M_UNKNOWN");
    assert!(answer.header("retry-after").is_some(), "{answer}");
    world.server.wait_for_log("1101 invalid client_secret", DEADLINE).await;
    let ready = Api::new(&world.server.admin_url()).get("/ready").send().await;
    assert!(ready.expect(200)["notes"].to_string().contains(HMS), "{ready}");
    // Version 3 needs no token endpoint.
    world.notify(&event(2, &world.huawei_phone(HARMONY))).await.expect(200);

    world.huawei.mend();
    harness::wait::wait_for("a token", DEADLINE, async || {
        (world.notify(&event(3, &phone)).await.code() == 200).then_some(())
    })
    .await;
    let secret = "s3cr3t";
    assert!(!world.server.logs().contains(secret), "the secret is in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_asks_huawei_only_online_and_names_what_fails() {
    let world = world().await;
    wait_until("the first token", DEADLINE, || world.huawei.token_requests().len() == 1).await;
    let before = world.huawei.connections();
    let (code, text) = result_of(&world.server.run(&["check-config"]).await);
    assert_eq!((code, world.huawei.connections()), (Some(0), before), "{text}");
    assert!(text.contains("Huawei Push Kit v3, notification messages") && text.contains("v1, data messages"), "{text}");

    let (code, text) = result_of(&world.server.run(&["check-config", "--online"]).await);
    assert_eq!((code, world.huawei.token_requests().len()), (Some(0), 2), "{text}");
    assert!(text.contains("connected to Push Kit") && text.contains("gave an access token"), "{text}");
    assert!(world.huawei.messages().is_empty(), "nothing is sent");

    let wrong = json!({ "error": 1101, "error_description": "invalid client_secret" });
    world.huawei.token_fault(None, Fault::Reply(harness::push_service::Reply::json(400, wrong)));
    let (code, text) = result_of(&world.server.run(&["check-config", "--online"]).await);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("app {HMS}: FAILED")) && text.contains("invalid client_secret"), "{text}");
    assert!(!text.contains(&format!("app {HARMONY}: FAILED")), "{text}");
    world.huawei.mend();
    world.huawei.set_certificate(&Certificate::self_signed(&["127.0.0.1"]));
    let (code, text) = result_of(&world.server.run(&["check-config", "--online"]).await);
    assert!(code == Some(1) && text.contains(&format!("app {HARMONY}: FAILED: cannot connect")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_warns_of_data_messages_for_harmony_and_refuses_what_has_no_use() {
    let world = World::serving("", "", &[huawei_app(3, HARMONY, "push_type = \"data\"\n")]).await;
    let (code, text) = result_of(&world.server.run(&["check-config"]).await);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("push_type: Push Kit delivers data messages of version 3 only"), "{text}");
    let path = world.server.folder().join("config.toml");
    let config = std::fs::read_to_string(&path).expect("the configuration");
    for (keys, problem) in [
        ("title_template = \"{unknown}\"", "title_template: has something else in braces"),
        ("client_secret = \"x\"", "client_secret: has no use with version = 3"),
        ("ttl = \"16d\"", "ttl: found \"16d\"; expected 1s to 15d"),
        ("colapse_key = 5", "did you mean collapse_key?"),
        ("max_concurent = 5", "did you mean max_concurrent?"),
    ] {
        std::fs::write(&path, format!("{config}\n{keys}\n")).expect("the configuration is written");
        let (code, text) = result_of(&world.server.run(&["check-config"]).await);
        assert!(code == Some(1) && text.contains(problem), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn test_push_explains_the_outcome() {
    let world = world().await;
    let run = async |app: &str, pushkey: &str| {
        result_of(&world.server.run(&["test-push", "--app", app, "--pushkey", pushkey]).await)
    };
    for app in [HARMONY, HMS] {
        let (code, text) = run(app, "good").await;
        assert!(code == Some(0) && text.contains("(huawei)") && text.contains("delivered"), "{text}");
    }
    world.huawei.fault_for("stale", None, Fault::code("80300007", "noRight"));
    let (code, text) = run(HARMONY, "stale").await;
    assert!(code == Some(1) && text.contains("rejected (noRight)") && text.contains("another project"), "{text}");
    world.huawei.fault_for("right", None, Fault::code("80100000", "noPushTypeRight"));
    let (code, text) = run(HARMONY, "right").await;
    assert!(code == Some(1) && text.contains("refused (noPushTypeRight)") && text.contains("AppGallery"), "{text}");
    let wrong = json!({ "error": 1101, "error_description": "invalid client" });
    world.huawei.token_fault(None, Fault::Reply(harness::push_service::Reply::json(400, wrong)));
    let (code, text) = run(HMS, "good").await;
    assert!(code == Some(1) && text.contains("no_token") && text.contains("1101 invalid client"), "{text}");
}
