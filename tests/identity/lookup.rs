//! `GET hash_details` and `POST lookup`: what is answered, and in which order a request is judged.
//!
//! Invariant: hashes are made here, by the specification's text, and not by the server's code.

use harness::api::Answer;
use harness::binary;
use harness::process::{Server, new_folder};
use serde_json::{Value, json};

use harness::world::identity::{Settings, World, databases, hash, v2};

/// A world without rate limits, with these tables besides.
async fn start(tables: &str) -> World {
    let tables = format!("[limits]\nenabled = false\n{tables}");
    World::with(Settings { tables: &tables, ..Settings::default() }).await
}

/// A world in which bob has an address; with tokens of bob and of alice, and the pepper.
async fn with_bob(tables: &str) -> (World, String, String, String) {
    let world = start(tables).await;
    let bob = world.register("@bob:hs.example").await;
    let alice = world.register("@alice:hs.example").await;
    world.bind(&bob, "@bob:hs.example", "bob@example.com").await;
    let pepper = world.pepper(&alice).await;
    (world, bob, alice, pepper)
}

async fn lookup(world: &World, token: &str, addresses: impl Into<Value>, algorithm: &str, pepper: &str) -> Answer {
    let body = json!({ "addresses": addresses.into(), "algorithm": algorithm, "pepper": pepper });
    world.api.post(&v2("/lookup"), body).bearer(token).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn hash_details_has_a_pepper_of_32_letters_and_the_algorithms_that_are_offered() {
    for (tables, algorithms) in
        [("", json!(["sha256"])), ("[lookup]\nalgorithms = [\"sha256\", \"none\"]", json!(["sha256", "none"]))]
    {
        let world = start(tables).await;
        let token = world.register("@alice:hs.example").await;
        let details = world.api.get(&v2("/hash_details")).bearer(&token).send().await.expect(200);
        let pepper = world.pepper(&token).await;
        assert_eq!(details, json!({ "lookup_pepper": pepper, "algorithms": algorithms }));
        assert!(pepper.len() == 32 && pepper.bytes().all(|b| b.is_ascii_alphanumeric()), "{pepper}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_offer_sha256_does_not_start() {
    for algorithms in ["[\"none\"]", "[]", "\"none\""] {
        let tables = format!("[lookup]\nalgorithms = {algorithms}");
        let config = Settings { tables: &tables, ..Settings::default() }.toml("", "");
        let refusal = Server::try_start_in(new_folder(), binary::identity(), &config, &[]).await.unwrap_err();
        assert!(refusal.output.contains("[lookup] algorithms"), "{algorithms}: {}", refusal.output);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mappings_have_the_callers_own_strings_that_match_and_no_others() {
    let (world, _, alice, pepper) = with_bob("").await;
    let (found, missing) = (hash("bob@example.com", "email", &pepper), hash("eve@example.com", "email", &pepper));
    let bound = json!({ "mappings": { &found: "@bob:hs.example" } });
    let nothing = json!({ "mappings": {} });
    let standard = found.replace('-', "+").replace('_', "/");
    let odd =
        json!(["", " ", "=", "bob@example.com email", "bob@example.com", "é🦀", "\0", "a\u{7f}b", "x".repeat(9999)]);
    for (addresses, mappings) in [
        (json!([found]), &bound),
        (json!([found, found, missing, found]), &bound),
        (json!([missing]), &nothing),
        (json!([]), &nothing),
        (odd.clone(), &nothing),
        (
            json!([format!("{found}="), format!(" {found}"), format!("{found}\n"), &found[..42], found.to_lowercase()]),
            &nothing,
        ),
        (json!([hash("bob@example.com", "msisdn", &pepper), hash("BOB@example.com", "email", &pepper)]), &nothing),
        (Value::Array([&odd.as_array().unwrap()[..], &[json!(found)]].concat()), &bound),
    ] {
        assert_eq!(lookup(&world, &alice, addresses, "sha256", &pepper).await.expect(200), *mappings);
    }
    // The other alphabet of base64 is another string, unless the hash has none of the letters that differ.
    assert_eq!(lookup(&world, &alice, json!([standard, found]), "sha256", &pepper).await.expect(200), bound);
}

#[tokio::test(flavor = "multi_thread")]
async fn clear_text_lookups_where_they_are_offered_agree_with_hashed_ones() {
    let (world, _, alice, pepper) = with_bob("[lookup]\nalgorithms = [\"sha256\", \"none\"]").await;
    let matching = json!(["bob@example.com email", "BOB@Example.COM email", "bob@example.com email"]);
    let found = lookup(&world, &alice, matching, "none", &pepper).await.expect(200);
    let bob = "@bob:hs.example";
    assert_eq!(found, json!({ "mappings": { "bob@example.com email": bob, "BOB@Example.COM email": bob } }));
    let malformed = json!([
        "",
        " ",
        "email",
        " email",
        "bob@example.com",
        "bob@example.com ",
        "bob@example.com email ",
        "bob@example.com  email",
        " bob@example.com email",
        "bob@example.com Email",
        "bob@example.com msisdn",
        "bob@example.com sms",
        "email bob@example.com",
        "eve@example.com email",
        "bob@example.com\temail",
        "bob@example.com email\n",
        "@ email",
        "447700900001 msisdn",
        "\0 email",
        hash("bob@example.com", "email", &pepper),
    ]);
    assert_eq!(lookup(&world, &alice, malformed, "none", &pepper).await.expect(200), json!({ "mappings": {} }));
    assert_eq!(lookup(&world, &alice, json!([]), "none", &pepper).await.expect(200), json!({ "mappings": {} }));
    let hashed = hash("bob@example.com", "email", &pepper);
    let by_hash = lookup(&world, &alice, json!([hashed]), "sha256", &pepper).await.expect(200);
    assert_eq!(by_hash["mappings"][&hashed], bob);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_algorithm_that_is_not_offered_is_refused() {
    let (world, _, alice, pepper) = with_bob("").await;
    for algorithm in ["none", "SHA256", "sha512", "", "sha256 ", "md5"] {
        let addresses = json!(["bob@example.com email"]);
        lookup(&world, &alice, addresses, algorithm, &pepper).await.refused(400, "M_INVALID_PARAM");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_pepper_is_answered_with_the_right_one_and_nothing_else() {
    let (world, _, alice, pepper) = with_bob("[lookup]\nalgorithms = [\"sha256\", \"none\"]").await;
    for wrong in ["", "matrixrocks", " ", "é", &pepper[1..], &format!("{pepper}x"), &pepper.to_lowercase(), "\0"] {
        for (algorithm, addresses) in [
            ("sha256", json!([hash("bob@example.com", "email", wrong)])),
            ("sha256", json!([])),
            ("none", json!(["bob@example.com email"])),
            ("none", json!([])),
        ] {
            let body = lookup(&world, &alice, addresses, algorithm, wrong).await.refused(400, "M_INVALID_PEPPER");
            let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["algorithm", "errcode", "error", "lookup_pepper"]);
            assert_eq!((&body["lookup_pepper"], &body["algorithm"]), (&json!(pepper), &json!("sha256")));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_judged_in_the_order_of_the_rules() {
    let tables = "[lookup]\nmax_addresses = 3\ndaily_quota = 4";
    let (world, _, alice, pepper) = with_bob(tables).await;
    let post = async |body: Value| world.api.post(&v2("/lookup"), body).bearer(&alice).send().await;
    let missing = post(json!({ "addresses": [5], "algorithm": null })).await.refused(400, "M_MISSING_PARAMS");
    let text = missing["error"].as_str().unwrap();
    assert!(text.contains("algorithm") && text.contains("pepper") && !text.contains("addresses"), "{text}");
    for (addresses, algorithm, pepper, errcode) in [
        (json!([1, 2, 3, 4]), json!("none"), json!("wrong"), "M_INVALID_PARAM"),
        (json!([{}]), json!("sha256"), json!(pepper), "M_INVALID_PARAM"),
        (json!([null]), json!("sha256"), json!(pepper), "M_INVALID_PARAM"),
        (json!(["a", ["b"]]), json!("sha256"), json!(pepper), "M_INVALID_PARAM"),
        (json!("a"), json!("sha256"), json!(pepper), "M_INVALID_PARAM"),
        (json!({ "a": "b" }), json!("sha256"), json!(pepper), "M_INVALID_PARAM"),
        (json!([]), json!(["sha256"]), json!(pepper), "M_INVALID_PARAM"),
        (json!([]), json!("sha256"), json!(5), "M_INVALID_PARAM"),
        (json!(["a", "b", "c", "d"]), json!("none"), json!("wrong"), "M_INVALID_PARAM"),
        (json!(["a", "b", "c", "d"]), json!("sha256"), json!("wrong"), "M_TOO_LARGE"),
        (json!(["a", "b", "c"]), json!("sha256"), json!("wrong"), "M_INVALID_PEPPER"),
    ] {
        let body = json!({ "addresses": addresses, "algorithm": algorithm, "pepper": pepper });
        post(body).await.refused(400, errcode);
    }
    // Nothing of this counted against the quota of four, of which only new entries use one each.
    let hashes = |names: &[&str]| -> Value {
        names.iter().map(|name| hash(&format!("{name}@example.com"), "email", &pepper)).collect()
    };
    for names in [["a", "b", "c"], ["a", "a", "d"], ["b", "c", "d"]] {
        lookup(&world, &alice, hashes(&names), "sha256", &pepper).await.expect(200);
    }
    // An entry that is no hash matches nothing and costs nothing.
    lookup(&world, &alice, json!(["e", "f"]), "sha256", &pepper).await.expect(200);
    let answer = lookup(&world, &alice, hashes(&["a", "e"]), "sha256", &pepper).await;
    let wait = answer.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().unwrap();
    assert!((1..=86_400_000).contains(&wait), "{wait}");
    assert_eq!(answer.header("retry-after"), Some(wait.div_ceil(1000).to_string().as_str()));
    lookup(&world, &alice, hashes(&["e"]), "sha256", "wrong").await.refused(400, "M_INVALID_PEPPER");
    lookup(&world, &alice, hashes(&["a"]), "sha256", &pepper).await.expect(200);
    let carol = world.register("@carol:hs.example").await;
    lookup(&world, &carol, hashes(&["e"]), "sha256", &pepper).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_addresses_are_looked_up_at_once_and_not_one_more() {
    for database in databases().await {
        let (world, bob, alice, pepper) =
            with_bob(&format!("{database}[lookup]\nalgorithms = [\"sha256\", \"none\"]")).await;
        for email in ["first@example.com", "last@example.com"] {
            world.bind(&bob, "@bob:hs.example", email).await;
        }
        let mut names: Vec<_> = (0..10_000).map(|n| format!("unbound{n}@example.com")).collect();
        for (at, name) in [(0, "first@example.com"), (5_000, "bob@example.com"), (9_999, "last@example.com")] {
            names[at] = name.to_owned();
        }
        let hashed: Vec<_> = names.iter().map(|name| hash(name, "email", &pepper)).collect();
        let in_clear: Vec<_> = names.iter().map(|name| format!("{name} email")).collect();
        for (algorithm, mut entries) in [("sha256", hashed), ("none", in_clear)] {
            let bob = json!("@bob:hs.example");
            let expected: serde_json::Map<_, _> =
                [0, 5_000, 9_999].iter().map(|&at| (entries[at].clone(), bob.clone())).collect();
            let answer = lookup(&world, &alice, json!(entries), algorithm, &pepper).await;
            assert_eq!(answer.expect(200), json!({ "mappings": expected }));
            entries.push("one more".to_owned());
            lookup(&world, &alice, json!(entries), algorithm, &pepper).await.refused(400, "M_TOO_LARGE");
        }
    }
}
