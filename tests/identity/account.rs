//! Access tokens: where they may stand, which of two counts, and their end.
//!
//! Invariant: the caller is known by what `GET account` answers, and by nothing else.

use harness::api::Call;
use serde_json::{Value, json};

use harness::world::identity::{Settings, World, v2};

async fn user(call: Call) -> Option<String> {
    let answer = call.send().await;
    if answer.code() == 200 {
        return answer.json()["user_id"].as_str().map(str::to_owned);
    }
    let refusal = answer.refused(401, "M_UNAUTHORIZED");
    assert_eq!(refusal, json!({"errcode": "M_UNAUTHORIZED", "error": "Unauthorized"}));
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_counts_in_the_header_and_in_the_query_and_the_header_wins() {
    let world = World::start().await;
    let alice = world.register("@alice:hs.example").await;
    let bob = world.register("@bob:hs.example").await;
    let account = || world.api.get(&v2("/account"));
    let (is_alice, is_bob) = (Some("@alice:hs.example".to_owned()), Some("@bob:hs.example".to_owned()));
    for scheme in ["Bearer", "bearer", "BEARER"] {
        assert_eq!(user(account().header("authorization", &format!("{scheme} {alice}"))).await, is_alice);
    }
    assert_eq!(user(account().query("access_token", &alice)).await, is_alice);
    assert_eq!(user(account().bearer(&alice).query("access_token", &bob)).await, is_alice);
    assert_eq!(user(account().bearer("unknown").query("access_token", &bob)).await, None);
    assert_eq!(user(account().header("authorization", "Bearer").query("access_token", &bob)).await, None);
    assert_eq!(user(account().header("authorization", "Basic eDp5").query("access_token", &bob)).await, is_bob);
    for header in ["", "Bearer", "Bearer ", &alice, &format!("Token {alice}"), &format!("Bearer {alice}x")] {
        assert_eq!(user(account().header("authorization", header)).await, None, "{header}");
    }
    for query in ["access_token=", &format!("access_token={alice}&access_token={bob}"), &format!("token={alice}")] {
        assert_eq!(user(world.api.get(&v2(&format!("/account?{query}")))).await, None);
    }
    // A token in a body is no token.
    for body in [json!({"access_token": alice, "user_accepts": []}), json!({"token": alice, "user_accepts": []})] {
        world.api.post(&v2("/terms"), body).send().await.refused(401, "M_UNAUTHORIZED");
    }
    // Every method takes a token in the query.
    let lookup = world.api.post(&v2("/lookup"), json!({})).query("access_token", &alice);
    lookup.send().await.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_may_refuse_tokens_in_the_query() {
    let world = World::with(Settings { tables: "[auth]\nallow_query_token = false\n", ..Settings::default() }).await;
    let alice = world.register("@alice:hs.example").await;
    assert_eq!(user(world.api.get(&v2("/account")).query("access_token", &alice)).await, None);
    assert!(user(world.api.get(&v2("/account")).bearer(&alice)).await.is_some());
    let logout = world.api.post(&v2("/account/logout"), json!({})).query("access_token", &alice);
    logout.send().await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_ends_one_token_and_no_other() {
    let world = World::start().await;
    let (first, second) = (world.register("@alice:hs.example").await, world.register("@alice:hs.example").await);
    assert_ne!(first, second);
    let logout = || world.api.post(&v2("/account/logout"), json!({}));
    logout().send().await.refused(401, "M_UNAUTHORIZED");
    logout().bearer("unknown").send().await.refused(401, "M_UNKNOWN_TOKEN");
    logout().bearer("unknown").query("access_token", &first).send().await.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(logout().bearer(&first).send().await.expect(200), json!({}));
    logout().bearer(&first).send().await.refused(401, "M_UNKNOWN_TOKEN");
    assert_eq!(user(world.api.get(&v2("/account")).bearer(&first)).await, None);
    assert!(user(world.api.get(&v2("/account")).bearer(&second)).await.is_some());
    assert_eq!(logout().query("access_token", &second).send().await.expect(200), json!({}));
    assert_eq!(user(world.api.get(&v2("/account")).bearer(&second)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_keeps_its_newest_tokens() {
    let world = World::with(Settings { tables: "[auth]\nmax_tokens_per_user = 2\n", ..Settings::default() }).await;
    let other = world.register("@bob:hs.example").await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(world.register("@alice:hs.example").await);
    }
    let mut alive = 0;
    for token in &tokens {
        alive += usize::from(user(world.api.get(&v2("/account")).bearer(token)).await.is_some());
    }
    assert_eq!(alive, 2);
    assert!(user(world.api.get(&v2("/account")).bearer(&tokens[3])).await.is_some(), "the newest one is kept");
    assert!(user(world.api.get(&v2("/account")).bearer(&other)).await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_lists_its_addresses_only_if_the_operator_allows_it() {
    let world = World::start().await;
    let alice = world.register("@alice:hs.example").await;
    world.api.get("/_identity/v1/bindings").send().await.refused(401, "M_UNAUTHORIZED");
    world.api.get("/_identity/v1/bindings").bearer(&alice).send().await.refused(403, "M_FORBIDDEN");

    let world = World::with(Settings { tables: "[account]\nlist_own_bindings = true\n", ..Settings::default() }).await;
    let alice = world.register("@alice:hs.example").await;
    let bob = world.register("@bob:hs.example").await;
    let association = world.bind(&alice, "@alice:hs.example", "Alice@example.com").await;
    let bindings =
        async |token: &str| -> Value { world.api.get("/_identity/v1/bindings").bearer(token).send().await.expect(200) };
    let own = json!({"medium": "email", "address": "alice@example.com", "ts": association["ts"]});
    assert_eq!(bindings(&alice).await, json!({ "bindings": [own] }));
    assert_eq!(bindings(&bob).await, json!({ "bindings": [] }));
}
