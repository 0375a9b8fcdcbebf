//! Shows that the homeserver part of the tests' own tools takes what is right and refuses what is wrong.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyper::Method;
use ruma_common::CanonicalJsonObject;
use ruma_common::serde::Base64;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::rooms::ONBIND;
use super::{Fault, Homeserver, Join, Key, host};
use crate::api::Api;
use crate::certificates::{Authority, Certificate};
use crate::wait::wait_until;

const USERINFO: &str = "/_matrix/federation/v1/openid/userinfo";

/// A client that finds the homeserver by its name, as the server under test does.
fn client(server: &Homeserver) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(server.authority().pem().as_bytes()).unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([authority])
        .resolve(host(server.name()), server.address())
        .build()
        .unwrap()
}

async fn get(server: &Homeserver, path: &str) -> Result<(u16, String), reqwest::Error> {
    let url = format!("https://{}:{}{path}", server.name(), server.address().port());
    let response = client(server).get(url).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

#[tokio::test]
async fn an_open_id_token_is_good_at_its_homeserver_alone() {
    let (server, other) = (Homeserver::start("hs.example").await, Homeserver::start("other.example").await);
    let token = server.open_id_token("@alice:hs.example");
    assert_eq!(token["matrix_server_name"], "hs.example");
    let path = format!("{USERINFO}?access_token={}", token["access_token"].as_str().unwrap());

    assert_eq!(get(&server, &path).await.unwrap(), (200, json!({"sub": "@alice:hs.example"}).to_string()));
    for (server, path) in [(&other, path.as_str()), (&server, USERINFO), (&server, &format!("{path}x"))] {
        let (status, body) = get(server, path).await.unwrap();
        assert_eq!(status, 401, "{body}");
        assert!(body.contains("M_MISSING_TOKEN") || body.contains("M_UNKNOWN_TOKEN"), "{body}");
    }
    server.expire_open_id_tokens();
    assert_eq!(get(&server, &path).await.unwrap().0, 401);

    assert_eq!(server.requests_to(USERINFO).len(), 4);
    assert_eq!(server.requests()[0].sni.as_deref(), Some("hs.example"));
    assert_eq!((server.connections(), other.connections()), (4, 1));
}

#[tokio::test]
async fn its_keys_are_signed_as_the_specification_says() {
    let server = Homeserver::start("hs.example").await;
    let verify = |key: Key, body: &str| {
        let object: CanonicalJsonObject = serde_json::from_str(body).unwrap();
        let keys = BTreeMap::from([(key.id().to_owned(), Base64::parse(key.public()).unwrap())]);
        ruma_signatures::verify_json(&BTreeMap::from([("hs.example".to_owned(), keys)]), &object)
    };
    let (_, body) = get(&server, "/_matrix/key/v2/server").await.unwrap();
    let first = server.key();
    verify(first.clone(), &body).unwrap();
    verify(Key::new("ed25519:a_1"), &body).unwrap_err();
    verify(first.clone(), &body.replace("hs.example\",\"sig", "hx.example\",\"sig")).unwrap_err();

    server.change_key(Key::new("ed25519:a_2"));
    let (_, body) = get(&server, "/_matrix/key/v2/server").await.unwrap();
    verify(server.key(), &body).unwrap();
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["old_verify_keys"]["ed25519:a_1"]["key"], first.public());
    assert!(document["verify_keys"]["ed25519:a_1"].is_null());
}

#[test]
fn a_signature_matches_a_known_one() {
    use base64::Engine;
    use base64::alphabet::STANDARD;
    use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
    let lenient = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let seed = lenient.decode("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
    let key = Key::from_seed("ed25519:0", seed.try_into().unwrap());
    assert_eq!(key.public(), "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI");
    let mut association = json!({
        "address": "bob@example.com", "medium": "email", "mxid": "@bob:hs.example",
        "not_after": 4_903_600_000_000_u64, "not_before": 1_750_000_000_000_u64, "ts": 1_750_000_000_000_u64,
    });
    key.sign("id.example.org", &mut association);
    assert_eq!(
        association["signatures"]["id.example.org"]["ed25519:0"],
        "w1XTh/JIjcRc9bwC9G4qwH2H6vPrzftpUxsrBbBw+yWI606NuYO5cKuXOQdrNWxzWMilza5O9SPiJJ9S4n9dAw"
    );
}

#[tokio::test]
async fn an_x_matrix_header_carries_a_signature_over_the_request() {
    let server = Homeserver::start("hs.example").await;
    let content = json!({"mxid": "@bob:hs.example"});
    let header = server.x_matrix("POST", "/u", "id.example.org", &content);
    let signed = json!({
        "method": "POST", "uri": "/u", "origin": "hs.example", "destination_is": "id.example.org", "content": content,
    });
    let signature = server.key().signature(&signed);
    let expected =
        format!(r#"X-Matrix origin="hs.example",key="ed25519:a_1",sig="{signature}",destination="id.example.org""#);
    assert_eq!(header, expected);

    let request = server.request("/u", "id.example.org", &content).signed_for("destination", "x").destination(None);
    let signature = server.key().signature(&json!({
        "method": "POST", "uri": "/u", "origin": "hs.example", "destination": "x", "content": content,
    }));
    assert_eq!(request.parameters()[1..], [("key", "ed25519:a_1".to_owned()), ("sig", signature)]);
}

#[tokio::test]
async fn each_fault_is_what_it_says_and_can_be_mended() {
    let server = Homeserver::start("127.0.0.1").await;
    let api = Api::trusting(&format!("https://{}", server.address()), &server.authority().pem());

    server.fault_times("/x", 1, Fault::reply(503, "busy").with_header("retry-after", "7"));
    let answer = api.get("/x").send().await;
    assert_eq!((answer.code(), answer.header("retry-after"), answer.text().as_str()), (503, Some("7"), "busy"));
    assert_eq!(api.get("/x").send().await.code(), 404, "the fault was for one request");

    server.fault("/.well-known/matrix/server", Fault::json(200, json!({"m.server": "a.example:1"})));
    assert_eq!(api.get("/.well-known/matrix/server").send().await.json()["m.server"], "a.example:1");

    server.fault("/drip", Fault::drip("abc", Duration::from_millis(30)));
    let start = Instant::now();
    assert_eq!(api.get("/drip").send().await.text(), "abc");
    assert!(start.elapsed() >= Duration::from_millis(60));

    server.fault("/", Fault::Close);
    assert!(get(&server, "/x").await.unwrap_err().is_request());
    server.mend();
    server.fault("/", Fault::Silence);
    assert!(tokio::time::timeout(Duration::from_millis(50), get(&server, "/x")).await.is_err());
    server.mend();
    assert_eq!(api.get("/x").send().await.code(), 404);

    server.set_silent(true);
    let before = server.connections();
    let silent = tokio::time::timeout(Duration::from_millis(50), get(&server, "/x")).await;
    assert!(silent.is_err());
    assert_eq!(server.connections(), before + 1);
}

#[tokio::test]
async fn a_gigabyte_is_sent_only_as_far_as_it_is_read() {
    let server = Homeserver::start("hs.example").await;
    server.fault(USERINFO, Fault::stream(r#"{"sub":""#, b'a', 1 << 30));
    let url = format!("https://hs.example:{}{USERINFO}", server.address().port());
    let mut response = client(&server).get(url).send().await.unwrap();
    assert!(response.chunk().await.unwrap().unwrap().starts_with(br#"{"sub":""#));
    drop(response);
    let mut before = u64::MAX;
    wait_until("the sending to stop", Duration::from_secs(10), || {
        std::mem::replace(&mut before, server.bytes_sent()) == server.bytes_sent()
    })
    .await;
    assert!(server.bytes_sent() < 1 << 26, "{}", server.bytes_sent());

    server.fault(USERINFO, Fault::stream("", b'a', 100_000));
    assert_eq!(get(&server, USERINFO).await.unwrap(), (200, "a".repeat(100_000)));
}

#[tokio::test]
async fn a_wrong_certificate_ends_in_the_handshake() {
    let authority = Authority::new("the tests");
    let server = Homeserver::start_with("hs.example", &authority, "127.0.0.1:0").await;
    assert_eq!(get(&server, "/").await.unwrap().0, 404);
    for certificate in [
        authority.issue(&["other.example"]),
        authority.issue_expired(&["hs.example"]),
        Certificate::self_signed(&["hs.example"]),
    ] {
        server.set_certificate(&certificate);
        assert!(get(&server, "/").await.unwrap_err().is_connect());
    }
    assert_eq!(server.requests().len(), 1);
    assert_eq!(server.connections(), 4);
}

#[tokio::test]
async fn a_dropped_homeserver_is_gone() {
    let server = Homeserver::start("hs.example").await;
    let address = server.address();
    drop(server);
    wait_until("a refused connection", Duration::from_secs(10), || std::net::TcpStream::connect(address).is_err())
        .await;
}

/// What an identity server says of a key: which it is, and whether it is valid. Gives the server's name.
async fn identity_server(public_key: String, is_valid: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let is_validity = head.starts_with(b"GET /_matrix/identity/v2/pubkey/isvalid?public_key=");
            let body = if is_validity { json!({ "valid": is_valid }) } else { json!({ "public_key": public_key }) };
            let body = body.to_string();
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    name
}

/// The onbind notification for an address of @bob with one invitation, signed by `key` of the server `name`.
fn onbind(key: &Key, name: &str, change: impl Fn(&mut Value), change_signed: impl Fn(&mut Value)) -> Value {
    let mut signed = json!({ "mxid": "@bob:127.0.0.1", "token": "t" });
    key.sign(name, &mut signed);
    let mut onbind = json!({
        "medium": "email", "address": "bob@x", "mxid": "@bob:127.0.0.1", "ts": 1, "not_before": 1, "not_after": 2,
        "invites": [{
            "medium": "email", "address": "bob@x", "mxid": "@bob:127.0.0.1", "room_id": "!r:127.0.0.1",
            "sender": "@alice:127.0.0.1", "token": "t", "signed": signed,
        }],
    });
    change(&mut onbind);
    key.sign(name, &mut onbind);
    change_signed(&mut onbind);
    onbind
}

#[tokio::test]
async fn a_user_joins_by_an_invitation_only_if_every_signature_and_key_is_valid() {
    let (key, other) = (Key::new("ed25519:0"), Key::new("ed25519:0"));
    let good = identity_server(key.public(), true).await;
    let server = Homeserver::start("127.0.0.1").await;
    let api = Api::trusting(&format!("https://{}", server.address()), &server.authority().pem());
    let invite = |public_key: &str, identity_server: &str| {
        let url = format!("http://{identity_server}/_matrix/identity/v2/pubkey/isvalid");
        let keys = json!([{ "public_key": public_key, "key_validity_url": url }]);
        let stored = json!({ "token": "t", "public_keys": keys, "display_name": "b...@x" });
        server.invite_by_address("!r:127.0.0.1", "@alice:127.0.0.1", &stored);
    };
    let notify = async |method: Method, onbind: Value| api.request(method, ONBIND).json(&onbind).send().await;
    let same = |_: &mut Value| {};

    invite(&key.public(), &good);
    for (status, change) in [
        (403, Box::new(|onbind: &mut Value| onbind["mxid"] = json!("@bob:elsewhere")) as Box<dyn Fn(&mut Value)>),
        (403, Box::new(|onbind| onbind["mxid"] = json!("@carol:127.0.0.1"))),
        (403, Box::new(|onbind| onbind["invites"][0]["address"] = json!("carol@x"))),
        (403, Box::new(|onbind| onbind["invites"][0]["token"] = json!("u"))),
        (403, Box::new(|onbind| onbind["invites"][0]["room_id"] = json!("!other:127.0.0.1"))),
        (403, Box::new(|onbind| onbind["invites"][0]["sender"] = json!("@mallory:127.0.0.1"))),
        (403, Box::new(|onbind| onbind["invites"][0]["signed"]["room_id"] = json!("!r:127.0.0.1"))),
        (400, Box::new(|onbind| onbind["ts"] = json!("1"))),
        (400, Box::new(|onbind| drop(onbind["invites"].take()))),
    ] {
        assert_eq!(notify(Method::POST, onbind(&key, &good, change, same)).await.code(), status);
    }
    let changed = |onbind: &mut Value| onbind["not_after"] = json!(3);
    assert_eq!(notify(Method::POST, onbind(&key, &good, same, changed)).await.code(), 403);
    assert_eq!(notify(Method::POST, onbind(&other, &good, same, same)).await.code(), 403);
    invite(&other.public(), &good);
    assert_eq!(notify(Method::POST, onbind(&key, &good, same, same)).await.code(), 403);
    invite(&key.public(), &identity_server(key.public(), false).await);
    assert_eq!(notify(Method::POST, onbind(&key, &good, same, same)).await.code(), 403);
    invite(&key.public(), "127.0.0.1:1");
    assert_eq!(notify(Method::POST, onbind(&key, &good, same, same)).await.code(), 502);
    assert_eq!(server.joins(), []);

    invite(&key.public(), &good);
    notify(Method::PUT, onbind(&key, &good, same, same)).await.refused(404, "M_UNRECOGNIZED");
    notify(Method::POST, onbind(&key, &good, same, same)).await.expect(200);
    let of = |text: &str| text.to_owned();
    let join = Join {
        room_id: of("!r:127.0.0.1"),
        mxid: of("@bob:127.0.0.1"),
        sender: of("@alice:127.0.0.1"),
        token: of("t"),
    };
    assert_eq!(server.joins(), [join]);
    server.refuse_invitation("t", 400, "M_BAD_JSON");
    notify(Method::POST, onbind(&key, &good, same, same)).await.refused(400, "M_BAD_JSON");
    server.refuse_nothing();
    server.take_onbind_by_put();
    notify(Method::POST, onbind(&key, &good, same, same)).await.refused(404, "M_UNRECOGNIZED");
    notify(Method::PUT, onbind(&key, &good, same, same)).await.expect(200);
    assert_eq!(server.joins().len(), 2);
}
