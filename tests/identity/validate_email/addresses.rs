//! Which addresses get mail, and in which form.

use serde_json::json;

use super::request;
use harness::world::identity::{DEADLINE, Settings, World, v2};

/// Addresses that two programs might read in two ways, and others that are none.
pub(crate) fn hostile() -> Vec<String> {
    let mut addresses: Vec<_> = [
        "a@good.example@bad.example",
        "a@x,b@y",
        "a@x;b@y",
        "<b@y>a@x",
        "a@x (b@y)",
        "g:b@y;",
        "X <a@b>",
        "\"x@y\"@z",
        "mailto:a@b",
        "root",
        "a@",
        "@b",
        "",
        "@",
        "a＠b.c",
        "a@[127.0.0.1]",
        "v%x.org@y",
        "a!b@c",
        "a@x\r\nBcc: b@y",
        "a@x\nBcc: b@y",
        "a@x>\r\nRCPT TO:<b@y",
        "a\0@x",
        "a@x\0",
        "a@x\n",
        " a@x",
        "a@x ",
        "a@x\t",
        "a\u{85}@x",
        "a@x\u{202e}gro.live",
        "a\u{2066}@x",
        "a\u{a0}b@x",
        ".@x",
        "a@x.",
        "a@.x",
        "a@x..y",
        "a@-x",
        "a@x_y",
        "a@127.0.0.1",
        "a\\@x",
        "a\u{ff1c}b@x\u{3002}org",
    ]
    .map(str::to_owned)
    .into();
    addresses.push(format!("{}@x.org", "a".repeat(65)));
    addresses.push(format!("a@{}.org", "x".repeat(64)));
    let too_long = format!("{}@{}.{}.{}.example", "a".repeat(64), "x".repeat(60), "y".repeat(60), "z".repeat(60));
    assert_eq!(too_long.len(), 255);
    addresses.push(too_long);
    addresses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_address_is_refused_and_nothing_is_sent() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    for address in hostile() {
        let answer = world.ask(&bob, request("s", &address, 1)).await;
        let body = answer.refused(400, "M_INVALID_EMAIL");
        assert!(body.get("address").is_none() && body.get("medium").is_none(), "{answer}");
        let form = [("client_secret", "s"), ("email", &address), ("send_attempt", "1")];
        let call = world.api.request(hyper::Method::POST, &v2("/validate/email/requestToken")).bearer(&bob);
        call.form(&form).send().await.refused(400, "M_INVALID_EMAIL");
    }
    assert_eq!(world.mail.connections(), 0, "the relay was not even called");

    let longest = format!("{}@{}.{}.{}.example", "a".repeat(64), "x".repeat(60), "y".repeat(60), "z".repeat(59));
    for (n, address) in [longest.as_str(), "a@b", "#$&'*+-/=?^_`{|}~@x.org", "o'neil+x@x.org"].into_iter().enumerate() {
        world.ask(&bob, request("s", address, 1)).await.expect(200);
        let mail = world.mail.wait_for(address, 1, DEADLINE).await;
        assert_eq!((mail.to.len(), mail.message().header("To"), world.mail.mails().len()), (1, Some(address), n + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_ascii_gets_its_mail_as_it_was_typed() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, "Bob.Miller+Matrix@EXAMPLE.com").await;
    world.submit(&bob, session.submission()).await.expect(200);
    let validated = world.validated(&bob, &session).await.expect(200);
    assert_eq!(validated["address"], "bob.miller+matrix@example.com");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_alike_gets_no_mail_of_its_own_and_is_one_address_with_its_ascii_form() {
    for (typed, canonical) in [
        ("mi\u{212A}e@x.org", "mike@x.org"),
        ("mike@\u{212A}.org", "mike@k.org"),
        ("\u{17F}am@x.org", "sam@x.org"),
        ("Strauß@Example.com", "strauss@example.com"),
        ("\u{1E9E}@x.org", "ss@x.org"),
        ("x@straße.example", "x@strasse.example"),
        ("\u{FB00}@x.org", "ff@x.org"),
    ] {
        let world = World::start().await;
        let (bob, eve) = (world.register("@bob:hs.example").await, world.register("@eve:hs.example").await);
        let sid = world.ask(&bob, request("s", typed, 1)).await.expect(200)["sid"].clone();
        assert_eq!(world.mail.mails()[0].to, [canonical], "{typed}");
        assert_eq!(world.mail.mails()[0].message().header("To"), Some(canonical), "{typed}");
        assert_eq!(world.ask(&bob, request("s", canonical, 1)).await.expect(200)["sid"], sid, "{typed}");
        assert_eq!(world.mail.mails().len(), 1, "{typed}: one session");

        world.bind(&bob, "@bob:hs.example", canonical).await;
        let sent = world.mail.mails_to(canonical).len();
        let sid = world.ask(&eve, request("e", typed, 1)).await.expect(200)["sid"].clone();
        let token = world.mail.wait_for(canonical, sent + 1, DEADLINE).await.message().validation_parameter("token");
        let submission = json!({ "sid": sid, "client_secret": "e", "token": token });
        world.submit(&eve, submission).await.expect(200);
        let bind = json!({ "sid": sid, "client_secret": "e", "mxid": "@eve:hs.example" });
        let association = world.api.post(&v2("/3pid/bind"), bind).bearer(&eve).send().await.expect(200);
        assert_eq!(association["address"], canonical, "{typed}");
        let found = world.look_up(&bob, canonical, "email").await;
        assert_eq!(found.as_deref(), Some("@eve:hs.example"), "{typed}: one binding");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_domains_that_the_operator_wants_get_mail() {
    let email = r#"
        allow_domains = ["example.com", "*.example.org", "bücher.example"]
        deny_domains = ["bad.example.org"]
    "#;
    let world = World::with(Settings { email, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    for address in [
        "a@example.net",
        "a@example.org",
        "a@bad.example.org",
        "a@BAD.Example.org",
        "a@example.com.evil.org",
        "example.com@evil.org",
        "a@notexample.com",
    ] {
        world.ask(&bob, request("s", address, 1)).await.refused(400, "M_INVALID_EMAIL");
    }
    assert_eq!(world.mail.connections(), 0);
    for (address, to) in [
        ("a@example.com", "a@example.com"),
        ("a@EXAMPLE.com", "a@EXAMPLE.com"),
        ("a@mail.example.org", "a@mail.example.org"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
        ("b@bücher.example", "b@xn--bcher-kva.example"),
    ] {
        world.ask(&bob, request(&to.replace('@', "-"), address, 1)).await.expect(200);
        assert_eq!(world.mail.mails_to(to).len(), 1, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mail_every_request_for_one_is_refused() {
    let world = World::with(Settings { email: "enabled = false", ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    world.ask(&bob, request("s", "bob@example.com", 1)).await.refused(400, "M_EMAIL_SEND_ERROR");
    world.ask(&bob, request("s", "root", 1)).await.refused(400, "M_INVALID_EMAIL");
    assert_eq!(world.mail.connections(), 0);
    // All else goes on.
    let account = world.api.get(&v2("/account")).bearer(&bob).send().await.expect(200);
    assert_eq!(account, json!({ "user_id": "@bob:hs.example" }));
}
