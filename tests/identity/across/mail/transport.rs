//! TLS, login and addresses between the server and its relay, and the form of the mail.

use harness::certificates::{Authority, Certificate};
use harness::mail::{Offer, Script, Stage, Tls};

use super::{BOB, heard, request};
use harness::world::identity::{DEADLINE, Settings, World};

const WAYS: [Tls; 3] = [Tls::None, Tls::StartTls, Tls::Implicit];

async fn world(offer: Offer, email: &str) -> (World, String) {
    let tables = "[limits]\nenabled = false";
    let one_process = Some("the connections of a process to the relay");
    let world = World::with(Settings { mail: offer, email, tables, one_process, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    (world, bob)
}

fn credentials() -> Option<(String, String)> {
    Some(("mailer".to_owned(), "pass word".to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_out_in_each_way_that_tls_may_come_about() {
    for tls in WAYS {
        let (world, bob) = world(Offer { tls, ..Offer::default() }, "helo_name = \"id.example\"").await;
        world.ask(&bob, request("s", BOB)).await.expect(200);
        world.ask(&bob, request("t", BOB)).await.expect(200);
        let mails = world.mail.mails_to(BOB);
        assert_eq!(mails.len(), 2, "{tls:?}");
        for mail in mails {
            assert_eq!((mail.tls, mail.hello.as_str()), (tls != Tls::None, "id.example"), "{tls:?}");
        }
        assert_eq!(world.mail.connections(), 1, "{tls:?}: the connection is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_with_a_bad_certificate_gets_neither_mail_nor_login() {
    for tls in [Tls::StartTls, Tls::Implicit] {
        let offer = Offer { tls, credentials: credentials(), ..Offer::default() };
        let (world, bob) = world(offer, "username = \"mailer\"\npassword = \"pass word\"").await;
        let trusted = world.mail.authority();
        let bad = [
            ("self-signed", Certificate::self_signed(&["localhost"])),
            ("of another name", trusted.issue(&["mail.example"])),
            ("of a wildcard for another name", trusted.issue(&["*.localhost"])),
            ("expired", trusted.issue_expired(&["localhost"])),
            ("not valid yet", trusted.issue_early(&["localhost"])),
            ("of an untrusted authority", Authority::new("another one").issue(&["localhost"])),
        ];
        for (n, (certificate, presented)) in bad.iter().enumerate() {
            world.mail.set_certificate(presented);
            let answer = world.ask(&bob, request(&format!("s{n}"), &format!("{n}@example.com"))).await;
            assert_eq!(answer.json()["errcode"], "M_EMAIL_SEND_ERROR", "{tls:?}, {certificate}: {answer}");
            assert_eq!(answer.code(), 400, "{tls:?}, {certificate}: {answer}");
            assert_eq!(world.mail.connections(), n + 1, "{tls:?}, {certificate}: it was tried");
        }
        assert!(!heard(&world, "MAIL") && !heard(&world, "AUTH"), "{tls:?}: {:?}", world.mail.commands());

        world.mail.set_certificate(&trusted.issue(&["localhost"]));
        world.ask(&bob, request("good", BOB)).await.expect(200);
        assert!(world.mail.mails_to(BOB)[0].tls, "{tls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_from_which_starttls_was_removed_is_refused() {
    let offer = Offer { tls: Tls::StartTls, credentials: credentials(), ..Offer::default() };
    let (world, bob) = world(offer.clone(), "username = \"mailer\"\npassword = \"pass word\"").await;
    world.mail.set_offer(Offer { tls: Tls::None, ..offer.clone() });
    world.ask(&bob, request("s", BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
    assert!(heard(&world, "EHLO"), "it was tried");
    // The same if the relay offers STARTTLS and then rejects it.
    world.mail.set_offer(offer.clone());
    world.mail.script(Stage::StartTls, [Script::say("502 5.5.1 not today"), Script::Close]);
    world.ask(&bob, request("s", BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
    world.ask(&bob, request("s", BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
    assert!(!heard(&world, "MAIL") && !heard(&world, "AUTH"), "{:?}", world.mail.commands());

    world.ask(&bob, request("s", BOB)).await.expect(200);
    assert!(world.mail.mails_to(BOB)[0].tls);
}

#[tokio::test(flavor = "multi_thread")]
async fn login_is_by_name_and_password() {
    for tls in WAYS {
        let offer = Offer { tls, credentials: credentials(), ..Offer::default() };
        let (right, bob) = world(offer.clone(), "username = \"mailer\"\npassword = \"pass word\"").await;
        right.ask(&bob, request("s", BOB)).await.expect(200);
        assert_eq!(right.mail.mails_to(BOB)[0].user.as_deref(), Some("mailer"), "{tls:?}");

        for login in ["username = \"mailer\"\npassword = \"wrong\"", "username = \"else\"\npassword = \"pass word\""] {
            let (wrong, bob) = world(offer.clone(), login).await;
            wrong.ask(&bob, request("s", BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
            assert!(heard(&wrong, "AUTH") && !heard(&wrong, "MAIL"), "{tls:?}");
            // The operator must see it: no mail is sent at all.
            wrong.server.wait_for_log("login failed with reply 535", DEADLINE).await;
        }
    }
    let (world, bob) = world(Offer::default(), "username = \"mailer\"\npassword = \"pass word\"").await;
    world.ask(&bob, request("s", BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
    assert!(!heard(&world, "MAIL"), "a relay without login is not the one that was meant");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_local_part_in_other_letters_needs_a_relay_that_can_carry_it() {
    let (world, bob) = world(Offer { smtputf8: false, ..Offer::default() }, "").await;
    world.ask(&bob, request("s", "jürgen@example.com")).await.refused(400, "M_INVALID_EMAIL");
    world.ask(&bob, request("s", "jürgen@bücher.example")).await.refused(400, "M_INVALID_EMAIL");
    assert_eq!(world.mail.mails().len(), 0);
    // A domain requires no extension of the relay.
    world.ask(&bob, request("s", "bob@Bücher.example")).await.expect(200);
    let mail = world.mail.wait_for("bob@xn--bcher-kva.example", 1, DEADLINE).await;
    assert_eq!((mail.to.len(), mail.parameters.iter().any(|p| p == "SMTPUTF8")), (1, false));
    assert_eq!(mail.message().header("To"), Some("bob@xn--bcher-kva.example"));
    let head = mail.raw.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a header");
    assert!(mail.raw[..head].is_ascii(), "{mail:?}");

    world.mail.set_offer(Offer::default());
    // The open connection does not have the new offer; a closed one is replaced at once, for the same mail.
    world.mail.script(Stage::Mail, [Script::Close]);
    world.ask(&bob, request("t", "x@example.com")).await.expect(200);
    world.ask(&bob, request("s", "Jürgen@example.com")).await.expect(200);
    let mail = world.mail.wait_for("jürgen@example.com", 1, DEADLINE).await;
    assert!(mail.parameters.iter().any(|parameter| parameter == "SMTPUTF8"), "{mail:?}");
    assert_eq!(mail.message().header("To"), Some("jürgen@example.com"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_relay_without_extensions_gets_mail_too() {
    let offer = Offer { ehlo: false, smtputf8: false, eight_bit_mime: false, ..Offer::default() };
    let (world, bob) = world(offer, "from = \"Identität <id@bücher.example>\"").await;
    world.ask(&bob, request("s", BOB)).await.expect(200);
    let mail = world.mail.wait_for(BOB, 1, DEADLINE).await;
    assert!(mail.raw.is_ascii() && mail.parameters.is_empty());
    assert!(heard(&world, "EHLO") && heard(&world, "HELO"));
    assert_eq!(mail.from, "id@xn--bcher-kva.example");
    assert_eq!(mail.message().header("From"), Some("Identität <id@xn--bcher-kva.example>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_has_all_its_fields_and_says_the_same_in_text_and_html() {
    let (world, bob) = world(Offer::default(), "from = \"Matrix <id@example.org>\"").await;
    let session = world.request_token(&bob, BOB).await;
    let mail = world.mail.mails().remove(0);
    assert_eq!((mail.from.as_str(), mail.to.as_slice()), ("id@example.org", [BOB.to_owned()].as_slice()));
    let message = mail.message();
    for (name, value) in [
        ("From", "Matrix <id@example.org>"),
        ("To", BOB),
        ("Subject", "Confirm your email address for Matrix"),
        ("MIME-Version", "1.0"),
        ("Auto-Submitted", "auto-generated"),
    ] {
        assert_eq!(message.header(name), Some(value), "{message:#?}");
    }
    assert!(message.header("Date").is_some_and(|date| date.ends_with(" +0000")), "{message:#?}");
    assert!(message.header("Content-Type").is_some_and(|kind| kind.starts_with("multipart/alternative;")));
    for text in [message.text(), message.html()] {
        assert!(text.contains(&session.token) && text.contains("127.0.0.1"), "{text}");
    }
    assert_eq!(message.links().len(), 2, "one in each part, and no other: {message:#?}");
    let link = message.validation_link();
    assert_eq!(link.as_str(), format!("{}{}", world.server.url(), session.link()));

    world.request_token(&bob, BOB).await;
    let other = world.mail.mails().remove(1).message();
    for name in ["Message-ID", "Content-Type"] {
        assert_ne!(message.header(name).unwrap(), other.header(name).unwrap(), "{name} is new in each mail");
    }
    let id = message.header("Message-ID").unwrap();
    assert!(id.starts_with('<') && id.ends_with("@example.org>"), "{id}");
}
