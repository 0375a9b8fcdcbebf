//! VAPID (RFC 8292): who may push to a URL.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use harness::application_server::{ApplicationServer, now};
use serde_json::{Value, json};

use super::{ONCE, PUBLIC_URL, RELAY, Relay, assert_status, body, example};

impl Relay {
    /// The status of a push with this `Authorization`, which also brings the right challenge.
    async fn authorized(&self, path: &str, authorization: &str) -> u16 {
        let seed = u8::try_from(self.upstream() % 256).expect("a byte");
        let request = self.bare(path).header("ttl", "60").header("content-encoding", "aes128gcm");
        let answer = request.header("authorization", authorization).body(body(150, seed)).send().await;
        assert_status(&answer, answer.code(), authorization);
        assert_eq!(answer.header("www-authenticate"), (answer.code() == 401).then_some("vapid"), "{authorization}");
        answer.code()
    }

    fn with_claims(&self, claims: &str) -> String {
        format!(
            "vapid t={}, k={}",
            self.homeserver.sign(r#"{"typ":"JWT","alg":"ES256"}"#, claims),
            self.homeserver.key()
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_field_is_accepted_in_each_form_of_known_senders() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let (t, k) = (relay.homeserver.token(PUBLIC_URL), relay.homeserver.key());
    let padded = STANDARD.encode(relay.homeserver.public());
    for authorization in [
        format!("vapid t={t}, k={k}"),
        format!("vapid t={t},k={k}"),
        format!("vapid k={k},t={t}"),
        format!("VAPID t=\"{t}\", k=\"{k}\""),
        format!("vapid x=1, t={t}, k={k}"),
        format!("vapid t={t}, k={padded}"),
    ] {
        assert_eq!(relay.authorized(&path, &authorization).await, 201, "{authorization}");
    }
    let raw = URL_SAFE_NO_PAD.decode(&k).unwrap();
    let compressed = URL_SAFE_NO_PAD.encode([&[2 + (raw[64] & 1)], &raw[1..33]].concat());
    let mut off_curve = raw.clone();
    off_curve[64] ^= 1;
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    for authorization in [
        "Bearer x".to_owned(),
        "WebPush x".to_owned(),
        "vapid".to_owned(),
        "vapid t=".to_owned(),
        format!("vapid t={t}"),
        format!("vapid k={k}"),
        format!("WebPush t={t},k={k}"),
        format!("vapid t={t},t={t},k={k}"),
        format!("vapid t={t},k={compressed}"),
        format!("vapid t={t},k={}", encode(&off_curve)),
        format!("vapid t={t},k={}", encode(&raw[..64])),
        format!("vapid t={t},k={}", encode(&[0])),
        format!("vapid t={t},k={k},x={}", "x".repeat(2048)),
    ] {
        assert_eq!(relay.authorized(&path, &authorization).await, 401, "{authorization}");
    }
    let none = relay.bare(&path).header("ttl", "60").header("content-encoding", "aes128gcm").body(example());
    assert_status(&none.send().await, 401, "none");
    let twice = relay.push(&path, example()).header("authorization", &relay.authorization());
    assert_status(&twice.send().await, 401, "twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_valid_only_in_form_signature_time_and_audience() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}extra_origins = [\"https://second.example:8443\"]\n")).await;
    let (_, path) = relay.iphone().await;
    let claims = |aud: Value| json!({ "aud": aud, "exp": now() + 3600 }).to_string();
    for aud in [
        json!("https://push.example.net"),
        json!("https://push.example.net/"),
        json!("https://PUSH.EXAMPLE.NET"),
        json!("https://push.example.net:443"),
        json!("https://second.example:8443"),
        json!(["https://other.example", "https://push.example.net"]),
    ] {
        assert_eq!(relay.authorized(&path, &relay.with_claims(&claims(aud.clone()))).await, 201, "{aud}");
    }
    for aud in [
        json!("https://updates.push.services.mozilla.com"),
        json!("https://push.example.net/wp"),
        json!("https://push.example.net:8443"),
        json!("http://push.example.net"),
        json!(["https://other.example"]),
        json!([]),
        json!(5),
        json!(null),
    ] {
        assert_eq!(relay.authorized(&path, &relay.with_claims(&claims(aud.clone()))).await, 401, "{aud}");
    }
    let exp = |exp: &str| relay.with_claims(&format!(r#"{{"aud":"{PUBLIC_URL}","exp":{exp}}}"#));
    let (soon, day) = (now() + 100, 24 * 3600);
    for (value, status) in [
        (format!("{soon}.5"), 201),
        (format!("{:e}", soon as f64), 201),
        ((now() + day).to_string(), 201),
        ((now() - 30).to_string(), 201),
        ((now() + day + 3600).to_string(), 401),
        ((now() - day).to_string(), 401),
        ((now() - 62).to_string(), 401),
        (format!("\"{soon}\""), 401),
        ("1e400".to_owned(), 401),
        ("-1".to_owned(), 401),
        ("null".to_owned(), 401),
    ] {
        assert_eq!(relay.authorized(&path, &exp(&value)).await, status, "{value}");
    }
    for claims in [
        format!(r#"{{"aud":"{PUBLIC_URL}"}}"#),
        format!(r#"{{"exp":{soon}}}"#),
        format!(r#"{{"aud":"{PUBLIC_URL}","exp":{soon},"exp":{soon}}}"#),
        format!(r#"{{"aud":"{PUBLIC_URL}","exp":{soon},"sub":5}}"#),
        "[]".to_owned(),
        "x".to_owned(),
    ] {
        assert_eq!(relay.authorized(&path, &relay.with_claims(&claims)).await, 401, "{claims}");
    }
    let good = claims(json!(PUBLIC_URL));
    let extended = format!(r#"{{"aud":"{PUBLIC_URL}","exp":{soon},"nbf":{},"iat":"x"}}"#, soon + day);
    assert_eq!(relay.authorized(&path, &relay.with_claims(&extended)).await, 201);
    for (header, status) in [
        (r#"{"alg":"ES256","kid":"x","jwk":{},"x5u":"https://x.example"}"#, 201),
        (r#"{"alg":"none"}"#, 401),
        (r#"{"alg":"HS256"}"#, 401),
        (r#"{"alg":"ES384"}"#, 401),
        (r#"{"alg":"ES256","alg":"ES256"}"#, 401),
    ] {
        let authorization = format!("vapid t={},k={}", relay.homeserver.sign(header, &good), relay.homeserver.key());
        assert_eq!(relay.authorized(&path, &authorization).await, status, "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_signature_is_refused() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let token = relay.homeserver.token(PUBLIC_URL);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let der = [&[0x30, 68, 2, 32], &bytes[..32], &[2, 32], &bytes[32..]].concat();
    let zero_r = [&[0; 32], &bytes[32..]].concat();
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> = (0..32).map(|at| u8::from_str_radix(&order[at * 2..at * 2 + 2], 16).unwrap()).collect();
    let s_is_order = [&bytes[..32], &order].concat();
    for signature in [der.as_slice(), &bytes[..63], &zero_r, &s_is_order, &[]] {
        let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
        let authorization = format!("vapid t={token},k={}", relay.homeserver.key());
        assert_eq!(relay.authorized(&path, &authorization).await, 401, "{signature:?}");
    }
    // The key as a secret of HMAC.
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &relay.homeserver.public());
    let claims = json!({ "aud": PUBLIC_URL, "exp": now() + 60 }).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims));
    let tag = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes()));
    let authorization = format!("vapid t={signed}.{tag},k={}", relay.homeserver.key());
    assert_eq!(relay.authorized(&path, &authorization).await, 401, "HS256");
    assert_eq!(relay.upstream(), 0);
    // A valid one counts also after the others.
    assert_eq!(relay.authorized(&path, &relay.authorization()).await, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_homeserver_of_the_url_may_use_it() {
    let relay = Relay::start().await;
    let (device, path) = relay.iphone().await;
    let other = ApplicationServer::new();
    assert_eq!(relay.authorized(&path, &other.authorization(PUBLIC_URL)).await, 403);
    // Its own token with the right key is no proof.
    let stolen = format!("vapid t={},k={}", other.token(PUBLIC_URL), relay.homeserver.key());
    assert_eq!(relay.authorized(&path, &stolen).await, 401);
    assert!(relay.pushes(&device).is_empty());
    for _ in 0..2 {
        assert_eq!(relay.authorized(&path, &relay.authorization()).await, 201);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_the_host_of_the_request_shows_a_wrong_public_url() {
    let relay = Relay::start().await;
    let (_, path) = relay.iphone().await;
    let origin = format!("https://{}", relay.world.server.address());
    let answer = relay
        .bare(&path)
        .header("ttl", "60")
        .header("content-encoding", "aes128gcm")
        .header("authorization", &relay.homeserver.authorization(&origin))
        .body(example())
        .send()
        .await;
    assert_status(&answer, 503, "our public_url is wrong");
    relay.world.server.wait_for_log("not that of [relay] public_url", harness::world::push::DEADLINE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_require_vapid_a_url_may_be_for_every_homeserver() {
    let relay = Relay::with(ONCE, ONCE, &format!("{RELAY}require_vapid = false\n")).await;
    let device = relay.world.iphone(harness::world::push::IOS);
    let answer = relay.subscribe("com.example.ios", json!({ "token": device["pushkey"] })).await;
    let open = answer.expect(201)["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap().to_owned();
    let bare = relay.bare(&open).header("ttl", "60").header("content-encoding", "aes128gcm").body(example());
    assert_status(&bare.send().await, 201, "without VAPID");
    assert_eq!(relay.authorized(&open, &ApplicationServer::new().authorization(PUBLIC_URL)).await, 201);
    assert_eq!(relay.authorized(&open, "vapid t=x,k=y").await, 401);
    // A URL with a key keeps it.
    let (_, pinned) = relay.iphone().await;
    let bare = relay.bare(&pinned).header("ttl", "60").header("content-encoding", "aes128gcm").body(example());
    assert_status(&bare.send().await, 401, "without VAPID");
    assert_eq!(relay.authorized(&pinned, &ApplicationServer::new().authorization(PUBLIC_URL)).await, 403);
}
