//! `push-gateway doctor`: from a homeserver to the push services.

use harness::certificates::Certificate;
use harness::doctor::has;
use harness::fcm::Fault;
use harness::process::{new_folder, run};
use harness::world::push::{ANDROID, DEADLINE, IOS, World};
use serde_json::{Value, json};

/// The exit code and the output.
async fn examine(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let output = world.server.run(&[&["doctor"], arguments].concat()).await;
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_app_and_the_way_to_the_gateway_are_examined() {
    let world = World::start("").await;
    harness::wait::wait_until("the gateway is ready", DEADLINE, || {
        world.google.token_requests().len() == 1 && world.apple.open_connections() == 1
    })
    .await;
    let url = world.server.url();
    let (code, output) = examine(&world, &["--public-url", &format!("{url}/_matrix/push/v1/notify")]).await;
    assert_eq!(code, Some(0), "{output}");
    has(&output, "ok", "configuration", "config.toml");
    has(&output, "ok", &format!("app, {IOS}"), "connected");
    has(&output, "ok", &format!("app, {ANDROID}"), "access token");
    has(&output, "ok", "public URL", "accepts connections");
    has(&output, "ok", "reverse proxy", "is answered by the push gateway");
    assert!(
        output.contains(&format!("{url}/_matrix/push/v1/notify")) && output.ends_with("no check failed\n"),
        "{output}"
    );
    assert_eq!((world.google.messages().len(), world.apple.requests().len()), (0, 0), "nothing is sent");

    let (code, output) = examine(&world, &["--public-url", &format!("{url}/push")]).await;
    has(&output, "FAILED", "reverse proxy", "404 M_UNRECOGNIZED: the push gateway gets another path");
    assert!(code == Some(1) && output.contains("set [http] base_path"), "{output}");

    world.google.token_fault(Fault::json(400, json!({ "error": "invalid_grant" })));
    world.apple.set_certificate(&Certificate::self_signed(&["127.0.0.1"]));
    let (code, output) = examine(&world, &["--json"]).await;
    let report: Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!((code, report["failures"].as_u64()), (Some(1), Some(2)), "{report}");
    for (app, cause) in [(ANDROID, "invalid_grant"), (IOS, "extra_ca_file")] {
        let findings = report["findings"].as_array().expect("a list");
        let of_app = findings.iter().find(|finding| finding["subject"] == format!("app, {app}")).expect("a finding");
        let text = of_app["text"].as_str().unwrap_or_default();
        assert!(of_app["status"] == "failed" && text.contains(cause) && of_app["next_step"].is_string(), "{of_app}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_is_invalid_and_a_gateway_that_does_not_run_are_named() {
    let folder = new_folder();
    let doctor = async |toml: &str| {
        std::fs::write(folder.path().join("config.toml"), toml).expect("a folder");
        let output = run(harness::binary::push_gateway(), folder.path(), &["doctor"], &[]).await;
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let app = "[apps.'a.b']\ntype = 'unifiedpush'\n";
    let (code, output) = doctor(&format!("[http]\nworkers = 'x'\n{app}[log]\nlevel = 'y'\n")).await;
    let path = folder.path().join("config.toml");
    has(&output, "FAILED", "configuration", &format!("{}:2: [http] workers: found \"x\"", path.display()));
    has(&output, "FAILED", "configuration", ":6: [log] level: found \"y\"");
    assert!(code == Some(1) && output.contains("2 checks failed"), "{output}");

    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address").port();
    let (code, output) = doctor(&format!("[http]\nbind = '127.0.0.1:{port}'\n{app}")).await;
    has(&output, "FAILED", "listener", &format!("nothing listens on 127.0.0.1:{port}"));
    assert!(code == Some(1) && output.contains("push-gateway serve"), "{output}");
}
