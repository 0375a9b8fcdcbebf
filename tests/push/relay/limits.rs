//! Limits, abuse, reload, metrics, and what the log says.

use std::time::Duration;

use harness::application_server::ApplicationServer;
use harness::raw::exchange;
use harness::world::push::{DEADLINE, IOS};
use serde_json::json;

use super::{ONCE, PUBLIC_URL, RELAY, Relay, assert_status, body, example, pushkey};
use crate::push::admin::{measured, value};

#[tokio::test(flavor = "multi_thread")]
async fn one_device_gets_so_many_pushes_whatever_its_urls() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}[limits]\nper_pushkey = \"3/min\"\n")).await;
    let (device, path) = relay.iphone().await;
    let other = relay.path(&device, "").await;
    for (number, path) in [&path, &other, &path].into_iter().enumerate() {
        assert_status(&relay.push(path, body(120, u8::try_from(number).unwrap())).send().await, 201, "within");
    }
    let answer = relay.push(&other, body(120, 9)).send().await;
    assert_status(&answer, 429, "over the limit");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait) && answer.json()["retry_after_ms"].is_u64(), "{answer}");
    // The bucket is that of /notify.
    let answer = relay.world.notify_message("$e", json!([device])).await;
    assert_eq!(answer.code(), 429, "{answer}");
    let (_, path) = relay.iphone().await;
    assert_status(&relay.push(&path, example()).send().await, 201, "another device");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_homeserver_may_have_a_limit() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}per_key = \"2/min\"\n")).await;
    for status in [201, 201, 429] {
        let (_, path) = relay.iphone().await;
        assert_status(&relay.push(&path, example()).send().await, status, "one homeserver");
    }
    let other = Relay { homeserver: ApplicationServer::new(), ..relay };
    let (_, path) = other.iphone().await;
    assert_status(&other.push(&path, example()).send().await, 201, "another homeserver");
}

#[tokio::test(flavor = "multi_thread")]
async fn homeservers_that_share_urls_for_every_key_have_limits_of_their_own() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}require_vapid = false\nper_key = \"1/min\"\n")).await;
    let device = relay.world.iphone(IOS);
    let url = relay.subscribe(IOS, json!({ "token": pushkey(&device) })).await.expect(201);
    let path = url["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap().to_owned();
    let anonymous = |seed| {
        let request = relay.bare(&path).header("ttl", "60").header("content-encoding", "aes128gcm");
        request.body(body(120, seed)).send()
    };
    assert_status(&relay.push(&path, body(120, 1)).send().await, 201, "one homeserver");
    assert_status(&relay.push(&path, body(120, 2)).send().await, 429, "the same again");
    assert_status(&anonymous(3).await, 201, "one without a key, by its address");
    assert_status(&anonymous(4).await, 429, "the same again");
    let other = Relay { homeserver: ApplicationServer::new(), ..relay };
    assert_status(&other.push(&path, body(120, 5)).send().await, 201, "another homeserver");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_a_device_answers_before_the_body_is_read() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}[limits]\nper_pushkey = \"1/min\"\n")).await;
    let (_, path) = relay.iphone().await;
    assert_status(&relay.push(&path, body(120, 1)).send().await, 201, "within the limit");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nTTL: 60\r\nContent-Encoding: aes128gcm\r\nAuthorization: {}\r\n\
         Content-Length: 120\r\n\r\n",
        relay.authorization()
    );
    // The body never comes.
    let answer =
        exchange(relay.world.server.address(), head.as_bytes(), Duration::from_secs(5)).await.expect("an answer");
    assert_eq!(answer.status, 429, "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_gets_so_many_urls() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}subscribe_per_ip = \"2/min\"\n")).await;
    let body = json!({ "token": "ab".repeat(32), "vapid": relay.homeserver.key() });
    for _ in 0..2 {
        relay.subscribe(IOS, body.clone()).await.expect(201);
    }
    assert_status(&relay.subscribe(IOS, body).await, 429, "over the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_urls_is_blocked_for_a_minute() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let other_end = if path.ends_with('A') { 'Q' } else { 'A' };
    let wrong = format!("{}{other_end}", &path[..path.len() - 1]);
    for number in 0..101 {
        assert_status(&relay.push(&wrong, example()).send().await, 404, &number.to_string());
    }
    let answer = relay.push(&path, example()).send().await;
    assert_status(&answer, 429, "blocked");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&wait), "{wait}");
    assert_eq!(relay.upstream(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_urls_from_users_of_a_homeserver_stop_no_push_to_known_devices() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    assert_status(&relay.push(&path, body(120, 1)).send().await, 201, "the device is known from now on");
    let wrong = format!("{}AAAA", &path[..path.len() - 4]);
    for _ in 0..101 {
        assert_status(&relay.push(&wrong, example()).send().await, 404, "wrong");
    }
    assert_status(&relay.push(&wrong, example()).send().await, 429, "blocked");
    assert_status(&relay.push(&path, body(120, 2)).send().await, 201, "a known device");
    let renewed = relay.path(&device, "").await;
    assert_status(&relay.push(&renewed, body(120, 3)).send().await, 201, "another URL of a known device");
    let (_, new) = relay.iphone().await;
    assert_status(&relay.push(&new, example()).send().await, 429, "another device");
    assert_eq!(relay.upstream(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_url_is_limited_and_other_devices_are_served() {
    let relay = Relay::start().await;
    let (_, flooded) = relay.iphone().await;
    let authorization = relay.authorization();
    let push = |path: &str, number: u32| {
        let mut body = body(200, 0);
        body[..4].copy_from_slice(&number.to_be_bytes());
        let request = relay.bare(path).header("ttl", "60").header("content-encoding", "aes128gcm");
        request.header("authorization", &authorization).body(body).send()
    };
    let answers = futures_util::future::join_all((0..600).map(|number| push(&flooded, number))).await;
    let count = |status| answers.iter().filter(|answer| answer.code() == status).count();
    assert!((240..=270).contains(&count(201)) && count(201) + count(429) + count(503) == 600, "{}", count(201));
    assert!(count(429) > 0);
    let (_, path) = relay.iphone().await;
    assert_status(&push(&path, 0).await, 201, "another device");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_applies_the_settings_of_the_relay() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let file = relay.world.server.folder().join("config.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let reload = async |text: String| {
        let before = relay.world.server.logs().matches("was read again").count();
        std::fs::write(&file, text).unwrap();
        relay.world.server.signal("HUP");
        let again = || relay.world.server.logs().matches("was read again").count() > before;
        harness::wait::wait_until("a reload", DEADLINE, again).await;
    };
    reload(config.replace("[relay]\n", "[relay]\nenabled = false\n")).await;
    assert_eq!(relay.push(&path, example()).send().await.header("retry-after"), Some("3600"));
    reload(config.replace(PUBLIC_URL, "https://other.example")).await;
    assert_status(&relay.push(&path, example()).send().await, 401, "a token for the former URL");
    reload(config.replace("relay = true\n", "")).await;
    assert_status(&relay.push(&path, example()).send().await, 503, "no app");
    reload(config.replace(RELAY, "")).await;
    relay.push(&path, example()).send().await.refused(404, "M_UNRECOGNIZED");
    reload(config.clone()).await;
    assert_status(&relay.push(&path, example()).send().await, 201, "as before");
    // The keys may be in a file, which is watched.
    let keys = relay.world.server.folder().join("seal.keys");
    std::fs::write(&keys, "# the key\n1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n").unwrap();
    let line = config.lines().find(|line| line.starts_with("seal_keys")).unwrap();
    reload(config.replace(line, "seal_keys_file = \"seal.keys\"")).await;
    assert_status(&relay.push(&path, body(120, 1)).send().await, 201, "keys from a file");
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_are_counted_and_logged_without_secrets() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    for body in [example(), body(4000, 0)] {
        assert_status(&relay.push(&path, body).send().await, 201, "");
    }
    assert_status(&relay.bare(&path).header("ttl", "1").header("content-encoding", "aes128gcm").send().await, 401, "");
    let token = path.rsplit('/').next().unwrap();
    assert_status(&relay.push(&format!("/wp/com.example.unknown/{token}"), example()).send().await, 404, "");
    relay.subscribe(IOS, json!({})).await.refused(400, "M_INVALID_PARAM");
    let lines = measured(&relay.world).await;
    for (series, expected) in [
        ("push_relay_requests_total{app=\"com.example.ios\",code=\"201\"}", 2.0),
        ("push_relay_requests_total{app=\"com.example.ios\",code=\"401\"}", 1.0),
        ("push_relay_requests_total{app=\"unknown\",code=\"404\"}", 1.0),
        ("push_relay_oversize_total{app=\"com.example.ios\"}", 1.0),
        ("push_relay_vapid_total{result=\"valid\"}", 2.0),
        ("push_relay_vapid_total{result=\"missing\"}", 1.0),
        ("push_relay_subscriptions_total{app=\"com.example.ios\",result=\"created\"}", 1.0),
        ("push_relay_subscriptions_total{app=\"com.example.ios\",result=\"refused\"}", 1.0),
    ] {
        let found = lines.iter().filter(|line| line.contains("relay")).collect::<Vec<_>>();
        assert_eq!(value(&lines, series), Some(expected), "{series}: {found:?}");
    }
    // A token that is used again is verified once.
    let authorization = relay.authorization();
    for seed in 1..=2 {
        let request = relay.bare(&path).header("ttl", "1").header("content-encoding", "aes128gcm");
        let answer = request.header("authorization", &authorization).body(body(120, seed)).send().await;
        assert_status(&answer, 201, "the same token");
    }
    assert_eq!(value(&measured(&relay.world).await, "push_relay_vapid_total{result=\"known\"}"), Some(1.0));
    relay.world.server.wait_for_log("code=201", DEADLINE).await;
    let logs = relay.world.server.logs();
    let line = logs.lines().find(|line| line.contains("relayed") && line.contains("code=201")).unwrap();
    let digest = {
        use sha2::Digest;
        sha2::Sha256::digest(relay.homeserver.public())
    };
    let key: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    assert!(line.contains("com.example.ios") && line.contains(&key), "{line}");
    for secret in [token, pushkey(&device), "acc1", "vapid t=", &relay.homeserver.key()] {
        assert!(!logs.contains(secret), "{secret}: {logs}");
    }
}
