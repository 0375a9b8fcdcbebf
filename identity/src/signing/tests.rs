//! Tests signing and verifying against published vectors and another implementation.
//!
//! Invariant: no test checks the verifier with this crate's signer alone.

use std::collections::BTreeMap;

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use ruma_common::CanonicalJsonObject;
use ruma_common::serde::Base64;
use serde_json::{Map, Value, json};

use super::{
    InvalidKey, PublicKey, SigningError, SigningKey, VerifyError, decode_base64, decode_key, encode_seed_url_safe,
};

/// The seed of the specification's vectors.
const SEED: &str = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1";
const PUBLIC: &str = "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI";

fn key(version: &str, seed: &str) -> SigningKey {
    SigningKey::from_seed(version, &decode_key(seed).unwrap()).unwrap()
}

fn object(value: Value) -> Map<String, Value> {
    serde_json::from_value(value).unwrap()
}

fn signature(key: &SigningKey, signer: &str, value: &Value) -> String {
    let mut signed = object(value.clone());
    key.sign(signer, &mut signed).unwrap();
    key.public().verify(signer, key.id(), &signed).unwrap();
    signed["signatures"][signer][key.id()].as_str().unwrap().to_owned()
}

#[test]
fn the_seed_of_the_specification_yields_its_public_key() {
    assert_eq!(key("1", SEED).public().encode(), PUBLIC);
}

#[test]
fn the_vectors_of_the_appendix_match() {
    for (value, expected) in [
        (json!({}), "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            json!({"one": 1, "two": "Two"}),
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ] {
        assert_eq!(signature(&key("1", SEED), "domain", &value), expected);
    }
}

#[test]
fn the_association_vector_matches() {
    let association = json!({"address": "bob@example.com", "medium": "email", "mxid": "@bob:hs.example",
        "not_after": 4_903_600_000_000_i64, "not_before": 1_750_000_000_000_i64, "ts": 1_750_000_000_000_i64});
    assert_eq!(
        signature(&key("0", SEED), "id.example.org", &association),
        "w1XTh/JIjcRc9bwC9G4qwH2H6vPrzftpUxsrBbBw+yWI606NuYO5cKuXOQdrNWxzWMilza5O9SPiJJ9S4n9dAw"
    );
}

#[test]
fn the_inner_and_outer_onbind_vectors_match() {
    let mut signed = object(json!({"mxid": "@bob:hs.example", "token": "abc123"}));
    key("0", SEED).sign("id.example.org", &mut signed).unwrap();
    assert_eq!(
        signed["signatures"]["id.example.org"]["ed25519:0"],
        "yqLO5cq5r8wB9clcAVr0sDbr4z/KeibCk76W0dDb82LEX32duWeR/GKO/4N/73wmb6FA8RlXeOf3/aSUdfHWDg"
    );
    let body = json!({"medium": "email", "address": "bob@example.com", "mxid": "@bob:hs.example",
        "ts": 1_750_000_000_000_i64, "not_before": 1_750_000_000_000_i64, "not_after": 4_903_600_000_000_i64,
        "invites": [{"medium": "email", "address": "bob@example.com", "room_id": "!r:hs.example",
            "sender": "@alice:hs.example", "token": "abc123", "mxid": "@bob:hs.example", "signed": signed}]});
    assert_eq!(
        signature(&key("0", SEED), "id.example.org", &body),
        "EAfV/HdLGwqMD2qXl/h5USSsDlI3bU3TtVyWqqVI0RkDBrLUtyF6clZAmIPbmEPMrQmAQgZDcT7RdQ1IqVgFDA"
    );
}

#[test]
fn the_sign_ed25519_vector_matches() {
    let ephemeral = key("0", "tQOpPxbsuKiwNk/2d/9BtdQVWOmwYlqiFLiB+h1Er30");
    assert_eq!(ephemeral.public().encode(), "4GWqEa2UxrXOd8CC94DXvdXQm5bAa14eMwxhC+vkrSg");
    assert_eq!(ephemeral.public().encode_url_safe(), "4GWqEa2UxrXOd8CC94DXvdXQm5bAa14eMwxhC-vkrSg");
    assert_eq!(*encode_seed_url_safe(&ephemeral.seed()), "tQOpPxbsuKiwNk_2d_9BtdQVWOmwYlqiFLiB-h1Er30");
    let claim = json!({"mxid": "@bob:hs.example", "sender": "@alice:hs.example", "token": "abc123"});
    assert_eq!(
        signature(&ephemeral, "id.example.org", &claim),
        "RhKBOM8Q16CuXvNtrdTUZAHas3xGH/Ct3x3nDX3y7E86IpnLKjSgMv/fmyivs05D0WfyGj4pvEwlMSoegnEQAA"
    );
}

/// The vectors contain no private key, so the test verifies signatures.
#[test]
fn x_matrix_vectors_verify_for_their_own_destination_only() {
    let homeserver = PublicKey::decode("+AjDdNaJ5z5WHy6a7BjN9mt2euRKahFXcM+bc6/ZOqs").unwrap();
    let request = |destination: &str| {
        object(json!({"method": "POST", "uri": "/_matrix/identity/v2/3pid/unbind", "origin": "hs.example",
            destination: "id.example.org",
            "content": {"mxid": "@bob:hs.example", "threepid": {"medium": "email", "address": "bob@example.com"}}}))
    };
    let destination_is = "Escq44X7SiFGAv7LlxNAKyQD/bCRsDUtTZNbpyh2xWu/5TXxSBeDbg06CeZUiS/VBfMe7EWvbmciWLb5RJ38Cg";
    let destination = "lSUnZ8tt+v/Po2Wzkr0k9Wu1twm2w7slzRjqDYHy1bpwh5O2B3GJsbRoosu+xQNbNwmWr5rIr+IKAFhT6nu7Bg";
    assert_eq!(homeserver.verify_with(destination_is, &request("destination_is")), Ok(()));
    assert_eq!(homeserver.verify_with(destination, &request("destination")), Ok(()));
    assert_eq!(homeserver.verify_with(destination, &request("destination_is")), Err(VerifyError::Wrong));
}

#[test]
fn a_second_signature_is_added_and_unsigned_is_not_covered() {
    let (first, second) = (key("0", SEED), key("b_2", "tQOpPxbsuKiwNk/2d/9BtdQVWOmwYlqiFLiB+h1Er30"));
    let mut signed = object(json!({"a": 1, "unsigned": {"age": 1.5}}));
    first.sign("a.org", &mut signed).unwrap();
    second.sign("a.org", &mut signed).unwrap();
    second.sign("b.org", &mut signed).unwrap();
    signed.insert("unsigned".into(), json!(null));
    for (key, signer) in [(&first, "a.org"), (&second, "a.org"), (&second, "b.org")] {
        key.public().verify(signer, key.id(), &signed).unwrap();
    }
    assert_eq!(first.public().verify("b.org", first.id(), &signed), Err(VerifyError::Missing));
    assert_eq!(first.public().verify("a.org", second.id(), &signed), Err(VerifyError::Wrong));
    signed.insert("a".into(), json!(2));
    assert_eq!(first.public().verify("a.org", first.id(), &signed), Err(VerifyError::Wrong));
}

#[test]
fn an_object_that_cannot_be_signed_stays_unchanged() {
    for (value, error) in [
        (json!({"a": 1, "signatures": []}), SigningError::Signatures),
        (json!({"a": 1, "signatures": {"x.org": "text"}}), SigningError::Signatures),
        (json!({"a": 1, "signatures": null}), SigningError::Signatures),
        (json!({"a": 1.5}), SigningError::NotCanonical(crate::canonical_json::NotCanonical)),
    ] {
        let mut signed = object(value.clone());
        assert_eq!(key("0", SEED).sign("x.org", &mut signed), Err(error));
        assert_eq!(Value::Object(signed), value);
    }
}

#[test]
fn hostile_signatures_are_rejected_without_a_panic() {
    let public = PublicKey::decode(PUBLIC).unwrap();
    for text in ["", "x", "é", "AAAA", &"A".repeat(86), &"A".repeat(88), &"_".repeat(86)] {
        assert!(public.verify_with(text, &object(json!({}))).is_err(), "{text}");
    }
    for signatures in [json!(null), json!([]), json!({"x": []}), json!({"x": {"ed25519:0": 5}}), json!({"x": {}})] {
        let signed = object(json!({"signatures": signatures}));
        assert_eq!(public.verify("x", "ed25519:0", &signed), Err(VerifyError::Missing));
    }
}

#[test]
fn a_key_of_small_order_verifies_nothing() {
    // The identity point: without the strict check it accepts this forged signature over any text.
    let identity = PublicKey::decode("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
    let mut forged = [0_u8; 64];
    forged[0] = 1;
    let forged = base64::Engine::encode(&super::STANDARD_NO_PAD, forged);
    assert_eq!(identity.verify_with(&forged, &object(json!({"any": "thing"}))), Err(VerifyError::Wrong));
}

#[test]
fn base64_decodes_in_either_alphabet_with_or_without_padding() {
    for text in ["+/8", "-_8", "+/8=", "-_8=", "+_8="] {
        assert_eq!(decode_base64(text).unwrap().as_slice(), [0xfb, 0xff], "{text}");
    }
    for text in ["+/8==", "+", "+/ 8", "+/8\n", "%2B", "é"] {
        assert!(decode_base64(text).is_none(), "{text:?}");
    }
    assert_eq!(PublicKey::decode(&format!("{PUBLIC}=")).unwrap().encode(), PUBLIC);
    assert_eq!(PublicKey::decode("AAAA"), Err(InvalidKey::NotThirtyTwoBytes));
    assert!(decode_key(&"A".repeat(44)).is_none(), "33 bytes");
}

#[test]
fn key_ids_are_validated_and_debug_output_hides_seeds() {
    assert_eq!((key("a_1", SEED).id(), key("a_1", SEED).version()), ("ed25519:a_1", "a_1"));
    for version in ["", "a b", "a:1", "ä", "a\n"] {
        assert_eq!(SigningKey::from_seed(version, &[7; 32]).unwrap_err(), InvalidKey::Id, "{version:?}");
    }
    assert_eq!(format!("{:?}", key("0", SEED)), "SigningKey(ed25519:0)");
}

/// Generates JSON that has a canonical form, up to three levels deep.
fn canonical_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-9_007_199_254_740_991_i64..=9_007_199_254_740_991).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(|map| map.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn another_implementation_verifies_every_signature(
        members in proptest::collection::btree_map(any::<String>(), canonical_value(), 0..5),
        seed in any::<[u8; 32]>(),
    ) {
        let mut members = members;
        members.remove("signatures");
        let ours = SigningKey::from_seed("0", &seed).unwrap();
        let mut signed: Map<String, Value> = members.into_iter().collect();
        ours.sign("id.example.org", &mut signed).unwrap();

        let theirs: CanonicalJsonObject = serde_json::from_value(Value::Object(signed)).unwrap();
        let public = Base64::parse(ours.public().encode()).unwrap();
        let keys = BTreeMap::from([("id.example.org".to_owned(), BTreeMap::from([("ed25519:0".to_owned(), public)]))]);
        ruma_signatures::verify_json(&keys, &theirs).unwrap();
    }
}
