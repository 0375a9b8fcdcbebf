//! `sign-ed25519`: who may, with what, and in which of its two forms.

use harness::api::Call;
use hyper::Method;
use rusqlite::params;
use serde_json::{Value, json};

use crate::identity::store_invite::{BOB, NO_LIMITS, invitation, invite, world_with};
use harness::world::identity::{SQLITE, Settings, World, v2};

const V1: &str = "/_matrix/identity/api/v1/sign-ed25519";
const MXID: &str = "@bob:hs.example";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_is_what_the_specification_would_sign() {
    let server = "name = \"id.example.org\"";
    let tables = format!("{NO_LIMITS}{SQLITE}");
    let world = World::with(Settings { server, tables: &tables, ..Settings::default() }).await;
    // The vector's key and token, put where an invitation would have put them.
    let public = base64_of("4GWqEa2UxrXOd8CC94DXvdXQm5bAa14eMwxhC+vkrSg");
    let database = rusqlite::Connection::open(world.server.folder().join("data/identity.db")).unwrap();
    database.execute("insert into ephemeral_keys (public_key, created_at) values (?1, 0)", params![public]).unwrap();
    database
        .execute(
            "insert into invites (id, medium, address, room_id, sender, token, public_key, created_at)
             values ('i', 'email', 'bob@example.com', '!r:hs', '@alice:hs.example', 'abc123', ?1, strftime('%s', 'now') * 1000)",
            params![public],
        )
        .unwrap();
    let expected = json!({
        "mxid": "@bob:hs.example", "sender": "@alice:hs.example", "token": "abc123",
        "signatures": { "id.example.org": { "ed25519:0":
            "RhKBOM8Q16CuXvNtrdTUZAHas3xGH/Ct3x3nDX3y7E86IpnLKjSgMv/fmyivs05D0WfyGj4pvEwlMSoegnEQAA" } },
    });
    let url_safe = "tQOpPxbsuKiwNk_2d_9BtdQVWOmwYlqiFLiB-h1Er30";
    let standard = "tQOpPxbsuKiwNk/2d/9BtdQVWOmwYlqiFLiB+h1Er30";
    for private_key in [url_safe.to_owned(), standard.to_owned(), format!("{url_safe}="), format!("{standard}=")] {
        let body = json!({ "mxid": MXID, "token": "abc123", "private_key": private_key });
        let signed = world.api.post(V1, body).send().await.expect(200);
        assert_eq!(signed, expected, "{private_key}");
    }
    // A plus without encoding.
    let careless = format!("{V1}?token=abc123&mxid=%40bob:hs.example&private_key={standard}");
    assert_eq!(world.api.request(Method::POST, &careless).send().await.expect(200), expected);
}

fn base64_of(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).expect("base64")
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_come_in_every_way_that_clients_send_them() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let link = invite(&world, &alice, invitation(BOB)).await.link;
    let body = link.to_sign(MXID);
    let field = |name: &str| body[name].as_str().unwrap().to_owned();
    let (token, private_key) = (field("token"), field("private_key"));
    let all = [("mxid", MXID), ("token", token.as_str()), ("private_key", private_key.as_str())];
    let post = |path: &str| world.api.request(Method::POST, path);
    let in_query = || post(&link.sign_path()).query("mxid", MXID);
    let calls: Vec<(&str, Call)> = vec![
        ("JSON", world.api.post(V1, body.clone())),
        (
            "JSON with a charset",
            post(V1).header("content-type", "application/json; charset=utf-8").body(body.to_string()),
        ),
        ("a form", post(V1).form(&all)),
        (
            "a form without a type",
            post(V1).body(url::form_urlencoded::Serializer::new(String::new()).extend_pairs(all).finish()),
        ),
        ("the query", in_query()),
        ("the query and null", in_query().json(&Value::Null)),
        ("the query and an empty object", in_query().json(&json!({}))),
        ("the user in JSON, the rest in the query", post(&link.sign_path()).json(&json!({ "mxid": MXID }))),
        ("the query and null without a type", in_query().body(" null\n")),
        ("the query and an empty JSON body", in_query().header("content-type", "application/json")),
        ("half a form, half the query", post(&link.sign_path()).form(&[("mxid", MXID)])),
    ];
    let mut signed = Vec::new();
    for (how, call) in calls {
        let answer = call.send().await;
        assert_eq!(answer.code(), 200, "{how}: {answer}");
        signed.push(answer.json());
    }
    signed.dedup();
    assert_eq!(signed.len(), 1, "all the same: {signed:#?}");

    for (call, errcode) in [
        (post(V1), "M_MISSING_PARAMS"),
        (post(V1).body("null"), "M_MISSING_PARAMS"),
        (post(&link.sign_path()), "M_MISSING_PARAMS"),
        (post(&format!("{}&token=x", link.sign_path())), "M_INVALID_PARAM"),
        (in_query().query("mxid", MXID), "M_INVALID_PARAM"),
        (post(V1).header("content-type", "application/json").body("[]"), "M_BAD_JSON"),
    ] {
        call.send().await.refused(400, errcode);
    }
    // The body overrides the query.
    let other = post(&link.sign_path()).form(&[("mxid", MXID), ("token", "x")]);
    other.send().await.refused(404, "M_UNRECOGNIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_an_unknown_token_sign_nothing() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let right = invite(&world, &alice, invitation(BOB)).await.link.to_sign(MXID);
    let zeros = "A".repeat(43);
    for (path, bearer) in [(V1.to_owned(), None), (v2("/sign-ed25519"), Some(&alice))] {
        let sign = async |name: &str, value: &str| {
            let mut body = right.clone();
            body[name] = value.into();
            let call = world.api.post(&path, body);
            if let Some(token) = bearer { call.bearer(token) } else { call }.send().await
        };
        sign("mxid", "@carol:hs.example").await.expect(200);
        for mxid in ["bob", "", "@:hs", "@x:y:hs", "@bob:hs\n", "@bob"] {
            sign("mxid", mxid).await.refused(400, "M_INVALID_PARAM");
        }
        for key in
            ["", "x", &zeros, &zeros[1..], "tQOpPxbsuKiwNk_2d_9BtdQVWOmwYlqiFLiB-h1Er30", &format!("{zeros}A"), "é"]
        {
            sign("private_key", key).await.refused(400, "M_INVALID_PARAM");
        }
        for token in ["", "x", "abc\0", &"x".repeat(60_000)] {
            let refusal = sign("token", token).await.refused(404, "M_UNRECOGNIZED");
            assert_eq!(refusal["error"], "Didn't recognize token");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_wants_an_account_unless_the_operator_says_that_token_and_key_are_enough() {
    for (tables, needs_account) in
        [("", true), ("[invites]\nsign_without_account = true\n", false), ("[legacy_v1]\nprofile = \"off\"\n", false)]
    {
        let (world, alice) = world_with(tables).await;
        let link = invite(&world, &alice, invitation(BOB)).await.link;
        let path = v2("/sign-ed25519");
        let without = world.api.post(&path, link.to_sign(MXID)).send().await;
        world.api.post(&path, link.to_sign(MXID)).bearer(&alice).send().await.expect(200);
        let by_query = format!("{path}?{}", link.signurl().query().unwrap());
        let by_query = world.api.post(&by_query, Value::Null).query("mxid", MXID).send().await;
        if needs_account {
            without.refused(401, "M_UNAUTHORIZED");
            by_query.refused(401, "M_UNAUTHORIZED");
        } else {
            assert_eq!(without.expect(200), by_query.expect(200));
        }
        // The link leads where it is served.
        let is_v2 = link.signurl().path() == path;
        assert_eq!(is_v2, tables.contains("off"), "{}", link.signurl());
        world.api.post(&link.sign_path(), Value::Null).query("mxid", MXID).send().await.expect(200);
    }
}
