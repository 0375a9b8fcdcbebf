//! `GET lookup` and `POST bulk_lookup`: in clear, and in agreement with v2.
//!
//! Invariant: what v1 finds v2 finds, for the same user, and the other way round.

use harness::wait::wait_for;
use serde_json::{Value, json};

use super::{BOB, EMAIL, bind, bound, form, look_up, look_up_all, v1, validate_by, world_with};
use harness::world::identity::{DEADLINE, World, databases, v2};

const IN_CLEAR: &str = "[lookup]\nalgorithms = [\"sha256\", \"none\"]\n";

/// Whose an address is, by v2 in clear.
async fn by_v2(world: &World, token: &str, medium: &str, address: &str) -> Option<String> {
    let entry = format!("{address} {medium}");
    let body = json!({ "addresses": [entry], "algorithm": "none", "pepper": world.pepper(token).await });
    let answer = world.api.post(&v2("/lookup"), body).bearer(token).send().await.expect(200);
    answer["mappings"][&entry].as_str().map(str::to_owned)
}

/// Whose an address is, by both routes of v1.
async fn by_v1(world: &World, medium: &str, address: &str) -> Option<String> {
    let one = look_up(world, medium, address).await.expect(200);
    let many = look_up_all(world, json!([[medium, address]])).await.expect(200);
    match one["mxid"].as_str() {
        Some(mxid) => assert_eq!(many, json!({ "threepids": [[medium, address, mxid]] })),
        None => assert_eq!((one.clone(), many), (json!({}), json!({ "threepids": [] }))),
    }
    one["mxid"].as_str().map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_find_the_same() {
    for database in databases().await {
        let world = world_with(&format!("{IN_CLEAR}{database}")).await;
        let alice = world.register("@alice:hs.example").await;
        bound(&world, EMAIL, BOB).await;
        let session = validate_by(&world, "Strau\u{df}@Example.com", "strauss@example.com").await;
        bind(&world, &session, "@s:other.example").await.expect(200);
        for (medium, address, mxid) in [
            ("email", EMAIL, Some(BOB)),
            ("email", "BOB@Example.COM", Some(BOB)),
            ("email", "strauss@example.com", Some("@s:other.example")),
            ("email", "STRAU\u{1e9e}@example.com", Some("@s:other.example")),
            ("email", "strau\u{df}@example.com", Some("@s:other.example")),
            ("email", "unbound@example.com", None),
            ("email", "bob", None),
            ("email", "", None),
            ("email", "bob@example.com ", None),
            ("email", "bob@example.com\0", None),
            ("msisdn", EMAIL, None),
            ("msisdn", "447700900001", None),
            ("msisdn", "+44 7700 900001", None),
            ("Email", EMAIL, None),
            ("", EMAIL, None),
            ("pigeon", EMAIL, None),
        ] {
            assert_eq!(by_v1(&world, medium, address).await.as_deref(), mxid, "{medium} {address:?}");
            assert_eq!(by_v2(&world, &alice, medium, address).await.as_deref(), mxid, "{medium} {address:?}");
        }
        // A new owner is the only one, for both.
        bound(&world, "BOB@example.com", "@carol:hs.example").await;
        assert_eq!(by_v1(&world, "email", EMAIL).await.as_deref(), Some("@carol:hs.example"));
        assert_eq!(by_v2(&world, &alice, "email", EMAIL).await.as_deref(), Some("@carol:hs.example"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_no_more_is_found_by_neither() {
    let world = world_with(&format!("{IN_CLEAR}[bind]\nvalidity = \"1s\"\n")).await;
    let alice = world.register("@alice:hs.example").await;
    let association = bound(&world, EMAIL, BOB).await;
    assert_eq!(association["not_after"].as_i64().unwrap() - association["not_before"].as_i64().unwrap(), 1000);
    wait_for("its end", DEADLINE, async || {
        let found = look_up(&world, "email", EMAIL).await.expect(200);
        (found == json!({})).then_some(())
    })
    .await;
    assert_eq!(by_v1(&world, "email", EMAIL).await, None);
    assert_eq!(by_v2(&world, &alice, "email", EMAIL).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_answered_in_the_callers_own_strings_and_order() {
    let world = world_with("").await;
    bound(&world, EMAIL, BOB).await;
    bound(&world, "carol@example.com", "@carol:hs.example").await;
    let pairs = json!([
        ["email", "carol@example.com"],
        ["email", "unbound@example.com"],
        ["msisdn", "447700900001"],
        ["pigeon", EMAIL],
        ["email", "BOB@Example.com"],
        ["email", "not an address"],
        ["email", EMAIL],
        ["email", EMAIL],
        ["", ""],
    ]);
    let expected = json!({ "threepids": [
        ["email", "carol@example.com", "@carol:hs.example"],
        ["email", "BOB@Example.com", BOB],
        ["email", EMAIL, BOB],
        ["email", EMAIL, BOB],
    ] });
    assert_eq!(look_up_all(&world, pairs).await.expect(200), expected);
    assert_eq!(look_up_all(&world, json!([])).await.expect(200), json!({ "threepids": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bulk_lookup_is_refused_for_its_shape_and_its_length_in_this_order() {
    let world = world_with("[lookup]\nmax_addresses = 2\n").await;
    let pair = json!(["email", EMAIL]);
    for wrong in [
        json!("x"),
        json!(5),
        json!(true),
        json!({}),
        json!([1]),
        json!(["email"]),
        json!(["email", EMAIL]),
        json!([{}]),
        json!([null]),
        json!([[]]),
        json!([["email"]]),
        json!([["email", EMAIL, "x"]]),
        json!([["email", 5]]),
        json!([[null, EMAIL]]),
        json!([["email", [EMAIL]]]),
        json!([pair, pair, pair, ["email", null]]),
    ] {
        look_up_all(&world, wrong).await.refused(400, "M_INVALID_PARAM");
    }
    look_up_all(&world, Value::Null).await.refused(400, "M_MISSING_PARAMS");
    form(&world, "/bulk_lookup", &[("threepids", "[[\"email\",\"a@b\"]]")])
        .send()
        .await
        .refused(400, "M_INVALID_PARAM");
    look_up_all(&world, json!([pair, pair, pair])).await.refused(400, "M_TOO_LARGE");
    look_up_all(&world, json!([pair, pair])).await.expect(200);
    let head = world.api.request(hyper::Method::HEAD, &v1("/lookup?medium=email&address=a%40b")).send().await;
    assert_eq!((head.code(), head.body.len()), (200, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_are_looked_up_at_once() {
    for database in databases().await {
        let world = world_with(&database).await;
        bound(&world, EMAIL, BOB).await;
        let mut pairs: Vec<Value> = (0..10_000).map(|n| json!(["email", format!("unbound{n}@example.com")])).collect();
        pairs[9_999] = json!(["email", EMAIL]);
        let expected = json!({ "threepids": [["email", EMAIL, BOB]] });
        assert_eq!(look_up_all(&world, json!(pairs)).await.expect(200), expected);
        pairs.push(json!(["email", EMAIL]));
        look_up_all(&world, json!(pairs)).await.refused(400, "M_TOO_LARGE");
    }
}
