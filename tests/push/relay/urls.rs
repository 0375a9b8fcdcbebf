//! The URLs of push resources: how they are made, what opens them, and what ends them.

use harness::application_server::ApplicationServer;
use harness::world::push::{ANDROID, DEADLINE, IOS};
use serde_json::{Value, json};

use super::{ONCE, PUBLIC_URL, RELAY, Relay, assert_status, example, pushkey};

#[tokio::test(flavor = "multi_thread")]
async fn a_url_is_made_for_a_device_token_of_the_app() {
    let relay = Relay::start().await;
    let key = relay.homeserver.key();
    let hex = "ab".repeat(32);
    let base64 = "q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=";
    for (app, token) in [
        (IOS, hex.as_str()),
        (IOS, base64),
        (ANDROID, "cAbCdEfGhIjKlMnOpQrStU"),
        (ANDROID, "fcm-token:APA91bExample_0123456789-abcdefghij"),
    ] {
        let body = json!({ "token": token, "vapid": key, "chid": "acc1", "unknown": 1 });
        let answer =
            relay.world.api.post(&format!("/wp/{app}"), body).header("content-type", "text/plain").send().await;
        let url = answer.expect(201)["url"].as_str().unwrap().to_owned();
        assert!(url.starts_with(&format!("{PUBLIC_URL}/wp/{app}/")), "{url}");
        assert!(!url.contains(&token[..8]), "{url}");
    }
    // Two calls make two URLs of one device.
    let device = json!({ "app_id": IOS, "pushkey": hex });
    let (one, two) = (relay.path(&device, "").await, relay.path(&device, "").await);
    assert!(one != two && one.len() == "/wp/com.example.ios/".len() + 134, "{one}");
    assert_status(&relay.push(&two, example()).send().await, 201, "the second URL");
    assert_eq!(relay.pushes(&device).len(), 1);
    // The other spelling is the same device.
    let path = relay.path(&json!({ "app_id": IOS, "pushkey": base64 }), "").await;
    assert_status(&relay.push(&path, example()).send().await, 201, "base64");
    assert_eq!(relay.pushes(&device).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_request_for_a_url_is_refused() {
    let relay = Relay::start().await;
    let (key, hex) = (relay.homeserver.key(), "ab".repeat(32));
    let long = "c".repeat(65);
    let with = |member: &str, value: Value| {
        let mut body = json!({ "token": hex, "vapid": key });
        body[member] = value;
        body
    };
    for (app, body) in [
        (IOS, with("token", json!("cAbCdEfGhIjKlMnOpQrStU"))),
        (IOS, with("token", json!(""))),
        (IOS, with("token", json!(5))),
        (IOS, json!({ "vapid": key })),
        (IOS, json!({ "token": hex })),
        (IOS, with("vapid", json!("AAAA"))),
        (IOS, with("vapid", json!(relay.homeserver.key().replace('B', "C")))),
        (IOS, with("vapid", json!(null))),
        (IOS, with("chid", json!(long))),
        (IOS, with("chid", json!("a/b"))),
        (IOS, with("chid", json!("a\"b"))),
        (IOS, with("chid", json!("a\nb"))),
        (IOS, with("chid", json!(5))),
        (IOS, json!([])),
        (ANDROID, with("token", json!("https://ntfy.sh/up"))),
        (ANDROID, with("token", json!("{}"))),
        (ANDROID, with("token", json!("a b"))),
        (ANDROID, with("token", json!("t".repeat(513)))),
    ] {
        let answer = relay.subscribe(app, body.clone()).await;
        assert_eq!(answer.code(), 400, "{body}: {answer}");
        answer.refused(400, "M_INVALID_PARAM");
    }
    for (app, status) in [("com.example.unknown", 404), ("a%2Fb", 404), (&long, 404)] {
        assert_status(&relay.subscribe(app, with("chid", json!(""))).await, status, app);
    }
    let post = |body: Vec<u8>| relay.bare("/wp/com.example.ios").body(body).send();
    post(b"{".to_vec()).await.refused(400, "M_NOT_JSON");
    post(format!("{{\"x\":{}", "[".repeat(1000)).into_bytes()).await.refused(400, "M_NOT_JSON");
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
    post(deep.into_bytes()).await.refused(400, "M_NOT_JSON");
    assert_status(&post(vec![b' '; 1 << 20]).await, 413, "1 MiB");
    for (coding, status) in [("gzip", 415), ("aes128gcm", 415), ("aesgcm", 415), ("identity", 201), ("Identity", 201)] {
        let request = relay.world.api.post("/wp/com.example.ios", with("chid", json!("")));
        let answer = request.header("content-encoding", coding).send().await;
        assert_eq!(answer.code(), status, "{coding}: {answer}");
        assert_eq!(answer.header("accept-encoding"), (status == 415).then_some("identity"), "{coding}");
    }
    let browser =
        relay.world.api.post("/wp/com.example.ios", with("chid", json!(""))).header("origin", "https://x.example");
    assert_status(&browser.send().await, 403, "a web page");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_token_does_not_open() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let (prefix, token) = path.rsplit_once('/').unwrap();
    let changed = |at: usize| {
        let other = if token.as_bytes()[at] == b'A' { "B" } else { "A" };
        format!("{prefix}/{}{other}{}", &token[..at], &token[at + 1..])
    };
    // Fewer than the number of failures that blocks an address.
    for at in (0..token.len()).filter(|at| *at < 5 || at % 3 == 0 || *at == token.len() - 1) {
        let answer = relay.push(&changed(at), example()).send().await;
        // The number of the key is in these characters: another one may be a key that the gateway has lost.
        let lost = (at == 1 || at == 2) && answer.code() == 503;
        assert!(lost || answer.code() == 404, "{at}: {answer}");
        assert_eq!(answer.header("retry-after"), lost.then_some("300"));
    }
    for token in [
        &token[..token.len() - 1],
        &token.repeat(2),
        "..",
        "%2e%2e",
        "%00",
        "%2F",
        "%ff",
        &"A".repeat(5000),
        &"A".repeat(1024),
        &format!("{token}="),
        "",
    ] {
        let answer = relay.push(&format!("{prefix}/{token}"), example()).send().await;
        assert_status(&answer, 404, token);
    }
    // Sealed for another app.
    assert_status(&relay.push(&path.replace(IOS, ANDROID), example()).send().await, 404, "another app");
    assert_eq!(relay.upstream(), 0);
    assert_status(&relay.push(&path, example()).send().await, 201, "unchanged");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_retired_ones_end_their_urls() {
    let mut relay = Relay::start().await;
    let (_, old) = relay.iphone().await;
    let first = "\"1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"";
    let second = format!("2:{}", generated_key(&[]).await.split_once(':').unwrap().1);
    let both = format!("\"{second}\", {first}");
    relay.world.restart_with(|config| config.replace(first, &both)).await;
    relay.world.apple.allow_token_updates();
    let (_, new) = relay.iphone().await;
    for path in [&old, &new] {
        assert_status(&relay.push(path, example()).send().await, 201, "both keys");
    }
    relay.world.restart_with(|config| config.replace(&both, &format!("\"{second}\""))).await;
    let answer = relay.push(&old, example()).send().await;
    assert_status(&answer, 503, "the key is lost");
    assert_eq!(answer.header("retry-after"), Some("300"));
    relay.world.server.wait_for_log("restore [relay] seal_keys", DEADLINE).await;
    let retire = |config: String| config.replace("[relay]\n", "[relay]\nretired_seal_keys = [1]\n");
    relay.world.restart_with(retire).await;
    assert_status(&relay.push(&old, example()).send().await, 410, "the key is retired");
    assert_status(&relay.push(&new, example()).send().await, 201, "the new key");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_ends_no_pusher() {
    let mut relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let (_, of_phone) = relay.phone().await;
    let off = |config: String| config.replacen("relay = true\n", "relay = false\n", 1);
    relay.world.restart_with(off).await;
    let answer = relay.push(&path, example()).send().await;
    assert_status(&answer, 503, "relay = false");
    assert_eq!(answer.header("retry-after"), Some("300"));
    relay.world.server.wait_for_log("give the app its type and relay = true", DEADLINE).await;
    assert_status(
        &relay.subscribe(IOS, json!({ "token": "ab".repeat(32), "vapid": relay.homeserver.key() })).await,
        404,
        "",
    );
    // Two apps exchange their names, and so their types.
    let swap = |config: String| {
        let config = config.replace("relay = false\n", "relay = true\n");
        config.replace(IOS, "x").replace(ANDROID, IOS).replace("\"x\"", &format!("\"{ANDROID}\""))
    };
    relay.world.restart_with(swap).await;
    for path in [path, of_phone] {
        assert_status(&relay.push(&path, example()).send().await, 503, "another type");
    }
    assert_eq!(relay.upstream(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_gone_is_404_or_503() {
    let mut relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    relay
        .world
        .restart_with(|config| config.replace(&format!("[apps.\"{IOS}\"]"), "[apps.\"com.example.other\"]"))
        .await;
    assert_status(&relay.push(&path, example()).send().await, 404, "reject");
    relay.world.restart_with(|config| format!("{config}\n[routing]\nunknown_app = \"error\"\n")).await;
    let answer = relay.push(&path, example()).send().await;
    assert_status(&answer, 503, "error");
    assert_eq!(answer.header("retry-after"), Some("300"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_may_expire() {
    let mut relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    relay.world.restart_with(|config| config.replace("[relay]\n", "[relay]\nmax_age = \"1h\"\n")).await;
    assert_status(&relay.push(&path, example()).send().await, 201, "young");
    relay.world.apple.allow_token_updates();
    let short = |config: String| config.replace("max_age = \"1h\"", "max_age = \"1ms\"");
    relay.world.restart_with(short).await;
    // It is older than its minute.
    harness::wait::wait_for("the next minute", std::time::Duration::from_secs(70), async || {
        let answer = relay.push(&path, super::body(120, 1)).send().await;
        (answer.code() == 410).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_the_clear_are_for_development() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}allow_clear_tokens = true\n")).await;
    let digest = {
        use base64::Engine;
        use sha2::Digest;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(sha2::Sha256::digest(relay.homeserver.public()))
    };
    for device in [relay.world.iphone(IOS), relay.world.phone(ANDROID)] {
        let path = format!("/wp/{}/{}", device["app_id"].as_str().unwrap(), pushkey(&device));
        let clear = format!("{path}?k={digest}");
        assert_status(&relay.push(&clear, example()).send().await, 201, "in the clear");
        let other = ApplicationServer::new().authorization(PUBLIC_URL);
        let stranger = relay.bare(&clear).header("ttl", "1").header("content-encoding", "aes128gcm");
        assert_status(&stranger.header("authorization", &other).body(example()).send().await, 403, "another key");
        assert_status(&relay.push(&path, example()).send().await, 404, "without a digest");
    }
    assert_eq!(relay.upstream(), 2);
    let strict = Relay::start().await;
    let clear = format!("/wp/{IOS}/{}?k={digest}", "ab".repeat(32));
    assert_status(&strict.push(&clear, example()).send().await, 404, "not allowed");
}

/// What `generate-seal-key` prints.
async fn generated_key(arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(harness::binary::push_gateway());
    let output = command.arg("generate-seal-key").args(arguments).output().await.expect("the binary can be started");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_makes_keys_and_urls() {
    use base64::Engine;
    let (one, two) = (generated_key(&[]).await, generated_key(&["--id", "7"]).await);
    let (number, key) = one.split_once(':').expect("a number and a key");
    assert!(number.parse::<u8>().is_ok_and(|number| number > 0) && two.starts_with("7:"), "{one} {two}");
    assert_ne!(key, &two[2..]);
    assert_eq!(base64::engine::general_purpose::STANDARD.decode(key).unwrap().len(), 32);
    let relay = Relay::start().await;
    let key = relay.homeserver.key();
    let token = "ab".repeat(32);
    let output =
        relay.world.server.run(&["wp-url", "--app", IOS, "--token", &token, "--vapid", &key, "--chid", "a1"]).await;
    let url = String::from_utf8(output.stdout).unwrap();
    let path = url.trim_end().strip_prefix(PUBLIC_URL).unwrap();
    assert_status(&relay.push(path, example()).send().await, 201, "a URL of the command line");
    assert_eq!(relay.pushes(&json!({ "pushkey": token }))[0].json()["chid"], "a1");
    for (arguments, problem) in [
        (vec!["--app", "unknown", "--token", &token, "--vapid", &key], "--app: no app"),
        (vec!["--app", IOS, "--token", "x", "--vapid", &key], "--token: expected"),
        (vec!["--app", IOS, "--token", &token], "--vapid: expected"),
        (vec!["--app", IOS, "--token", &token, "--vapid", &key, "--chid", "a/b"], "--chid: expected"),
    ] {
        let output = relay.world.server.run(&[&["wp-url"], &arguments[..]].concat()).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(problem), "{arguments:?}: {text}");
        assert!(!text.contains(&token), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_table_is_a_config_error() {
    let relay = Relay::start().await;
    let file = relay.world.server.folder().join("config.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    for (from, to, problem) in [
        ("public_url = \"https://push.example.net\"\n", "", "[relay] public_url: missing; "),
        ("seal_keys = [\"1:", "seal_keys = [\"0:", "[relay] seal_keys: expected "),
        ("[relay]\n", "[relay]\nseal_key = 1\n", "[relay] seal_key: unknown key; did you mean seal_keys?"),
        ("relay = true\n", "relay = true\nrelay_layout = \"other\"\n", "[apps.\"com.example.ios\"] relay_layout: "),
        ("relay = true\n", "relay = true\npush_type = \"voip\"\n", "[apps.\"com.example.ios\"] relay: iOS terminates"),
        (
            "relay = true\n",
            "relay = true\nbackground_urgencies = [\"x\"]\n",
            "[apps.\"com.example.ios\"] background_urgencies",
        ),
    ] {
        let changed = config.replacen(from, to, 1);
        assert_ne!(changed, config, "{to}");
        std::fs::write(&file, changed).unwrap();
        let output = relay.world.server.run(&["check-config"]).await;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && text.contains(problem), "{to}: {text}");
    }
    std::fs::write(&file, config.replacen("[relay]\n", "[relay]\nallow_clear_tokens = true\n", 1)).unwrap();
    let output = relay.world.server.run(&["check-config"]).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("note: [relay] allow_clear_tokens: is on"), "{text}");
}
