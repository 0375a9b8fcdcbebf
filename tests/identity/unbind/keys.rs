//! The keys that signatures are checked with: where they come from, how long they count, and when there are none.
//!
//! Invariant: keys that cannot be had are 502, which a homeserver takes for "try again"; they never let anyone in.

use harness::certificates::{Authority, Certificate};
use harness::homeserver::{Fault, Homeserver, Key, canonical};
use serde_json::{Value, json};

use super::{Bound, KEYS, NAME, content};
use harness::world::identity::{Settings, v2};

/// Checks that the right request fails for want of keys.
async fn has_no_keys(bound: &Bound, what: &str) -> String {
    let answer = bound.send(&[bound.request().header().as_bytes()]).await;
    let text = bound.refused(&answer, 502, "M_UNKNOWN", what).await;
    assert!(text.contains("contact"), "{what}: {text}");
    text
}

/// The homeserver's key document, changed by `change` and then signed in the name of `signer` by `keys`.
fn document(homeserver: &Homeserver, signer: &str, keys: &[&Key], change: impl FnOnce(&mut Value)) -> String {
    let mut document = homeserver.key_document();
    document["signatures"] = json!({});
    change(&mut document);
    keys.iter().for_each(|key| key.sign(signer, &mut document));
    document.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_without_keys_to_rely_on_is_as_good_as_none() {
    let bound = Bound::start().await;
    let homeserver = &bound.world.homeserver;
    let (key, other) = (homeserver.key(), Key::new("ed25519:a_1"));
    let named = |name: Value| {
        let signer = name.as_str().unwrap_or("hs.example").to_owned();
        document(homeserver, &signer, &[&key], |document| document["server_name"] = name)
    };
    let until =
        |until: Value| document(homeserver, "hs.example", &[&key], |document| document["valid_until_ts"] = until);
    let now = shared::clock::Clock::system().now().as_millis();
    let float =
        until(json!(now + 1_000_000)).replace(&format!("{}", now + 1_000_000), &format!("{}.5", now + 1_000_000));
    for (what, reply) in [
        ("unsigned", document(homeserver, "hs.example", &[], |_| ())),
        ("unsigned, and no signatures", document(homeserver, "hs.example", &[], |d| d["signatures"] = Value::Null)),
        ("signed by another key of this id", document(homeserver, "hs.example", &[&other], |_| ())),
        ("signed in another name", document(homeserver, "other.example", &[&key], |_| ())),
        ("signed by a key that is not in it", {
            document(homeserver, "hs.example", &[&key], |d| d["verify_keys"] = json!({}))
        }),
        (
            "changed after it was signed",
            until(json!(now + 1_000_000)).replace("hs.example\",\"sig", "hs.example\",\"Sig"),
        ),
        ("of another server", named(json!("other.example"))),
        ("of the same server at a port", named(json!("hs.example:8448"))),
        ("of no server", named(Value::Null)),
        ("of a number", named(json!(5))),
        ("valid until a text", until(json!((now + 1_000_000).to_string()))),
        ("valid until a float", float),
        ("valid until nothing", until(Value::Null)),
        ("valid until the past", until(json!(now - 1))),
        ("valid until the beginning of time", until(json!(0))),
        ("valid until before it", until(json!(-1))),
        ("not JSON", "<html>".to_owned()),
        ("empty", String::new()),
        ("a list", format!("[{}]", homeserver.key_document())),
        ("broken off", homeserver.key_document().to_string().trim_end_matches('}').to_owned()),
    ] {
        homeserver.mend();
        homeserver.fault(KEYS, Fault::reply(200, reply));
        let text = has_no_keys(&bound, what).await;
        assert_eq!(matches!(what, "not JSON" | "empty" | "a list" | "broken off"), text.contains("JSON"), "{text}");
    }
    for status in [201, 301, 401, 403, 404, 429, 500, 503] {
        homeserver.mend();
        homeserver.fault(KEYS, Fault::json(status, homeserver.key_document()));
        has_no_keys(&bound, &format!("status {status}")).await;
    }
    homeserver.mend();
    bound.accepts(&bound.request().header()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_of_64_kibibytes_is_read_and_a_larger_one_is_not() {
    let bound = Bound::start().await;
    let homeserver = &bound.world.homeserver;
    let reply = homeserver.key_document().to_string();
    let padded = |length: usize| format!("{reply}{}", " ".repeat(length - reply.len()));
    for fault in [
        Fault::reply(200, padded(64 * 1024 + 1)),
        Fault::reply(200, padded(1 << 20)),
        Fault::stream(reply.clone(), b' ', 1 << 20),
    ] {
        homeserver.mend();
        homeserver.fault(KEYS, fault);
        has_no_keys(&bound, "a large reply").await;
    }
    homeserver.mend();
    homeserver.fault(KEYS, Fault::reply(200, padded(64 * 1024)));
    bound.accepts(&bound.request().header()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_are_valid_for_ever_are_taken() {
    for (number, beyond) in [("9007199254740991", "9007199254740991"), ("9007199254740991", "9007199254740992")] {
        let bound = Bound::start().await;
        let homeserver = &bound.world.homeserver;
        let mut document = homeserver.key_document();
        document.as_object_mut().expect("an object").remove("signatures");
        document["valid_until_ts"] = serde_json::from_str(number).expect("a number");
        // No canonical JSON, but signed by servers that do not mind.
        let text = canonical(&document).replace(number, beyond);
        let signature = homeserver.key().text_signature(&text);
        let signatures = json!({ "hs.example": { "ed25519:a_1": signature } });
        let reply = text.replacen('{', &format!("{{\"signatures\":{signatures},"), 1);
        homeserver.fault(KEYS, Fault::reply(200, reply));
        bound.accepts(&bound.request().header()).await;
        bound.accepts(&bound.request().header()).await;
        assert_eq!(bound.key_requests(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_counts_at_once_and_a_removed_one_no_more() {
    let bound = Bound::start().await;
    let homeserver = &bound.world.homeserver;
    let first = homeserver.key();
    bound.accepts(&bound.request().header()).await;
    homeserver.change_key(Key::new("ed25519:a_2"));
    bound.accepts(&bound.request().header()).await;
    assert_eq!(bound.key_requests(), 2);
    // In `old_verify_keys` now: for what it signed then, not for what comes in now.
    for _ in 0..3 {
        bound.refuses(&bound.request().key(first.clone()).header(), 403, "M_FORBIDDEN").await;
    }
    // Unknown key IDs cause no repeated requests for keys.
    for n in 0..5 {
        let header = bound.request().key(Key::new(&format!("ed25519:x_{n}"))).header();
        bound.refuses(&header, 403, "M_FORBIDDEN").await;
    }
    assert_eq!(bound.key_requests(), 2);
    bound.accepts(&bound.request().header()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_needs_its_own_signature_under_the_reply() {
    let bound = Bound::start().await;
    let homeserver = &bound.world.homeserver;
    let (signing, silent) = (homeserver.key(), Key::new("ed25519:b_2"));
    let reply = document(homeserver, "hs.example", &[&signing], |document| {
        document["verify_keys"][silent.id()] = json!({ "key": silent.public() });
    });
    homeserver.fault(KEYS, Fault::reply(200, reply));
    bound.refuses(&bound.request().key(silent.clone()).header(), 403, "M_FORBIDDEN").await;
    bound.accepts(&bound.request().header()).await;
    let other_algorithm = Key::from_seed("a_1", [7; 32]);
    let reply = document(homeserver, "hs.example", &[&signing, &other_algorithm], |document| {
        document["verify_keys"][other_algorithm.id()] = json!({ "key": other_algorithm.public() });
    });
    homeserver.mend();
    homeserver.fault(KEYS, Fault::reply(200, reply));
    bound.refuses(&bound.request().key(other_algorithm).header(), 403, "M_FORBIDDEN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_is_down_deaf_or_broken_is_not_the_users_fault() {
    let bound = Bound::with(Settings { federation: "timeout = \"1s\"", ..Settings::default() }).await;
    let homeserver = &bound.world.homeserver;
    let drip = Fault::drip(homeserver.key_document().to_string(), std::time::Duration::from_millis(100));
    let elsewhere = Fault::redirect(&format!("https://{}{KEYS}", homeserver.address()));
    for (what, fault) in [("close", Fault::Close), ("silence", Fault::Silence), ("drip", drip), ("redirect", elsewhere)]
    {
        homeserver.mend();
        homeserver.fault(KEYS, fault);
        has_no_keys(&bound, what).await;
    }
    homeserver.mend();
    homeserver.set_silent(true);
    homeserver.fault_times(KEYS, 1, Fault::Close);
    has_no_keys(&bound, "deaf").await;
    homeserver.mend();
    bound.accepts(&bound.request().header()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_outlives_the_homeserver() {
    let mut bound = Bound::start().await;
    bound.accepts(&bound.request().header()).await;
    let known = bound.request();
    let gone = std::mem::replace(&mut bound.world.homeserver, Homeserver::start("elsewhere.example").await);
    drop(gone);
    bound.accepts(&known.header()).await;
    // A key that is not known would have to be asked for.
    let unknown = known.clone().key(Key::new("ed25519:a_2")).header();
    let text = bound.refuses(&unknown, 502, "M_UNKNOWN").await;
    assert!(text.contains("contact"), "{text}");
    // And that does not cost the keys that are known.
    bound.accepts(&known.header()).await;
    bound.accepts_all(&[unknown.as_bytes(), known.header().as_bytes()]).await;
    bound.world.restart().await;
    let text = bound.refuses(&known.header(), 502, "M_UNKNOWN").await;
    assert!(text.contains("contact"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_over_a_connection_whose_certificate_is_for_the_origin() {
    let mut bound = Bound::start().await;
    // On new connections: those from before were opened with a good certificate.
    bound.world.restart().await;
    let homeserver = &bound.world.homeserver;
    let authority = homeserver.authority().clone();
    for (what, certificate) in [
        ("for another name", authority.issue(&["other.example"])),
        ("for a wildcard above", authority.issue(&["*.hs.example"])),
        ("expired", authority.issue_expired(&["hs.example"])),
        ("self-signed", Certificate::self_signed(&["hs.example"])),
        ("of an untrusted authority", Authority::new("another authority").issue(&["hs.example"])),
    ] {
        homeserver.set_certificate(&certificate);
        let text = has_no_keys(&bound, what).await;
        assert!(text.contains("certificate"), "{what}: {text}");
    }
    assert_eq!(bound.key_requests(), 0);
    homeserver.set_certificate(&authority.issue(&["hs.example"]));
    bound.accepts(&bound.request().header()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_address_is_not_asked_for_keys() {
    let bound = Bound::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a socket");
    let origin = format!("127.0.0.1:{}", listener.local_addr().expect("an address").port());
    let mut content = content();
    content["mxid"] = json!(format!("@bob:{origin}"));
    let header = bound.request().origin(&origin).content(&content).header();
    let answer = bound.send_to(&v2("/3pid/unbind"), &[header.as_bytes()], &content.to_string()).await;
    let text = bound.refused(&answer, 502, "M_UNKNOWN", &origin).await;
    assert!(text.contains("contact"), "{text}");
    assert!(listener.accept().is_err(), "a connection was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_lists_hold_for_homeservers_that_unbind() {
    // Registered while it was allowed; then the operator changed his mind.
    let mut bound = Bound::start().await;
    bound.accepts(&bound.request().header()).await;
    let path = bound.world.server.folder().join("config.toml");
    let settings = std::fs::read_to_string(&path).expect("the settings of a running server");
    for lists in ["deny_servers = [\"hs.*\"]", "allow_servers = [\"other.example\"]"] {
        let with_lists = format!("{settings}\n[registration]\n{lists}\n");
        let (server, api) = start_again(&bound, &with_lists).await;
        let before = bound.key_requests();
        let call = api.post(&v2("/3pid/unbind"), content()).header("authorization", &bound.request().header());
        let refusal = call.send().await.refused(403, "M_FORBIDDEN");
        assert!(refusal["error"].as_str().is_some_and(|text| text.contains(NAME)), "{refusal}");
        assert_eq!(bound.key_requests(), before, "{lists}: it was asked");
        drop(server);
    }
    bound.world.restart().await;
    bound.accepts(&bound.request().header()).await;
}

/// Another process with other settings; that nothing is bound there does not matter to a refusal.
async fn start_again(bound: &Bound, settings: &str) -> (harness::process::Server, harness::api::Api) {
    let folder = harness::process::new_folder();
    std::fs::create_dir(folder.path().join("data")).expect("an empty folder");
    std::fs::copy(bound.world.server.folder().join("data/signing.key"), folder.path().join("data/signing.key"))
        .expect("the key file of a running server");
    let server = harness::process::Server::start_in(folder, harness::binary::identity(), settings, &[]).await;
    let api = harness::api::Api::new(&server.url());
    (server, api)
}
