//! Which user an address belongs to, after whatever was bound in whatever spelling: there is one row for each address,
//! and every way to ask about it gives the same answer.
//!
//! Invariant: the forms of an address stand here as the rules write them; nothing folds a case in this file.

use serde_json::{Value, json};

use harness::world::identity::{Settings, World, databases, hash, v2};

/// Addresses as they are typed, in canonical form, and in the lower-case form of clients.
const FORMS: [(&str, &str, &str); 12] = [
    ("Bob@Example.com", "bob@example.com", "bob@example.com"),
    ("Strauß@Example.com", "strauss@example.com", "strauß@example.com"),
    ("\u{1e9e}@x.org", "ss@x.org", "ß@x.org"),
    ("ΣΊΣΥΦΟΣ@Example.org", "σίσυφο\u{3c3}@example.org", "σίσυφο\u{3c2}@example.org"),
    ("\u{17f}@x.org", "s@x.org", "\u{17f}@x.org"),
    ("\u{fb00}@x.org", "ff@x.org", "\u{fb00}@x.org"),
    ("mi\u{212a}e@x.org", "mike@x.org", "mike@x.org"),
    ("\u{212b}@x.org", "\u{e5}@x.org", "\u{e5}@x.org"),
    ("\u{130}@x.org", "i\u{307}@x.org", "i\u{307}@x.org"),
    ("\u{131}@x.org", "\u{131}@x.org", "\u{131}@x.org"),
    ("\u{13a0}@x.org", "\u{13a0}@x.org", "\u{ab70}@x.org"),
    ("e\u{301}@x.org", "e\u{301}@x.org", "e\u{301}@x.org"),
];

/// A world in which everything about a binding can be asked.
async fn start(database: &str) -> World {
    let tables = format!(
        "[limits]\nenabled = false\n[account]\nlist_own_bindings = true\n[lookup]\nalgorithms = [\"sha256\", \"none\"]\n{database}"
    );
    World::with(Settings { tables: &tables, ..Settings::default() }).await
}

/// The mappings of these entries.
async fn mappings(world: &World, token: &str, algorithm: &str, entries: &[String]) -> Value {
    let body = json!({ "addresses": entries, "algorithm": algorithm, "pepper": world.pepper(token).await });
    world.api.post(&v2("/lookup"), body).bearer(token).send().await.expect(200)["mappings"].clone()
}

/// The addresses that the account lists.
async fn own(world: &World, token: &str) -> Vec<String> {
    let own = world.api.get("/_identity/v1/bindings").bearer(token).send().await.expect(200);
    let bindings = own["bindings"].as_array().expect("a list");
    bindings.iter().map(|binding| binding["address"].as_str().expect("an address").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_found_by_the_hash_of_its_canonical_and_of_its_lower_case_form() {
    for database in databases().await {
        let world = start(&database).await;
        let bob = world.register("@bob:hs.example").await;
        let pepper = world.pepper(&bob).await;
        for (typed, canonical, lower) in FORMS {
            let recipient = if typed.is_ascii() { typed } else { canonical };
            let association = world.bind_by(&bob, "@bob:hs.example", typed, recipient).await;
            assert_eq!(association["address"], canonical);
            let hashes = [hash(canonical, "email", &pepper), hash(lower, "email", &pepper)];
            let expected: serde_json::Map<_, _> =
                hashes.iter().map(|hash| (hash.clone(), json!("@bob:hs.example"))).collect();
            assert_eq!(mappings(&world, &bob, "sha256", &hashes).await, Value::Object(expected), "{typed:?}");
            let in_clear = [typed, canonical, lower].map(|form| format!("{form} email"));
            let expected: serde_json::Map<_, _> =
                in_clear.iter().map(|entry| (entry.clone(), json!("@bob:hs.example"))).collect();
            assert_eq!(mappings(&world, &bob, "none", &in_clear).await, Value::Object(expected), "{typed:?}");
        }
        let mut listed = own(&world, &bob).await;
        let mut expected = FORMS.map(|(_, canonical, _)| canonical.to_owned());
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_binding_of_an_address_is_the_only_one_in_whatever_spelling_it_came() {
    for database in databases().await {
        let world = start(&database).await;
        let users = ["@zed:hs.example", "@alice:hs.example"];
        let tokens = [world.register(users[0]).await, world.register(users[1]).await];
        let pepper = world.pepper(&tokens[0]).await;
        let (ascii, sharp) = ("strauss@example.com", "strauß@example.com");
        let hashes = [hash(ascii, "email", &pepper), hash(sharp, "email", &pepper)];
        let in_clear = [format!("{ascii} email"), format!("{sharp} email"), "STRAUSS@Example.com email".to_owned()];
        for (turn, (typed, is_found_by_lower_form)) in [
            ("strauss@example.com", false),
            ("Strauß@Example.com", true),
            ("STRAUSS@example.com", false),
            ("STRAUẞ@example.com", true),
        ]
        .into_iter()
        .enumerate()
        {
            let (now, before) = (turn % 2, (turn + 1) % 2);
            let recipient = if typed.is_ascii() { typed } else { ascii };
            world.bind_by(&tokens[now], users[now], typed, recipient).await;
            let mut expected = serde_json::Map::from_iter([(hashes[0].clone(), json!(users[now]))]);
            // The owner's spelling decides; whatever the one before had typed is forgotten.
            if is_found_by_lower_form {
                expected.insert(hashes[1].clone(), json!(users[now]));
            }
            assert_eq!(mappings(&world, &tokens[0], "sha256", &hashes).await, Value::Object(expected), "{typed}");
            let expected: serde_json::Map<_, _> =
                in_clear.iter().map(|entry| (entry.clone(), json!(users[now]))).collect();
            assert_eq!(mappings(&world, &tokens[0], "none", &in_clear).await, Value::Object(expected), "{typed}");
            assert_eq!(own(&world, &tokens[now]).await, [ascii]);
            assert_eq!(own(&world, &tokens[before]).await, [""; 0]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn binding_the_same_again_renews_the_one_row() {
    let world = start("").await;
    let bob = world.register("@bob:hs.example").await;
    let first = world.bind(&bob, "@bob:hs.example", "bob@example.com").await;
    let second = world.bind(&bob, "@bob:hs.example", "BOB@example.com").await;
    assert!(second["ts"].as_i64() >= first["ts"].as_i64(), "{first} {second}");
    let listed = world.api.get("/_identity/v1/bindings").bearer(&bob).send().await.expect(200);
    let binding = json!({ "medium": "email", "address": "bob@example.com", "ts": second["ts"] });
    assert_eq!(listed, json!({ "bindings": [binding] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn own_bindings_are_listed_only_where_the_operator_allows_it() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    world.api.get("/_identity/v1/bindings").bearer(&bob).send().await.refused(403, "M_FORBIDDEN");
    world.api.get("/_identity/v1/bindings").send().await.refused(401, "M_UNAUTHORIZED");
}
