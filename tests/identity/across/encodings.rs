//! The encodings of a request's arguments: JSON, the form of an old client, the query string.
//!
//! Invariant: a request that is rejected here for its encoding is accepted, or rejected for another reason, in the
//! right one.

use hyper::Method;
use serde_json::json;

use harness::world::identity::{DEADLINE, World, v2};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_json_whatever_its_content_type_says() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    for content_type in
        ["application/json", "application/json; charset=utf-8", "text/plain", "multipart/form-data; x", ""]
    {
        let call = world.api.request(Method::POST, &v2("/terms")).bearer(&token);
        let answer = call.header("content-type", content_type).body(r#"{"user_accepts":[]}"#).send().await;
        assert_eq!(answer.expect(200), json!({}), "{content_type}");
    }
    let untyped = world.api.request(Method::POST, &v2("/terms")).bearer(&token).body(r#"{"user_accepts":[]}"#);
    assert_eq!(untyped.send().await.expect(200), json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_body_is_not_decoded() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    // {"user_accepts":[]} in a gzip member without compression (RFC 1952, RFC 1951 §3.2.4).
    let gzip = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\x01\x13\x00\xec\xff{\"user_accepts\":[]}\x00\x00\x00\x00\x13\x00\x00\x00";
    for encoding in ["gzip", "deflate", "br", "identity"] {
        let call = world.api.request(Method::POST, &v2("/terms")).bearer(&token).header("content-encoding", encoding);
        call.body(&gzip[..]).send().await.refused(400, "M_BAD_JSON");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_is_taken_where_old_clients_send_one_and_nowhere_else() {
    let world = World::start().await;
    let alice = world.register("@alice:hs.example").await;
    let post = |path: &str| world.api.request(Method::POST, &v2(path)).bearer(&alice);
    let fields = [("client_secret", "s"), ("email", "alice@example.com"), ("send_attempt", "1")];
    let answer = post("/validate/email/requestToken").form(&fields).send().await;
    let sid = answer.expect(200)["sid"].as_str().unwrap().to_owned();
    let mail = world.mail.wait_for("alice@example.com", 1, DEADLINE).await;
    let validation_token = mail.message().validation_parameter("token");
    let session = [("client_secret", "s"), ("sid", sid.as_str())];
    let submission = [&session[..], &[("token", validation_token.as_str())]].concat();
    assert_eq!(
        post("/validate/email/submitToken").form(&submission).send().await.expect(200),
        json!({"success": true})
    );

    // Parameters after the semicolon and the case of letters have no effect.
    let call = post("/3pid/bind").header("content-type", "Application/X-WWW-Form-Urlencoded ; charset=UTF-8");
    let bound = call.body(format!("client_secret=s&sid={sid}&mxid=%40alice%3Ahs.example")).send().await;
    assert_eq!(bound.expect(200)["mxid"], "@alice:hs.example");
    post("/3pid/bind").form(&[("client_secret", "s"), ("sid", "x")]).send().await.refused(400, "M_MISSING_PARAMS");

    for (path, fields) in [
        ("/account/register", &[("access_token", "x"), ("matrix_server_name", "hs.example")][..]),
        ("/terms", &[("user_accepts", "https://example.org/")]),
        ("/lookup", &[("addresses", "x"), ("algorithm", "sha256"), ("pepper", "x")]),
        ("/3pid/unbind", &session),
    ] {
        post(path).form(fields).send().await.refused(400, "M_BAD_JSON");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_is_given_once_and_is_utf_8() {
    let world = World::start().await;
    let token = world.register("@alice:hs.example").await;
    for (method, path, query) in [
        (Method::GET, "/pubkey/isvalid", "public_key=AA&public_key=BB"),
        (Method::GET, "/pubkey/isvalid", "public_key=AA&public%5Fkey=AA"),
        (Method::GET, "/pubkey/isvalid", "public_key=%ff"),
        (Method::GET, "/pubkey/isvalid", "public_key=%ed%a0%80"),
        (Method::GET, "/3pid/getValidated3pid", "sid=a&client_secret=b&sid=a"),
        (Method::GET, "/3pid/getValidated3pid", "sid=%c3%28&client_secret=b"),
        (Method::POST, "/validate/email/requestToken", "brand=a&brand=b"),
        (Method::POST, "/validate/email/requestToken", "brand=%80"),
    ] {
        let call = world.api.request(method, &v2(&format!("{path}?{query}"))).bearer(&token);
        call.send().await.refused(400, "M_INVALID_PARAM");
    }
    let link = world.api.get(&v2("/validate/email/submitToken?sid=a&sid=a&client_secret=b&token=c")).send().await;
    assert_eq!((link.code(), link.header("content-type")), (400, Some("text/html; charset=utf-8")));
}
