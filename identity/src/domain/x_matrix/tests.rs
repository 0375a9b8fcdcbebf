//! Tests of the header's grammar and of the signed object, with known vectors.
//!
//! Invariant: no input panics.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::prop_compose;
use serde_json::{Value, json};

use super::{Destinations, Malformed, SignedRequest, XMatrix};
use crate::signing::{PublicKey, SigningKey};

const UNBIND: &str = "/_matrix/identity/v2/3pid/unbind";
const RIGHT: &str = r#"origin="hs.example",key="ed25519:a_1",sig="c2ln",destination="id.example.org""#;

fn parsed(text: &str) -> XMatrix {
    XMatrix::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn ours(names: &[&str], path: &str) -> Destinations {
    Destinations::new(names.iter().map(|&name| name.to_owned()), path)
}

#[test]
fn every_spelling_of_a_header_parses_alike() {
    for text in [
        RIGHT,
        r#"  origin="hs.example" , key="ed25519:a_1"  ,sig="c2ln",   destination="id.example.org"  "#,
        "\torigin=\"hs.example\"\t,\tkey=\"ed25519:a_1\",sig=\"c2ln\",destination=\"id.example.org\"",
        r#"ORIGIN="hs.example",Key="ed25519:a_1",sIG="c2ln",DESTination="id.example.org""#,
        r#"destination="id.example.org",sig="c2ln",key="ed25519:a_1",origin="hs.example""#,
        "origin=hs.example,key=ed25519:a_1,sig=c2ln,destination=id.example.org",
        "origin = hs.example, key\t=\ted25519:a_1, sig = \"c2ln\", destination=id.example.org",
        r#"origin="\h\s.example",key="\ed25519\:a_1",sig="\c2ln",destination="id\.example.org""#,
        r#",, ,origin="hs.example",,key="ed25519:a_1",sig="c2ln",destination="id.example.org",,"#,
        r#"v=2,origin="hs.example",x="a, b=\"c\" é",key=ed25519:a_1,x="",x=*,sig=c2ln,destination=id.example.org"#,
    ] {
        assert_eq!(parsed(text), parsed(RIGHT), "{text}");
    }
    assert_eq!(parsed("origin=hs:8448,key=k,sig=a/b+c==").sig, "a/b+c==");
    assert_eq!(parsed(r#"origin="[::1]:8448",key=k,sig="a\"\\\b""#).sig, "a\"\\b");
}

#[test]
fn a_text_outside_the_grammar_is_malformed() {
    for text in [
        "",
        ",,,",
        "origin",
        "=",
        "=x",
        "token68==",
        "origin=hs.example",
        "origin=hs.example,key=k",
        "key=k,sig=s",
        "origin=hs.example,sig=s,destination=id.example.org",
        "origin=,key=k,sig=s",
        "origin=hs.example,key=k,sig=s,x=",
        r#"origin="",key=k,sig=s"#,
        "origin=hs.example key=k,sig=s",
        "origin=hs.example;key=k;sig=s",
        r#"origin="hs.example"key=k,sig=s"#,
        r#"origin="hs.example,key=k,sig=s"#,
        r#"origin=hs.example,key=k,sig="s"#,
        r#"origin=hs.example,key=k,sig="s\"#,
        r#"origin=hs.example,key=k,sig="s\""#,
        r#"origin=hs"example,key=k,sig=s"#,
        r"origin=hs\.example,key=k,sig=s",
        "origin=hs.example,origin=hs.example,key=k,sig=s",
        "origin=hs.example,key=k,KEY=k,sig=s",
        "origin=hs.example,key=k,sig=s,destination=a,destination=a",
        "origin=hs.example,key=k,sig=s,x",
        "origin=hs.example,key=k,sig=s,x y=1",
        "origin=hs.example,key=k,sig=s,(=1",
        "origin=hs.example,key=k,sig=s,x=\"\0\"",
        "origin=hs.example,key=k,sig=s,x=\"\n\"",
        "origin=hs.example,key=k,sig=s,x=é",
        "origin=hs.example/,key=k,sig=s",
        "origin=\"hs example\",key=k,sig=s",
        "origin=\"https://hs.example\",key=k,sig=s",
        "origin=u@hs.example,key=k,sig=s",
    ] {
        assert_eq!(XMatrix::parse(text.as_bytes()), Err(Malformed), "{text}");
    }
    assert_eq!(XMatrix::parse(b"origin=hs.example,key=k,sig=\"\xff\""), Err(Malformed));
    assert!(XMatrix::parse(b"origin=hs.example,key=k,sig=s,x=\"\xff\"").is_ok(), "unknown parameters are skipped");
}

#[test]
fn the_cost_of_a_header_is_linear_in_its_length() {
    // A quadratic parser would take hours here.
    for part in [",x=1", ",x=\"\\a\"", ", ", "\t,", ",x = \"\""] {
        assert_eq!(parsed(&format!("{RIGHT}{}", part.repeat(1 << 20))), parsed(RIGHT), "{part}");
    }
    for (start, part, end) in [(",x=\"", "\\a", "\""), (",x=\"", "a", "\""), (",x=", "a", ""), (",", "x", "=1")] {
        assert_eq!(parsed(&format!("{RIGHT}{start}{}{end}", part.repeat(1 << 22))), parsed(RIGHT), "{part}");
        let unfinished = format!("{RIGHT}{start}{}\"", part.repeat(1 << 22));
        let is_whole = XMatrix::parse(unfinished.as_bytes()).is_ok();
        assert_eq!(is_whole, end == "\"", "{part}");
    }
}

#[test]
fn a_homeserver_signs_for_its_own_users_alone() {
    let header = |origin: &str| parsed(&format!("origin=\"{origin}\",key=k,sig=s"));
    for (origin, mxid) in [
        ("hs.example", "@bob:hs.example"),
        ("hs.example:8448", "@bob:hs.example:8448"),
        ("[::1]:8448", "@b:[::1]:8448"),
        ("HS.example", "@bob:HS.example"),
    ] {
        assert!(header(origin).speaks_for(mxid), "{origin} {mxid}");
    }
    for (origin, mxid) in [
        ("hs", "@x:y:hs"),
        ("8448", "@bob:hs.example:8448"),
        ("hs.example", "@bob:hs.example:8448"),
        ("hs.example:8448", "@bob:hs.example"),
        ("hs.example", "@bob:HS.example"),
        ("hs.example", "@bob:evil.hs.example"),
        ("hs.example", "@bob:hs.example.evil"),
        ("hs.example", "@bob:hs.example "),
        ("hs.example", "bob:hs.example"),
        ("hs.example", "@:hs.example"),
        ("hs.example", "@bobhs.example"),
        ("hs.example", ""),
    ] {
        assert!(!header(origin).speaks_for(mxid), "{origin} {mxid}");
    }
}

#[test]
fn a_destination_is_a_name_of_this_server_in_any_case_of_the_host() {
    let ours = ours(&["id.example.org", "example.org:8090", "example.org/Identity"], "/Identity");
    assert_eq!(ours.foremost(), "id.example.org");
    let header = |destination: &str| parsed(&format!("origin=hs,key=k,sig=s,destination=\"{destination}\""));
    for right in
        ["id.example.org", "ID.Example.ORG", "example.org:8090", "example.org/Identity", "EXAMPLE.org/Identity"]
    {
        assert!(header(right).is_for(&ours), "{right}");
    }
    for wrong in [
        "",
        "example.org",
        "id.example.org:8090",
        "example.org/identity",
        "example.org/Identity/",
        "id.example.org/",
        "evil.id.example.org",
        "https://id.example.org",
        " id.example.org",
    ] {
        assert!(!header(wrong).is_for(&ours), "{wrong}");
    }
    assert!(parsed("origin=hs,key=k,sig=s").is_for(&ours), "without a destination");
}

fn content() -> Value {
    json!({"mxid": "@bob:hs.example", "threepid": {"medium": "email", "address": "bob@example.com"}})
}

#[test]
fn only_the_vectors_verify() {
    let key = PublicKey::decode("+AjDdNaJ5z5WHy6a7BjN9mt2euRKahFXcM+bc6/ZOqs").unwrap();
    let ours = ours(&["id.example.org"], "");
    let is_signed = |header: &str, target: &str, content: &Value| {
        parsed(header).is_signed(&SignedRequest::post(target, content).unwrap(), &ours, &key)
    };
    for signature in [
        "Escq44X7SiFGAv7LlxNAKyQD/bCRsDUtTZNbpyh2xWu/5TXxSBeDbg06CeZUiS/VBfMe7EWvbmciWLb5RJ38Cg",
        "lSUnZ8tt+v/Po2Wzkr0k9Wu1twm2w7slzRjqDYHy1bpwh5O2B3GJsbRoosu+xQNbNwmWr5rIr+IKAFhT6nu7Bg",
    ] {
        let header = |more: &str| format!("origin=hs.example,key=\"ed25519:a_1\",sig=\"{signature}\"{more}");
        for more in ["", ",destination=id.example.org"] {
            assert!(is_signed(&header(more), UNBIND, &content()), "{more}");
        }
        // The signature must cover the name as the header spells it.
        assert!(!is_signed(&header(",destination=ID.example.org"), UNBIND, &content()));
        assert!(!is_signed(&header(",destination=other.example"), UNBIND, &content()));
        assert!(!is_signed(&header(""), &format!("{UNBIND}?a=b"), &content()));
        let mut other = content();
        other["threepid"]["address"] = json!("alice@example.com");
        assert!(!is_signed(&header(""), UNBIND, &other));
        let other = header("").replace("hs.example", "other.example");
        assert!(!is_signed(&other, UNBIND, &content()));
        assert!(!is_signed(&header("").replace(signature, "AAAA"), UNBIND, &content()));
    }
}

/// The header of a request signed for `uri`.
fn signed(key: &SigningKey, member: Option<(&str, &str)>, uri: &str, destination: Option<&str>) -> XMatrix {
    let mut object = json!({"method": "POST", "uri": uri, "origin": "hs.example", "content": content()});
    if let Some((member, name)) = member {
        object[member] = name.into();
    }
    let Value::Object(mut object) = object else { unreachable!() };
    key.sign("hs.example", &mut object).unwrap();
    let sig = &object["signatures"]["hs.example"][key.id()];
    let destination = destination.map(|name| format!(",destination=\"{name}\"")).unwrap_or_default();
    parsed(&format!("origin=hs.example,key=\"{}\",sig={sig}{destination}", key.id()))
}

#[test]
fn the_signature_covers_a_name_of_this_server_and_the_path_prefix_is_optional() {
    let key = SigningKey::from_seed("a_1", &[7; 32]).unwrap();
    let ours = ours(&["id.example.org", "example.org", "example.org/identity"], "/identity");
    let inside = format!("{UNBIND}?access_token=x");
    let outside = format!("/identity{inside}");
    let is_signed = |header: XMatrix, target: &str| {
        header.is_signed(&SignedRequest::post(target, &content()).unwrap(), &ours, &key.public())
    };
    for (uri, target) in [(&inside, &inside), (&outside, &outside), (&inside, &outside), (&outside, &inside)] {
        for member in ["destination_is", "destination"] {
            for name in ["id.example.org", "example.org", "example.org/identity"] {
                let member = Some((member, name));
                assert!(is_signed(signed(&key, member, uri, Some(name)), target), "{member:?} {uri} {target}");
                assert!(is_signed(signed(&key, member, uri, None), target), "{member:?} {uri} {target}");
            }
        }
        assert!(!is_signed(signed(&key, None, uri, Some("id.example.org")), target));
        assert!(!is_signed(signed(&key, None, uri, None), target));
        for (name, destination) in [
            ("other.example", None),
            ("other.example", Some("id.example.org")),
            ("other.example", Some("other.example")),
            ("example.org", Some("id.example.org")),
        ] {
            let header = signed(&key, Some(("destination_is", name)), uri, destination);
            assert!(!is_signed(header, target), "{name} {destination:?}");
        }
    }
    for other in ["/other/_matrix/identity/v2/3pid/unbind?access_token=x", "/identity", "/"] {
        assert!(!is_signed(signed(&key, Some(("destination_is", "example.org")), other, None), &inside), "{other}");
    }
    let named = Some(("destination_is", "ID.Example.Org"));
    assert!(is_signed(signed(&key, named, &inside, Some("ID.Example.Org")), &inside), "as the header spells the name");
    assert!(!is_signed(signed(&key, named, &inside, None), &inside));
}

#[test]
fn a_float_has_no_signature() {
    for text in ["1.5", "1.0", "1e3", "-0", "9007199254740992", "-9007199254740992"] {
        let content = serde_json::from_str(&format!("{{\"a\":[{{\"b\":{text}}}]}}")).unwrap();
        assert!(SignedRequest::post(UNBIND, &content).is_err(), "{text}");
    }
    assert!(SignedRequest::post(UNBIND, &json!({"a": -9_007_199_254_740_991_i64})).is_ok());
}

prop_compose! {
    /// A valid header with some bytes replaced, removed or duplicated.
    fn mutated()(edits in proptest::collection::vec((0..200_usize, any::<u8>(), 0..3_u8), 0..6)) -> Vec<u8> {
        let mut bytes = RIGHT.as_bytes().to_vec();
        for (at, byte, edit) in edits {
            let at = at % bytes.len();
            match edit {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics_and_a_parsed_header_can_be_written_again(
        bytes in prop_oneof![mutated(), proptest::collection::vec(any::<u8>(), 0..200)],
    ) {
        if let Ok(header) = XMatrix::parse(&bytes) {
            let escaped = |text: &str| {
                text.chars().flat_map(|c| ['\\', c].into_iter().skip(usize::from(!c.is_ascii()))).collect::<String>()
            };
            let destination = header.destination.as_deref().map(escaped);
            let written = format!(
                "origin=\"{}\",key=\"{}\",sig=\"{}\"{}",
                escaped(&header.origin),
                escaped(&header.key),
                escaped(&header.sig),
                destination.map(|text| format!(",destination=\"{text}\"")).unwrap_or_default(),
            );
            prop_assert_eq!(XMatrix::parse(written.as_bytes()), Ok(header.clone()), "{}", written);
            let key = SigningKey::from_seed("a", &[1; 32]).unwrap().public();
            let request = SignedRequest::post("/", &json!({})).unwrap();
            prop_assert!(!header.is_signed(&request, &ours(&["id.example.org"], ""), &key));
        }
    }
}
