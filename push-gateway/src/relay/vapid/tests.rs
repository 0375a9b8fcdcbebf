//! VAPID tokens: the forms of the field, keys, claims and signatures.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use shared::clock::Timestamp;

use super::{Credentials, Refusal, origin, parse_key};

/// RFC 8292, section 2.4.
const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1\
                     YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0.i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNj\
                     jvW2L9OkSSHzvoD1oA";
const KEY: &str = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs";
const NOW: i64 = 1_453_500_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn verify_at(value: &str, seconds: i64) -> Result<Timestamp, Refusal> {
    let own = [origin("https://push.example.net").unwrap(), origin("https://other.example.net:8443").unwrap()];
    Credentials::parse(value).unwrap().verify(&own, Some("here.example.net"), at(seconds))
}

/// Signs tokens.
struct Server {
    pair: EcdsaKeyPair,
}

impl Server {
    fn new() -> Self {
        Self { pair: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap() }
    }

    fn key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key())
    }

    fn token(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn verify(&self, claims: &str) -> Result<Timestamp, Refusal> {
        self.verify_with(r#"{"alg":"ES256"}"#, claims)
    }

    fn verify_with(&self, header: &str, claims: &str) -> Result<Timestamp, Refusal> {
        verify_at(&format!("vapid t={}, k={}", self.token(header, claims), self.key()), NOW)
    }
}

#[test]
fn the_example_of_the_rfc_is_valid_until_it_expires() {
    let value = format!("vapid t={TOKEN},k={KEY}");
    let exp = 1_453_523_768;
    assert_eq!(verify_at(&value, NOW), Ok(at(exp)));
    assert_eq!(verify_at(&value, exp + 59), Ok(at(exp)));
    assert_eq!(verify_at(&value, exp + 61), Err(Refusal::Invalid));
    assert_eq!(verify_at(&value, exp - 86_459), Ok(at(exp)));
    assert_eq!(verify_at(&value, exp - 86_461), Err(Refusal::Invalid));
}

#[test]
fn the_header_field_is_read_in_each_form_of_known_senders() {
    let expected = Credentials { token: TOKEN, key: parse_key(KEY).unwrap() };
    for value in [
        format!("vapid t={TOKEN}, k={KEY}"),
        format!("vapid t={TOKEN},k={KEY}"),
        format!("VAPID k={KEY} ,\tt={TOKEN}"),
        format!("Vapid t=\"{TOKEN}\", k=\"{KEY}\""),
        format!("vapid x=1,t={TOKEN},k={KEY}="),
        format!("vapid t={TOKEN},, k={KEY},"),
        format!("vapid x=\"a,b\", t={TOKEN}, k={KEY}"),
        format!(r#"vapid t={TOKEN}, x="a\"b,t=c\\", k={KEY}"#),
        format!("vapid t = {TOKEN}, k =\"{KEY}\""),
    ] {
        assert_eq!(Credentials::parse(&value), Some(expected.clone()), "{value}");
    }
    for value in [
        "".to_owned(),
        "vapid".to_owned(),
        "vapid t=".to_owned(),
        format!("vapid t={TOKEN}"),
        format!("vapid k={KEY}"),
        format!("Bearer t={TOKEN},k={KEY}"),
        format!("WebPush t={TOKEN},k={KEY}"),
        format!("vapid t={TOKEN},t={TOKEN},k={KEY}"),
        format!("vapid t={TOKEN},k={KEY},k={KEY}"),
        format!("vapid t={TOKEN},k={KEY},x={}", "x".repeat(2048)),
        format!("vapid x=\"a, t={TOKEN}, k={KEY}"),
        format!("vapid t=\"{TOKEN}, k={KEY}"),
    ] {
        assert_eq!(Credentials::parse(&value), None, "{value}");
    }
}

#[test]
fn a_key_is_an_uncompressed_point_on_the_curve() {
    let key = parse_key(KEY).unwrap();
    assert_eq!(parse_key(&STANDARD.encode(key)), Some(key));
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let compressed = [&[2], &key[1..33]].concat();
    let mut off_the_curve = key;
    off_the_curve[64] ^= 1;
    for wrong in [
        encode(&compressed),
        encode(&key[..64]),
        encode(&off_the_curve),
        encode(&[0]),
        encode(&[4; 65]),
        "?".to_owned(),
    ] {
        assert_eq!(parse_key(&wrong), None, "{wrong}");
    }
}

#[test]
fn a_token_is_valid_only_in_form_signature_time_and_audience() {
    let server = Server::new();
    let claims = |aud: serde_json::Value| json!({ "aud": aud, "exp": NOW + 3600 }).to_string();
    for aud in [
        json!("https://push.example.net"),
        json!("https://push.example.net/"),
        json!("https://PUSH.example.net:443"),
        json!("https://other.example.net:8443"),
        json!(["https://x.example", "https://push.example.net"]),
    ] {
        assert_eq!(server.verify(&claims(aud.clone())), Ok(at(NOW + 3600)), "{aud}");
    }
    for aud in [
        json!("https://fcm.googleapis.com"),
        json!("https://push.example.net/wp"),
        json!("https://push.example.net?x"),
        json!("http://push.example.net"),
        json!("https://push.example.net:8443"),
        json!("https://user@push.example.net"),
        json!("push.example.net"),
        json!([]),
        json!([5]),
        json!(null),
    ] {
        assert_eq!(server.verify(&claims(aud.clone())), Err(Refusal::Invalid), "{aud}");
    }
    assert_eq!(server.verify(&claims(json!("https://here.example.net"))), Err(Refusal::WrongPublicUrl));
    let with = |exp: &str| server.verify(&format!(r#"{{"aud":"https://push.example.net","exp":{exp}}}"#));
    assert_eq!(with("1453500100.5"), Ok(Timestamp::from_millis(1_453_500_100_500)));
    for exp in ["1453590060", "1453413600", "\"1453500100\"", "1e400", "-1", "null", "1e300"] {
        assert_eq!(with(exp), Err(Refusal::Invalid), "{exp}");
    }
    let good = claims(json!("https://push.example.net"));
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256"}"#,
        r#"{"alg":"ES384"}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
        "{}",
        "[]",
        "ES256",
    ] {
        assert_eq!(server.verify_with(header, &good), Err(Refusal::Invalid), "{header}");
    }
    assert_eq!(
        server.verify_with(r#"{"alg":"ES256","kid":"x","jwk":{},"x5u":"https://x"}"#, &good),
        Ok(at(NOW + 3600))
    );
    for claims in [
        r#"{"exp":1453500100}"#,
        r#"{"aud":"https://push.example.net"}"#,
        r#"{"aud":"https://push.example.net","exp":1453500100,"exp":1453500100}"#,
        r#"{"aud":"https://push.example.net","exp":1453500100,"sub":5}"#,
    ] {
        assert_eq!(server.verify(claims), Err(Refusal::Invalid), "{claims}");
    }
}

#[test]
fn another_signature_is_refused() {
    let server = Server::new();
    let token =
        server.token(r#"{"alg":"ES256"}"#, &json!({ "aud": "https://push.example.net", "exp": NOW + 60 }).to_string());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let verify = |key: &str, signature: &[u8]| {
        let signature = URL_SAFE_NO_PAD.encode(signature);
        verify_at(&format!("vapid t={signed}.{signature}, k={key}"), NOW)
    };
    assert_eq!(verify(&server.key(), &bytes), Ok(at(NOW + 60)));
    assert_eq!(verify(&Server::new().key(), &bytes), Err(Refusal::Invalid));
    let zero_r = [&[0; 32], &bytes[32..]].concat();
    for signature in [&bytes[..63], &zero_r, &[&bytes[..], &[0]].concat(), &[]] {
        assert_eq!(verify(&server.key(), signature), Err(Refusal::Invalid));
    }
}
