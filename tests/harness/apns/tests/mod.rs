//! The fake APNs accepts valid requests, rejects invalid ones, and misbehaves by the fault that is set.

mod accepted;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use rcgen::{KeyPair, SigningKey as _};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use shared::clock::{Clock, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Apple, Fault};
use crate::wait::wait_until;

const NOW: i64 = 1_750_000_000;
const PATIENCE: Duration = Duration::from_secs(20);

async fn apple() -> (Apple, Clock) {
    let (apple, clock) = (Apple::start().await, Clock::manual(Timestamp::from_millis(NOW * 1000)));
    apple.set_clock(&clock);
    (apple, clock)
}

async fn tls(apple: &Apple) -> TlsStream<TcpStream> {
    let mut tls = (*apple.authority().client_config()).clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(apple.address()).await.unwrap();
    TlsConnector::from(Arc::new(tls)).connect(ServerName::from(apple.address().ip()), tcp).await.unwrap()
}

/// A connection that does nothing by itself.
async fn connect(apple: &Apple) -> SendRequest<Bytes> {
    let (sender, connection) = h2::client::handshake(tls(apple).await).await.unwrap();
    tokio::spawn(async move { drop(connection.await) });
    sender.ready().await.unwrap()
}

/// A token with these parts, signed as it should be unless `der`.
fn jwt(apple: &Apple, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let key = KeyPair::from_pem(&apple.key_pem()).unwrap();
    // ASN.1, as rcgen signs; the fixed form is the two numbers in it.
    let der = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(fixed(&der)))
}

/// The 64 bytes of a signature in DER.
fn fixed(der: &[u8]) -> Vec<u8> {
    let first = 4 + usize::from(der[3]);
    let number = |bytes: &[u8]| {
        let bytes = if bytes.len() > 32 { &bytes[bytes.len() - 32..] } else { bytes };
        [vec![0; 32 - bytes.len()], bytes.to_vec()].concat()
    };
    [number(&der[4..first]), number(&der[first + 2..])].concat()
}

fn good_token(apple: &Apple) -> String {
    jwt(apple, &json!({"alg": "ES256", "kid": apple.key_id()}), &json!({"iss": apple.team_id(), "iat": NOW}))
}

/// A request in order, with `changes` to its header; an empty value takes a field away.
fn request(apple: &Apple, device: &str, changes: &[(&str, &str)]) -> Request<()> {
    let authorization = format!("bearer {}", good_token(apple));
    let mut fields = vec![
        ("authorization", authorization.as_str()),
        ("apns-topic", "org.example.app"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-expiration", "1750086400"),
        ("apns-id", "5a5a5a5a-5a5a-4a5a-9a5a-5a5a5a5a5a5a"),
    ];
    fields.retain(|(name, _)| !changes.iter().any(|(other, _)| other == name));
    fields.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
    let uri = format!("https://{}/3/device/{device}", apple.address());
    let builder = fields.into_iter().fold(Request::post(uri), |builder, (name, value)| builder.header(name, value));
    builder.body(()).unwrap()
}

async fn send(
    sender: &SendRequest<Bytes>,
    request: Request<()>,
    body: impl Into<Bytes>,
) -> Result<(u16, Value), h2::Error> {
    let mut sender = sender.clone().ready().await?;
    let (response, mut stream) = sender.send_request(request, false)?;
    stream.send_data(body.into(), true)?;
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(part) = body.data().await {
        bytes.extend_from_slice(&part?);
    }
    Ok((status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)["reason"].clone()))
}

const BODY: &str = r#"{"aps":{"badge":1}}"#;

fn device() -> String {
    "ab".repeat(32)
}

#[tokio::test]
async fn each_rule_of_a_request_is_checked() {
    let (apple, _) = apple().await;
    apple.set_topics(&["org.example.app"]);
    let sender = connect(&apple).await;
    let (hex, ok) = (device(), json!(null));
    for (changes, device, body, expected) in [
        (&[][..], hex.as_str(), BODY, (200, ok.clone())),
        (&[("apns-id", "")], &hex, BODY, (200, ok.clone())),
        (&[("apns-push-type", "voip"), ("apns-topic", "org.example.app.voip")], &hex, BODY, (200, ok.clone())),
        (&[("apns-push-type", "background"), ("apns-priority", "5")], &hex, BODY, (200, ok)),
        (&[], "", BODY, (400, json!("MissingDeviceToken"))),
        (&[], "abc", BODY, (400, json!("BadDeviceToken"))),
        (&[], &hex.to_uppercase(), BODY, (400, json!("BadDeviceToken"))),
        (&[("apns-topic", "")], &hex, BODY, (400, json!("MissingTopic"))),
        (&[("apns-topic", "org.example.other")], &hex, BODY, (400, json!("TopicDisallowed"))),
        (&[("apns-topic", "org.example.app.voip")], &hex, BODY, (400, json!("BadTopic"))),
        (&[("apns-push-type", "voip")], &hex, BODY, (400, json!("BadTopic"))),
        (&[("apns-push-type", "")], &hex, BODY, (400, json!("InvalidPushType"))),
        (&[("apns-push-type", "Alert")], &hex, BODY, (400, json!("InvalidPushType"))),
        (&[("apns-push-type", "background")], &hex, BODY, (400, json!("BadPriority"))),
        (&[("apns-priority", "7")], &hex, BODY, (400, json!("BadPriority"))),
        (&[("apns-expiration", "soon")], &hex, BODY, (400, json!("BadExpirationDate"))),
        (&[("apns-collapse-id", &"x".repeat(65))], &hex, BODY, (400, json!("BadCollapseId"))),
        (&[("apns-id", "5a5a5a5a5a5a4a5a9a5a5a5a5a5a5a5a")], &hex, BODY, (400, json!("BadMessageId"))),
        (&[("apns-topic", "a"), ("apns-topic", "b")], &hex, BODY, (400, json!("DuplicateHeaders"))),
        (&[], &hex, "", (400, json!("PayloadEmpty"))),
        (&[], &hex, "[]", (400, json!("PayloadEmpty"))),
        (&[], &hex, r#"{"aps":"x"}"#, (400, json!("PayloadEmpty"))),
        (&[], &hex, &format!("{{\"k\":\"{}\"}}", "x".repeat(4089)), (413, json!("PayloadTooLarge"))),
        (&[], &"c".repeat(64), BODY, (400, json!("BadDeviceToken"))),
    ] {
        apple.forget(&"c".repeat(64));
        let answer = send(&sender, request_with_token(&apple, device, changes), body.to_owned()).await.unwrap();
        assert_eq!(answer, expected, "{changes:?} {device} {body:.20}");
    }
    let exact = format!("{{\"k\":\"{}\"}}", "x".repeat(4088));
    assert_eq!(send(&sender, request_with_token(&apple, &hex, &[]), exact).await.unwrap().0, 200);
    let mut elsewhere = request_with_token(&apple, &hex, &[]);
    *elsewhere.uri_mut() = format!("https://api.push.apple.com/3/device/{hex}").parse().unwrap();
    assert_eq!(send(&sender, elsewhere, BODY).await.unwrap().0, 421);
    for (method, path, expected) in [("GET", "/3/device/", 405), ("POST", "/3/devices/", 404)] {
        let mut wrong = request_with_token(&apple, &hex, &[]);
        *wrong.method_mut() = method.parse().unwrap();
        *wrong.uri_mut() = format!("https://{}{path}{hex}", apple.address()).parse().unwrap();
        assert_eq!(send(&sender, wrong, BODY).await.unwrap().0, expected);
    }
    assert_eq!((apple.connections(), apple.refused_streams()), (1, 0));
    assert_eq!(apple.requests_for(&hex)[0].status, Some(200));
}

/// As [`request`], with the one token of this test, since each signing gives another.
fn request_with_token(apple: &Apple, device: &str, changes: &[(&str, &str)]) -> Request<()> {
    apple.allow_token_updates();
    request(apple, device, changes)
}

#[tokio::test]
async fn streams_beyond_what_is_allowed_are_refused_and_counted() {
    let (apple, _) = apple().await;
    apple.allow_one_stream_at_first();
    let mut stream = tls(&apple).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let mut frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        bytes.extend([0, 0, u8::try_from(payload.len()).unwrap(), kind, flags, 0, 0, 0, stream]);
        bytes.extend(payload);
    };
    frame(4, 0, 0, &[]);
    // POST, https, the path "/" and the authority "a" (RFC 7541, appendix A), on two streams that stay open.
    for stream in [1, 3] {
        frame(1, 4, stream, &[0x83, 0x87, 0x84, 0x01, 1, b'a']);
    }
    stream.write_all(&bytes).await.unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[2]) | usize::from(head[1]) << 8];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 3 {
            assert_eq!((head[8], payload), (3, vec![0, 0, 0, 7]), "RST_STREAM, REFUSED_STREAM");
            break;
        }
    }
    assert_eq!(apple.refused_streams(), 1);
}

#[tokio::test]
async fn a_stream_that_the_client_gives_up_is_free_again() {
    let (apple, _) = apple().await;
    apple.allow_token_updates();
    apple.allow_one_stream_at_first();
    apple.fault_times(&device(), 1, Fault::Silence);
    let sender = connect(&apple).await;
    let abandoned = send(&sender, request(&apple, &device(), &[]), BODY);
    assert!(tokio::time::timeout(Duration::from_millis(100), abandoned).await.is_err());
    assert_eq!(send(&sender, request(&apple, &device(), &[]), BODY).await.unwrap().0, 200);
    assert_eq!(apple.refused_streams(), 0);
}

#[tokio::test]
async fn the_first_success_and_the_test_change_the_number_of_streams() {
    let (apple, _) = apple().await;
    apple.allow_token_updates();
    apple.allow_one_stream_at_first();
    let sender = connect(&apple).await;
    wait_until("the settings", PATIENCE, || sender.current_max_send_streams() == 1).await;
    assert_eq!(send(&sender, request(&apple, &device(), &[]), BODY).await.unwrap().0, 200);
    wait_until("more streams", PATIENCE, || sender.current_max_send_streams() == 1000).await;
    apple.set_max_streams(5);
    wait_until("fewer streams", PATIENCE, || sender.current_max_send_streams() == 5).await;
    assert_eq!(send(&sender, request(&apple, &device(), &[]), BODY).await.unwrap().0, 200);
}

#[tokio::test]
async fn each_fault_is_what_it_says_and_can_be_mended() {
    let (apple, _) = apple().await;
    apple.allow_token_updates();
    let hex = device();
    let sender = connect(&apple).await;
    let push = |sender: SendRequest<Bytes>| {
        let request = request(&apple, &hex, &[]);
        async move { send(&sender, request, BODY).await }
    };
    apple.fault_times("ab", 1, Fault::gone("Unregistered", 7));
    assert_eq!(push(sender.clone()).await.unwrap(), (410, json!("Unregistered")));
    assert_eq!(push(sender.clone()).await.unwrap().0, 200, "the fault was for one request");
    apple.fault("cd", Fault::Reset(2));
    assert_eq!(push(sender.clone()).await.unwrap().0, 200, "the fault was for another device");
    apple.fault("ab", Fault::Reset(11));
    let error = push(sender.clone()).await.unwrap_err();
    assert!(error.is_remote() && error.is_reset() && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM));
    apple.mend();
    apple.fault("ab", Fault::text(503, "half").broken());
    assert!(push(sender.clone()).await.unwrap_err().is_reset());
    apple.mend();
    apple.fault("ab", Fault::Silence);
    assert!(tokio::time::timeout(Duration::from_millis(50), push(sender.clone())).await.is_err());
    apple.mend();
    apple.fault_times("ab", 1, Fault::GoAway { reason: "Shutdown", two_phase: false });
    let error = push(sender.clone()).await.unwrap_err();
    assert!(error.is_go_away() && error.is_remote(), "{error}");
    assert!(error.to_string().contains("Shutdown"), "{error}");
    let second = connect(&apple).await;
    assert_eq!(push(second.clone()).await.unwrap().0, 200);
    apple.fault_times("ab", 1, Fault::GoAway { reason: "Shutdown", two_phase: true });
    assert!(push(second).await.unwrap_err().is_go_away());
    let third = connect(&apple).await;
    apple.fault_times("ab", 1, Fault::Cut);
    let error = push(third).await.unwrap_err();
    assert!(error.is_io() && !error.is_go_away(), "{error}");
    wait_until("no connection", PATIENCE, || apple.open_connections() == 0).await;
}
