//! How the header may be written, and what it costs to read a hostile one.
//!
//! Invariant: every header here carries a signature that fits, so that its form alone decides.

use std::fmt::Write;

use super::{Bound, KEYS};

/// The header with its parameters written by `write`, joined by `separator`.
fn written(bound: &Bound, separator: &str, write: impl Fn(&str, &str) -> String) -> String {
    let parameters = bound.request().parameters();
    let written: Vec<String> = parameters.iter().map(|(name, value)| write(name, value)).collect();
    format!("X-Matrix {}", written.join(separator))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_may_be_written_in_every_way_that_http_allows() {
    let bound = Bound::start().await;
    let quoted = |name: &str, value: &str| format!("{name}=\"{value}\"");
    let escaped = |value: &str| value.chars().fold(String::new(), |text, c| text + "\\" + &c.to_string());
    let usual = bound.request().header();
    let mut reversed = bound.request().parameters();
    reversed.reverse();
    let reversed: Vec<String> = reversed.iter().map(|(name, value)| quoted(name, value)).collect();
    for header in [
        usual.clone(),
        written(&bound, ", ", quoted),
        written(&bound, " ,\t", quoted),
        written(&bound, "\t ,  ", quoted),
        written(&bound, ",,, ,", quoted),
        format!("{},", usual.replacen("X-Matrix ", "X-Matrix ,", 1)),
        format!("X-Matrix {}", reversed.join(",")),
        usual.replacen("X-Matrix", "x-matrix", 1),
        usual.replacen("X-Matrix", "X-MATRIX", 1),
        usual.replacen("X-Matrix ", "X-Matrix    ", 1),
        usual.replacen("X-Matrix ", "X-Matrix\t", 1),
        written(&bound, ",", |name, value| quoted(&name.to_uppercase(), value)),
        written(&bound, ",", |name, value| format!("{name}={value}")),
        written(&bound, ", ", |name, value| format!("{name} = {value}")),
        written(&bound, ",", |name, value| format!("{name}\t=\t\"{value}\"")),
        written(&bound, ",", |name, value| format!("{name}=\"{}\"", escaped(value))),
        usual.replacen("X-Matrix ", "X-Matrix v=\"1.2\",", 1),
        format!("{usual},nonce=\"a, \\\"b\\\" = c; origin=evil.example\",x=*,nonce=1"),
    ] {
        bound.accepts(&header).await;
    }
    let mut with_bytes = usual.into_bytes();
    with_bytes.extend_from_slice(b",x=\"\xff\xe9\"");
    bound.accepts_all(&[&with_bytes]).await;
    assert_eq!(bound.key_requests(), 1, "the keys are remembered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_header_is_forbidden_without_a_request_for_keys() {
    let bound = Bound::start().await;
    let usual = bound.request().header();
    let without = |left_out: &str| {
        let parameters = bound.request().parameters().into_iter().filter(|(name, _)| *name != left_out);
        let written: Vec<String> = parameters.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        format!("X-Matrix {}", written.join(","))
    };
    for header in [
        "X-Matrix".to_owned(),
        "X-Matrix ,".to_owned(),
        "X-Matrix =".to_owned(),
        "X-Matrix c2ln==".to_owned(),
        without("origin"),
        without("key"),
        without("sig"),
        usual.replace(',', " "),
        usual.replace(',', ";"),
        usual.replace("hs.example", ""),
        usual.replace("\"hs.example\"", ""),
        usual.replace("hs.example", "https://hs.example"),
        usual.replace("hs.example", "hs.example/"),
        usual.replace("hs.example", "u@hs.example"),
        usual.replace("hs.example", "hs example"),
        usual.trim_end_matches('"').to_owned(),
        format!("{usual}x"),
        format!("{usual},x"),
        format!("{usual},x=\"\\"),
        format!("{usual},x=\"\\\""),
        format!("{usual},(=1"),
        format!("{usual},origin=\"hs.example\""),
        format!("{usual},Origin=evil.example"),
        format!("{usual},destination=\"id.example.org\""),
        usual.replacen("X-Matrix ", "X-Matrix X-Matrix ", 1),
        format!("{usual}, {usual}"),
    ] {
        bound.refuses(&header, 403, "M_FORBIDDEN").await;
    }
    let mut bytes = usual.clone().into_bytes();
    let sig = usual.find("sig=\"").expect("a signature") + 5;
    bytes[sig] = 0xff;
    bound.refuses_all(&[&bytes], 403, "M_FORBIDDEN").await;
    assert_eq!(bound.key_requests(), 0);
    bound.accepts(&usual).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_good_header_of_several_is_enough() {
    let bound = Bound::start().await;
    let good = bound.request().header();
    let wrong = bound.request().uri("/other").header();
    let foreign = bound.request().origin("other.example").header();
    let elsewhere = bound.request().destination(Some("other.example")).header();
    let unknown = good.replace("ed25519:a_1", "ed25519:b_2");
    let bad = [wrong.as_str(), &foreign, &elsewhere, &unknown, "X-Matrix", "Bearer unknown", "Basic eDp5"];
    for bad in bad {
        bound.accepts_all(&[good.as_bytes(), bad.as_bytes()]).await;
        bound.accepts_all(&[bad.as_bytes(), good.as_bytes()]).await;
    }
    let mut all: Vec<&[u8]> = bad.iter().map(|header| header.as_bytes()).collect();
    bound.refuses_all(&all, 403, "M_FORBIDDEN").await;
    all.push(good.as_bytes());
    bound.accepts_all(&all).await;
    // A good one does not lend its signature to the others, and no two halves make a whole.
    let (front, back) = good.rsplit_once(",sig=").expect("a signature");
    let halves = [front.to_owned(), format!("X-Matrix sig={back}")];
    bound.refuses_all(&[halves[0].as_bytes(), halves[1].as_bytes()], 403, "M_FORBIDDEN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_huge_header_costs_no_more_than_its_length() {
    let bound = Bound::start().await;
    let good = bound.request().header();
    let many = (0..1_800).fold(good.clone(), |mut text, n| {
        write!(text, ",p{n}=1").expect("a text takes everything");
        text
    });
    let doubled = format!("{good}{}", ",x=1".repeat(3_400));
    let long_value = format!("{good},x=\"{}\"", "\\a".repeat(6_800));
    let commas = format!("{good}{}", ", ".repeat(6_800));
    for header in [&many, &doubled, &long_value, &commas] {
        assert!(header.len() > 12_000 && header.len() < 15_500, "{}", header.len());
        bound.accepts(header).await;
    }
    let long_key = good.replace("a_1", &"a".repeat(14_000));
    let long_sig = good.replacen("sig=\"", &format!("sig=\"{}", "A".repeat(14_000)), 1);
    let unfinished = format!("{good},x=\"{}", "\\\"".repeat(6_800));
    for header in [&long_key, &long_sig, &unfinished] {
        bound.refuses(header, 403, "M_FORBIDDEN").await;
    }
    // As many headers as one request may have; all of them of a homeserver that would have to be asked.
    let names: Vec<String> =
        (0..60).map(|n| good.replace("hs.example\",key", &format!("hs{n}.example\",key"))).collect();
    let names: Vec<&[u8]> = names.iter().map(String::as_bytes).collect();
    bound.refuses_all(&names, 403, "M_FORBIDDEN").await;
    let before = bound.world.homeserver.requests_to(KEYS).len();
    let keys: Vec<String> = (0..60).map(|n| good.replace("a_1", &format!("b_{n}"))).collect();
    let keys: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
    for _ in 0..5 {
        bound.refuses_all(&keys, 403, "M_FORBIDDEN").await;
    }
    assert!(bound.key_requests() <= before + 1, "{} requests for keys", bound.key_requests());
}
