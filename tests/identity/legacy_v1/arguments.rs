//! How arguments come: as JSON if that is what the body says it is, else as a form and in the query.
//!
//! Invariant: in whatever way the same is said, the same happens.

use harness::api::Call;
use hyper::Method;
use serde_json::{Value, json};

use super::{BOB, EMAIL, bind, form, look_up, request_token, v1, validated, world_with};
use harness::world::identity::World;

fn post(world: &World, path: &str) -> Call {
    world.api.request(Method::POST, &v1(path))
}

/// The same request in every way in which it may be made.
fn in_all_ways(world: &World, path: &str, fields: &[(&str, &str)]) -> Vec<(&'static str, Call)> {
    let in_query =
        |call: Call, fields: &[(&str, &str)]| fields.iter().fold(call, |call, (name, value)| call.query(name, value));
    let object = object_of(fields);
    let wrong: Vec<_> = fields.iter().map(|(name, _)| (*name, "wrong")).collect();
    let (some, others) = fields.split_at(1);
    let json_type = "application/json";
    vec![
        ("JSON", post(world, path).json(&object)),
        (
            "JSON of a named charset",
            post(world, path).header("content-type", "application/json; charset=utf-8").body(object.to_string()),
        ),
        ("JSON, and other things in the query", post(world, path).query("id_server", "x").json(&object)),
        ("JSON of another type", post(world, path).header("content-type", "text/plain").body(object.to_string())),
        (
            "JSON that says it is a form",
            post(world, path)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(format!("\u{feff} \r\n{object}")),
        ),
        (
            "JSON after a byte order mark",
            post(world, path).header("content-type", json_type).body(format!("\u{feff}{object}")),
        ),
        ("half in JSON, half in the query", in_query(post(world, path).json(&object_of(some)), others)),
        ("JSON, and others in the query", in_query(post(world, path).json(&object), &wrong)),
        ("form, and others in the query", in_query(form(world, path, fields), &wrong)),
        ("form", form(world, path, fields)),
        ("a form that does not say what it is", post(world, path).body(form_text(fields))),
        ("half in the form, half in the query", in_query(form(world, path, some), others)),
        ("query, no body", in_query(post(world, path), fields)),
        ("query, an empty JSON body", in_query(post(world, path).header("content-type", json_type), fields)),
        ("query, a JSON body of null", in_query(post(world, path).json(&Value::Null), fields)),
        ("query, null of no type", in_query(post(world, path).body(" null\n"), fields)),
        ("query, an empty form", in_query(form(world, path, &[]), fields)),
    ]
}

fn object_of(fields: &[(&str, &str)]) -> Value {
    Value::Object(fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect())
}

fn form_text(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_post_takes_its_arguments_in_every_way() {
    let world = world_with("").await;
    for at in 0..in_all_ways(&world, "", &[("a", "b")]).len() {
        let address = format!("{at}@example.com");
        let way = async |path: &str, fields: &[(&str, &str)]| {
            let (way, call) = in_all_ways(&world, path, fields).swap_remove(at);
            let answer = call.send().await;
            assert_eq!(answer.code(), 200, "{way}: {answer}");
            answer.json()
        };
        let fields = [("client_secret", "s"), ("email", &address), ("send_attempt", "1"), ("next_link", "")];
        let sid = way("/validate/email/requestToken", &fields).await["sid"].as_str().unwrap().to_owned();
        let token = world.mail.mails_to(&address)[0].message().validation_parameter("token");
        let session = [("sid", sid.as_str()), ("client_secret", "s")];
        let submission = [session[0], session[1], ("token", token.as_str())];
        assert_eq!(way("/validate/email/submitToken", &submission).await, json!({ "success": true }));
        let association = way("/3pid/bind", &[session[0], session[1], ("mxid", BOB)]).await;
        assert_eq!((&association["address"], &association["mxid"]), (&json!(address), &json!(BOB)));
        let invited = format!("invited-{at}@example.com");
        let fields = [("medium", "email"), ("address", &invited), ("room_id", "!r:hs.example"), ("sender", BOB)];
        assert!(way("/store-invite", &fields).await["token"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_understood_is_refused_in_the_usual_words() {
    let world = world_with("").await;
    for (path, required) in [
        ("/validate/email/requestToken", "client_secret, email, send_attempt"),
        ("/validate/email/submitToken", "client_secret, sid, token"),
        ("/validate/msisdn/submitToken", "client_secret, sid, token"),
        ("/3pid/bind", "client_secret, mxid, sid"),
        ("/3pid/unbind", "mxid, threepid"),
        ("/store-invite", "address, medium, room_id, sender"),
        ("/bulk_lookup", "threepids"),
    ] {
        let json = |body: &'static str| post(&world, path).header("content-type", "application/json").body(body);
        for call in [post(&world, path), json(""), json("null"), json("{}"), form(&world, path, &[("x", "y")])] {
            let refusal = call.send().await.refused(400, "M_MISSING_PARAMS");
            assert_eq!(refusal["error"], format!("Missing parameters: {required}"), "{path}");
            assert_eq!(refusal.get("success"), path.ends_with("submitToken").then_some(&json!(false)), "{path}");
        }
        for body in ["{", "[]", "5", "\"x\"", "{\"a\":1,\"a\":2}", "{\"a\":1e400}", "a=b"] {
            json(body).send().await.refused(400, "M_BAD_JSON");
        }
        for (query, body) in [("?sid=a&sid=b", ""), ("?sid=%ff", ""), ("", "sid=a&sid=b"), ("", "sid=%ff")] {
            post(&world, &format!("{path}{query}")).body(body).send().await.refused(400, "M_INVALID_PARAM");
        }
        let large = post(&world, path).header("content-type", "application/json").body(vec![b' '; 2 << 20]);
        large.send().await.refused(413, "M_TOO_LARGE");
    }
    for query in ["", "?medium=email", "?address=a%40b"] {
        world.api.get(&v1(&format!("/lookup{query}"))).send().await.refused(400, "M_MISSING_PARAMS");
    }
    world.api.get(&v1("/lookup?medium=a&medium=b&address=c")).send().await.refused(400, "M_INVALID_PARAM");
    world.api.get(&v1("/3pid/getValidated3pid?sid=a")).send().await.refused(400, "M_MISSING_PARAMS");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_judged_as_by_v2() {
    let world = world_with("").await;
    let request = async |name: &str, value: &str| {
        let mut fields = vec![("client_secret", "s"), ("email", EMAIL), ("send_attempt", "1")];
        fields.retain(|(known, _)| *known != name);
        fields.push((name, value));
        form(&world, "/validate/email/requestToken", &fields).send().await
    };
    let long = "x".repeat(256);
    for (name, value, errcode) in [
        ("email", "bob", "M_INVALID_EMAIL"),
        ("email", "a@x,b@y", "M_INVALID_EMAIL"),
        ("email", "a@x\r\nBcc: b@y", "M_INVALID_EMAIL"),
        ("client_secret", "", "M_INVALID_PARAM"),
        ("client_secret", &long, "M_INVALID_PARAM"),
        ("client_secret", "abc\n", "M_INVALID_PARAM"),
        ("send_attempt", "-1", "M_INVALID_PARAM"),
        ("send_attempt", "one", "M_INVALID_PARAM"),
        ("next_link", "javascript:alert(1)", "M_INVALID_PARAM"),
        ("next_link", "https://u@evil.example/", "M_INVALID_PARAM"),
    ] {
        request(name, value).await.refused(400, errcode);
    }
    assert!(world.mail.mails().is_empty());
    let session = request_token(&world, EMAIL).await;
    let submit = async |token: &str| {
        let fields = [("sid", session.sid.as_str()), ("client_secret", &session.client_secret), ("token", token)];
        form(&world, "/validate/email/submitToken", &fields).send().await
    };
    assert_eq!(submit("wrong").await.refused(200, "M_TOKEN_INCORRECT")["success"], false);
    validated(&world, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    submit(&session.token).await.expect(200);
    for mxid in ["bob", "@x:y:hs.example", "@bob", "@bob:hs_example"] {
        bind(&world, &session, mxid).await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(look_up(&world, "email", EMAIL).await.expect(200), json!({}));
}
