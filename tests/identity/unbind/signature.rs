//! What a signature covers and who may give it.
//!
//! Invariant: a failed proof is 401 or 403 and never 400, 404 or 501: Synapse takes these for an identity server that
//! knows no unbind, and forgets the association.

use harness::api::Answer;
use harness::homeserver::{Key, canonical};
use serde_json::{Value, json};

use super::{ADDRESS, BOB, Bound, NAME, content};
use harness::world::identity::{Settings, v2};

/// Sends a body whose signature covers it as it is written, also if that is no canonical JSON.
async fn send_as_written(bound: &Bound, body: &str) -> Answer {
    let text = format!(
        "{{\"content\":{body},\"destination_is\":\"{NAME}\",\"method\":\"POST\",\"origin\":\"hs.example\",\"uri\":\"{}\"}}",
        v2("/3pid/unbind")
    );
    let signature = bound.world.homeserver.key().text_signature(&text);
    let header = format!("X-Matrix origin=hs.example,key=ed25519:a_1,sig={signature},destination={NAME}");
    bound.send_to(&v2("/3pid/unbind"), &[header.as_bytes()], body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_homeserver_unbinds_its_user_as_synapse_asks_for_it() {
    let bound = Bound::start().await;
    // Written out once, so that it is plain what Synapse signs and sends.
    let key = bound.world.homeserver.key();
    let signed = json!({
        "method": "POST",
        "uri": "/_matrix/identity/v2/3pid/unbind",
        "origin": "hs.example",
        "destination_is": NAME,
        "content": content(),
    });
    let signature = key.text_signature(&canonical(&signed));
    let header =
        format!("X-Matrix origin=\"hs.example\",key=\"ed25519:a_1\",sig=\"{signature}\",destination=\"{NAME}\"");
    assert_eq!(header, bound.world.homeserver.x_matrix("POST", &v2("/3pid/unbind"), NAME, &content()));
    bound.accepts(&header).await;
    // Again, and when nothing is left to unbind.
    for _ in 0..2 {
        assert_eq!(bound.send(&[header.as_bytes()]).await.expect(200), json!({}));
    }
    assert!(!bound.is_bound().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_and_the_fields_may_be_written_otherwise() {
    let bound = Bound::start().await;
    let mut content = json!({
        "threepid": { "address": "BOB@Example.com", "medium": "email", "x": [null, true, -1, "é\u{1F600}\n\u{7f}"] },
        "mxid": BOB, "id_server": NAME, "largest": 9_007_199_254_740_991_i64, "\u{FF5E}": {}, "\u{1F600}": {},
    });
    for body in [content.to_string(), format!("{content:#}"), content.to_string().replace('é', "\\u00e9")] {
        let header = bound.request().content(&content).header();
        let answer = bound.send_to(&v2("/3pid/unbind"), &[header.as_bytes()], &body).await;
        assert_eq!(answer.expect(200), json!({}), "{body}");
        bound.expect_unbound().await;
    }
    content["mxid"] = json!("@alice:hs.example");
    let header = bound.request().content(&content).header();
    let answer = bound.send_to(&v2("/3pid/unbind"), &[header.as_bytes()], &content.to_string()).await;
    assert_eq!(answer.expect(200), json!({}), "nothing to do is no mistake");
    assert!(bound.is_bound().await, "it is bound to another user");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_over_anything_else_is_worth_nothing() {
    let bound = Bound::start().await;
    let good = bound.request().header();
    let mut other_address = content();
    other_address["threepid"]["address"] = json!("alice@example.com");
    let mut more = content();
    more["x"] = json!(1);
    for request in [
        bound.request().content(&other_address),
        bound.request().content(&more),
        bound.request().content(&json!({})),
        bound.request().uri("/_matrix/identity/v2/3pid/bind"),
        bound.request().uri("/_matrix/identity/v2/3pid/unbind?"),
        bound.request().uri(""),
        bound.request().method("PUT"),
        bound.request().method("post"),
    ] {
        bound.refuses(&request.header(), 403, "M_FORBIDDEN").await;
    }
    for (old, new) in [("sig=\"", "sig=\"A"), ("ed25519:a_1", "ed25519:a_2"), ("ed25519:a_1", "a_1")] {
        bound.refuses(&good.replacen(old, new, 1), 403, "M_FORBIDDEN").await;
    }
    for sig in ["", "AAAA", "%", &"A".repeat(86), &"/".repeat(86), "é"] {
        let start = good.find("sig=\"").expect("a signature") + 5;
        let end = start + good[start..].find('"').expect("its end");
        bound.refuses(&format!("{}{sig}{}", &good[..start], &good[end..]), 403, "M_FORBIDDEN").await;
    }
    for key in ["curve25519:a_1", "ED25519:a_1", "ed25519", "ed25519:", "", "rsa:a_1"] {
        bound.refuses(&good.replace("ed25519:a_1", key), 403, "M_FORBIDDEN").await;
    }
    // A captured header with another body: the body that was signed is not the one that came.
    let captured = good.as_bytes();
    for body in [
        json!({ "mxid": BOB, "threepid": { "medium": "email", "address": "bob@example.com " } }),
        json!({ "mxid": BOB, "threepid": { "medium": "msisdn", "address": "447700900001" } }),
        json!({ "mxid": "@alice:hs.example", "threepid": { "medium": "email", "address": ADDRESS } }),
        more,
    ] {
        let answer = bound.send_to(&v2("/3pid/unbind"), &[captured], &body.to_string()).await;
        bound.refused(&answer, 403, "M_FORBIDDEN", "a captured header").await;
    }
    bound.accepts(&good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_another_key_or_another_server_is_worth_nothing() {
    let bound = Bound::start().await;
    let homeserver = &bound.world.homeserver;
    let rogue = harness::homeserver::Homeserver::start("rogue.example").await;
    // The right key ID, another key.
    bound.refuses(&bound.request().key(Key::new("ed25519:a_1")).header(), 403, "M_FORBIDDEN").await;
    bound.refuses(&bound.request().key(rogue.key()).header(), 403, "M_FORBIDDEN").await;
    // Another server in its own name, for a user who is not its own.
    let foreign = rogue.request(&v2("/3pid/unbind"), NAME, &content());
    bound.refuses(&foreign.header(), 403, "M_FORBIDDEN").await;
    for origin in ["example", "HS.example", "hs.example:8448", "evil.hs.example", "hs.example.evil", "127.0.0.1"] {
        bound.refuses(&bound.request().origin(origin).header(), 403, "M_FORBIDDEN").await;
        bound.refuses(&bound.request().origin(origin).key(rogue.key()).header(), 403, "M_FORBIDDEN").await;
    }
    assert_eq!((rogue.connections(), bound.key_requests()), (0, 1), "strangers are not asked");
    bound.accepts(&bound.request().key(homeserver.key()).header()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_speaks_for_its_own_users_alone() {
    let bound = Bound::start().await;
    for mxid in [
        "@x:y:hs.example",
        "@bob:other.example:hs.example",
        "@bob:hs.example:8448",
        "@bob:HS.EXAMPLE",
        "@bob:other.example",
        "@bob:evil.hs.example",
        "@bob:hs.example.evil",
        "@bob:hs.example ",
        "@:hs.example",
        "bob:hs.example",
        "hs.example",
        "",
    ] {
        let mut content = content();
        content["mxid"] = json!(mxid);
        let header = bound.request().content(&content).header();
        let answer = bound.send_to(&v2("/3pid/unbind"), &[header.as_bytes()], &content.to_string()).await;
        bound.refused(&answer, 403, "M_FORBIDDEN", mxid).await;
    }
    assert_eq!(bound.key_requests(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_with_a_number_that_cannot_be_signed_is_refused() {
    let bound = Bound::start().await;
    for number in ["1.5", "1.0", "1e3", "-0", "-0.0", "9007199254740992", "-9007199254740992", "18446744073709551616"] {
        let body = content().to_string().replacen('{', &format!("{{\"a\":{number},"), 1);
        // It is signed nevertheless, as it is written.
        let answer = send_as_written(&bound, &body).await;
        bound.refused(&answer, 403, "M_FORBIDDEN", number).await;
    }
    // The same made with an integer is good: the test signs what the server verifies.
    let body = content().to_string().replacen('{', "{\"a\":1,", 1);
    let answer = send_as_written(&bound, &body).await;
    assert_eq!(answer.expect(200), json!({}));
    bound.expect_unbound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_whose_members_have_names_of_a_parser_is_one_like_any_other() {
    let bound = Bound::start().await;
    let name = "$serde_json::private::RawValue";
    let odd = format!("{{\"a\":{{\"{name}\":5}},\"b\":{{\"{name}\":\"[]\"}},");
    let body = content().to_string().replacen('{', &odd, 1);
    let answer = send_as_written(&bound, &body).await;
    assert_eq!(answer.expect(200), json!({}));
    bound.expect_unbound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_so_only_once_it_is_known_who_says_it() {
    let bound = Bound::start().await;
    let body = |threepid: Value| json!({ "mxid": BOB, "threepid": threepid });
    for (content, errcode) in [
        (body(json!({ "medium": "fax", "address": "1" })), "M_INVALID_PARAM"),
        (body(json!({ "medium": "email", "address": "nonsense" })), "M_INVALID_PARAM"),
        (body(json!({ "medium": "email" })), "M_MISSING_PARAMS"),
        (body(json!([])), "M_INVALID_PARAM"),
    ] {
        let good = bound.request().content(&content).header();
        let bad = bound.request().header();
        let text = content.to_string();
        let answer = bound.send_to(&v2("/3pid/unbind"), &[bad.as_bytes()], &text).await;
        bound.refused(&answer, 403, "M_FORBIDDEN", "an unproven request").await;
        bound.send_to(&v2("/3pid/unbind"), &[good.as_bytes()], &text).await.refused(400, errcode);
    }
    for (text, errcode) in
        [("{", "M_BAD_JSON"), ("[]", "M_BAD_JSON"), ("", "M_MISSING_PARAMS"), ("{}", "M_MISSING_PARAMS")]
    {
        let header = bound.request().header();
        bound.send_to(&v2("/3pid/unbind"), &[header.as_bytes()], text).await.refused(400, errcode);
    }
    assert!(bound.is_bound().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_proof_that_is_there_decides() {
    let bound = Bound::with(Settings { tables: "[unbind]\nallow_owner_token = true", ..Settings::default() }).await;
    let good = bound.request().header();
    let bad = bound.request().uri("/other").header();
    let bearer = format!("Bearer {}", bound.token);
    // The owner's token alone would do, but a signature comes before it.
    for headers in [[bearer.as_bytes(), bad.as_bytes()], [bad.as_bytes(), bearer.as_bytes()]] {
        bound.refuses_all(&headers, 403, "M_FORBIDDEN").await;
    }
    bound.accepts_all(&[b"Bearer unknown", good.as_bytes()]).await;
    bound.accepts_all(&[bearer.as_bytes()]).await;
    // A session comes before both.
    let mut content = content();
    content["sid"] = json!(bound.session.sid);
    content["client_secret"] = json!("x");
    let good = bound.request().content(&content).header();
    let answer = bound.send_to(&v2("/3pid/unbind"), &[good.as_bytes()], &content.to_string()).await;
    answer.refused(404, "M_NO_VALID_SESSION");
    assert!(bound.is_bound().await);
    content["client_secret"] = json!(bound.session.client_secret);
    let answer = bound.send_to(&v2("/3pid/unbind"), &[bad.as_bytes()], &content.to_string()).await;
    assert_eq!(answer.expect(200), json!({}));
    bound.expect_unbound().await;
    // A scheme that only begins alike is none.
    let answer = bound.send(&[good.replacen("X-Matrix ", "X-Matrix2 ", 1).as_bytes()]).await;
    answer.refused(401, "M_UNAUTHORIZED");
    assert!(bound.is_bound().await);
}
