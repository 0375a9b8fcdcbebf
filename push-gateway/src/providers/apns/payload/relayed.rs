//! The payload of a relayed message: the encrypted body for the app's notification service extension.
//!
//! Invariant: the body is whole or missing. The operator's payload never overrides a member that the extension reads.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::json::{Node, Object};
use super::{Composed, LIMIT};
use crate::notification::relayed::{CODING, Carried, Layout, Relayed};
use crate::providers::outcome::Reason;

/// The digits of z85 (ZeroMQ RFC 32).
const Z85: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The payload over `base`, the operator's. `may_fit` is false after APNs has refused the body.
///
/// # Errors
/// The reason why nothing is sent.
pub(super) fn compose(relayed: &Relayed, base: &Object, may_fit: bool) -> Result<Composed, Reason> {
    let compose = |carried| {
        let bytes = object(relayed, base, carried).to_compact_bytes();
        (bytes.len() <= LIMIT).then_some(bytes)
    };
    let (bytes, carried) = relayed.fit(may_fit, compose)?;
    Ok(Composed { bytes, is_truncated: carried == Carried::Length, is_background: relayed.is_background })
}

fn object(relayed: &Relayed, base: &Object, carried: Carried) -> Object {
    let mut object = Object::default();
    object.set("aps", aps(relayed, base));
    let (body, chid) = match relayed.layout {
        Layout::Autopush => ("body", "chid"),
        Layout::Toot => ("p", "x"),
    };
    for member in base.members() {
        if !["aps", "con", "oversize", body, chid].contains(&&*member.key) {
            object.set(member.key.clone(), member.value.clone());
        }
    }
    let has_body = !relayed.body.is_empty();
    if has_body && carried == Carried::Body {
        object.set(
            body,
            match relayed.layout {
                Layout::Autopush => URL_SAFE_NO_PAD.encode(&relayed.body),
                Layout::Toot => z85(&relayed.body),
            },
        );
    }
    if !relayed.chid.is_empty() {
        object.set(chid, relayed.chid.as_str());
    }
    match carried {
        Carried::Body if has_body && relayed.layout == Layout::Autopush => object.set("con", CODING),
        Carried::Length if has_body => object.set("oversize", relayed.body.len().to_string()),
        Carried::Body | Carried::Length => {}
    }
    object
}

fn aps(relayed: &Relayed, base: &Object) -> Object {
    let mut aps = Object::default();
    let given = match base.node("aps") {
        Some(Node::Object(given)) => Cow::Borrowed(given),
        Some(Node::Value(_)) | None => Cow::Owned(Object::default()),
    };
    if relayed.is_background {
        aps.set("content-available", 1_u32);
        // APNs accepts nothing that shows in a background push.
        copy(&given, &mut aps, &["content-available", "mutable-content", "alert", "badge", "sound"]);
        return aps;
    }
    match given.node("alert") {
        Some(alert) => aps.set("alert", alert.clone()),
        None => {
            let alert = aps.object_mut("alert");
            alert.set("loc-key", "Notification");
            alert.set("loc-args", Value::Array(Vec::new()));
        }
    }
    aps.set("mutable-content", 1_u32);
    copy(&given, &mut aps, &["mutable-content", "alert"]);
    aps
}

/// Copies the members of `from` except these.
fn copy(from: &Object, to: &mut Object, except: &[&str]) {
    for member in from.members().iter().filter(|member| !except.contains(&&*member.key)) {
        to.set(member.key.clone(), member.value.clone());
    }
}

/// The encoding of z85, extended to any length: a rest of `n` bytes becomes `n + 1` digits.
fn z85(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(4) * 5);
    for part in bytes.chunks(4) {
        let mut number = part.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let mut digits = ['0'; 5];
        for digit in digits[..=part.len()].iter_mut().rev() {
            *digit = char::from(Z85[(number % 85) as usize]);
            number /= 85;
        }
        text.extend(&digits[..=part.len()]);
    }
    text
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::super::Composed;
    use super::{Layout, Relayed, z85};
    use crate::notification::relayed::{Oversize, TOO_LARGE};
    use crate::notification::{Device, Notification, Priority};
    use crate::providers::apns::settings::Settings;

    /// RFC 8291, section 5.
    const BODY: &str = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6P\
                        Bru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";

    fn relayed(body: Vec<u8>, chid: &str) -> Relayed {
        Relayed {
            body: Bytes::from(body),
            chid: chid.to_owned(),
            ttl: 60,
            is_background: false,
            collapse_id: None,
            layout: Layout::Autopush,
            oversize: Oversize::Wake,
        }
    }

    fn example() -> Relayed {
        relayed(URL_SAFE_NO_PAD.decode(BODY).unwrap(), "acc1")
    }

    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    fn compose_with(relayed: &Relayed, payload: Value) -> Result<Composed, &'static str> {
        let settings: Settings = serde_json::from_value(json!({ "payload": payload })).unwrap();
        let notification = Notification::of_relayed(relayed.clone(), Priority::High);
        super::super::compose(
            &notification,
            &Device::relayed("a", String::new(), None),
            &settings,
            crate::notification::call::Occasion::Ordinary,
            None,
        )
    }

    fn payload(relayed: &Relayed, payload: Value) -> Value {
        serde_json::from_slice(&compose_with(relayed, payload).unwrap().bytes).unwrap()
    }

    #[test]
    fn the_members_are_in_the_order_of_the_convention() {
        let aps = r#"{"aps":{"alert":{"loc-key":"Notification","loc-args":[]},"mutable-content":1}"#;
        let text = |relayed: &Relayed| String::from_utf8(compose_with(relayed, json!({})).unwrap().bytes).unwrap();
        let found = text(&example());
        assert_eq!(found, format!(r#"{aps},"body":"{BODY}","chid":"acc1","con":"aes128gcm"}}"#));
        assert_eq!(found.len(), 312);
        assert_eq!(text(&relayed(Vec::new(), "")), format!("{aps}}}"));
        assert_eq!(text(&relayed(Vec::new(), "acc1")), format!(r#"{aps},"chid":"acc1"}}"#));
        assert_eq!(text(&relayed(vec![1; 4096], "acc1")), format!(r#"{aps},"chid":"acc1","oversize":"4096"}}"#));
    }

    #[test]
    fn a_body_of_the_largest_size_fits_and_one_more_byte_does_not() {
        for (chid, largest) in [("", 2992), (&*"c".repeat(36), 2958)] {
            let fits = |length| !compose_with(&relayed(vec![1; length], chid), json!({})).unwrap().is_truncated;
            assert!(fits(largest) && !fits(largest + 1), "{chid}");
        }
        let toot = |length| {
            let toot = Relayed { layout: Layout::Toot, ..relayed(vec![1; length], "") };
            compose_with(&toot, json!({})).unwrap().is_truncated
        };
        assert!(!toot(3208) && toot(3209));
        let reject = Relayed { oversize: Oversize::Reject, ..relayed(vec![1; 2993], "") };
        assert_eq!(compose_with(&reject, json!({})), Err(TOO_LARGE));
        assert_eq!(compose_with(&example(), json!({ "x": "y".repeat(4000) })), Err("too_large"));
    }

    #[test]
    fn the_payload_of_the_operator_lies_below() {
        let operators = json!({
            "aps": { "alert": { "title-loc-key": "NEW" }, "sound": "a.caf", "mutable-content": 0, "category": "m" },
            "body": "x", "chid": "x", "con": "x", "oversize": "x", "other": 1,
        });
        assert_eq!(
            payload(&example(), operators.clone()),
            json!({
                "aps": { "alert": { "title-loc-key": "NEW" }, "sound": "a.caf", "mutable-content": 1, "category": "m" },
                "body": BODY, "chid": "acc1", "con": "aes128gcm", "other": 1,
            })
        );
        let wake = payload(&relayed(Vec::new(), ""), operators.clone());
        assert_eq!(wake["other"], 1);
        assert!(["body", "chid", "con", "oversize"].iter().all(|key| wake.get(key).is_none()), "{wake}");
        let background = Relayed { is_background: true, ..example() };
        let expected = json!({ "content-available": 1, "category": "m" });
        assert_eq!(payload(&background, operators)["aps"], expected);
        assert!(compose_with(&background, json!({})).unwrap().is_background);
    }

    #[test]
    fn the_other_layout_has_z85() {
        let toot = Relayed { layout: Layout::Toot, ..example() };
        let p = "3#tZwT.i]P0%{LFmT1x&000Mgk)mfy]S5C^AGJ#6sr)M4rfSCffL#%TgtxvoNO$RBF/>LaDv71Qv7Es4D6?XuLiB#F0532sQkFg7yRa&M(<@\
                 VN?DJsoX]yV$Q]>ca2{mUy]r+[>o5kxhDkTMhUW3>AtpIlev+1N<rZD7IFH>R#]E=AMXngoL";
        let found = payload(&toot, json!({}));
        assert_eq!((&found["p"], &found["x"], found.as_object().unwrap().len()), (&json!(p), &json!("acc1"), 3));
        assert_eq!(z85(&[0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b]), "HelloWorld");
        assert_eq!((z85(&[]), z85(&[0]), z85(&[255])), (String::new(), "00".to_owned(), "30".to_owned()));
        assert_eq!((z85(&[1, 0]).len(), z85(&[1, 0, 0, 0, 1, 0, 0]).len()), (3, 9));
    }
}
