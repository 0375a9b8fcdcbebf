//! The whole way of an invitation: stored, mailed, followed, signed, checked by a homeserver, bound.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ruma_signatures::PublicKeyMap;
use serde_json::{Value, json};

use super::{
    ALICE, BOB, EPHEMERAL, LONG_TERM, NO_LIMITS, ROOM, invitation, invite, is_valid, subject, with, world_with,
};
use harness::world::identity::{DEADLINE, databases, v2};

/// Checks the signature under the server's name as a homeserver does, with an implementation that is not ours.
fn verify(signed: &Value, server: &str, key_id: &str, public_key: &str) {
    let bytes = URL_SAFE_NO_PAD.decode(public_key).or_else(|_| STANDARD_NO_PAD.decode(public_key)).expect("base64");
    let mut keys = PublicKeyMap::new();
    keys.entry(server.to_owned()).or_default().insert(key_id.to_owned(), ruma_common::serde::Base64::new(bytes));
    let object = serde_json::from_value(signed.clone()).expect("canonical JSON");
    ruma_signatures::verify_json(&keys, &object).expect("a good signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invited_user_follows_the_link_and_joins_with_the_signature() {
    for database in databases().await {
        let (world, alice) = world_with(&format!("{NO_LIMITS}{database}")).await;
        let body = with(
            BOB,
            json!({ "room_name": "Tea", "sender_display_name": "Alice", "room_avatar_url": null, "room_type": null,
                    "org.matrix.web_client_location": null, "unknown": { "x": 1 } }),
        );
        let invited = invite(&world, &alice, body).await;

        // What the homeserver puts into the room.
        let base = world.server.url();
        let long_term = world.api.get(&v2("/pubkey/ed25519:0")).send().await.expect(200)["public_key"].clone();
        let answer = json!({
            "token": invited.token(),
            "public_key": long_term,
            "public_keys": [
                { "public_key": long_term, "key_validity_url": format!("{base}/_matrix/identity/v2/pubkey/isvalid") },
                { "public_key": invited.public_key(),
                  "key_validity_url": format!("{base}/_matrix/identity/v2/pubkey/ephemeral/isvalid") },
            ],
            "display_name": "b...@exa...",
        });
        assert_eq!(invited.answer, answer);
        assert!(invited.token().len() == 64 && invited.token().bytes().all(|b| b.is_ascii_alphanumeric()));
        assert!(is_valid(&world, EPHEMERAL, invited.public_key()).await);
        assert!(is_valid(&world, LONG_TERM, long_term.as_str().unwrap()).await);
        assert!(!is_valid(&world, LONG_TERM, invited.public_key()).await);
        assert!(!is_valid(&world, EPHEMERAL, long_term.as_str().unwrap()).await);

        // What the invited person gets.
        let mail = world.mail.wait_for(BOB, 1, DEADLINE).await.message();
        assert_eq!(subject(&mail), "Alice has invited you to chat");
        assert!(
            mail.text().contains("Alice (@alice:hs.example) has invited you to the room \"Tea\""),
            "{}",
            mail.text()
        );
        let link = &invited.link;
        assert!(
            link.whole
                .as_str()
                .starts_with("https://app.element.io/#/room/%21room%3Ahs.example?email=bob%40example.com&signurl=")
        );
        assert_eq!(link.room_id, ROOM);
        assert_eq!((link.parameters["room_name"].as_str(), link.parameters["inviter_name"].as_str()), ("Tea", "Alice"));
        let v1 = format!("{base}/_matrix/identity/api/v1/sign-ed25519?token={}&private_key=", invited.token());
        assert!(link.signurl().as_str().starts_with(&v1), "{}", link.signurl());

        // The client has the join signed: everything in the query, no account, the body `null`.
        let call = world.api.post(&link.sign_path(), Value::Null).query("mxid", "@bob:other.example");
        let signed = call.send().await.expect(200);
        assert_eq!(
            (&signed["mxid"], &signed["sender"], &signed["token"]),
            (&json!("@bob:other.example"), &json!(ALICE), &json!(invited.token()))
        );
        assert_eq!(signed.as_object().unwrap().len(), 4);
        let server = base.strip_prefix("http://").unwrap();
        let by_us = signed["signatures"].as_object().unwrap();
        assert_eq!((by_us.len(), by_us[server].as_object().unwrap().len()), (1, 1));
        verify(&signed, server, "ed25519:0", invited.public_key());

        // The response to bind holds no invitations, and their key stays valid for joins.
        let bob = world.register("@bob:hs.example").await;
        let association = world.bind(&bob, "@bob:hs.example", BOB).await;
        assert!(association.get("invites").is_none() && association.as_object().unwrap().len() == 7, "{association}");
        assert!(is_valid(&world, EPHEMERAL, invited.public_key()).await);
        let again = super::store(&world, &alice, invitation(BOB)).await;
        let expected =
            json!({ "errcode": "M_THREEPID_IN_USE", "error": "Binding already known", "mxid": "@bob:hs.example" });
        assert_eq!(again.expect(400), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_invitation_has_a_token_and_a_key_of_its_own() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let first = invite(&world, &alice, invitation(BOB)).await;
    let second = invite(&world, &alice, invitation(BOB)).await;
    assert_ne!(first.token(), second.token());
    assert_ne!(first.public_key(), second.public_key());
    let sign = async |body: Value| world.api.post(&v2("/sign-ed25519"), body).bearer(&alice).send().await;
    let mut crossed = first.link.to_sign("@bob:hs.example");
    sign(crossed.clone()).await.expect(200);
    crossed["private_key"] = second.link.to_sign("@bob:hs.example")["private_key"].clone();
    sign(crossed).await.refused(400, "M_INVALID_PARAM");
    for invited in [&first, &second] {
        assert!(is_valid(&world, EPHEMERAL, invited.public_key()).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_see_of_the_address_is_what_the_operator_allows() {
    for (tables, address, shown) in [
        ("", "alice@example.com", "ali...@exa..."),
        ("", "A@b", "...@..."),
        (
            "[invites]\nshow_local_chars = 6\nshow_domain_chars = 8\n",
            "1234567890@1234567890.com",
            "123456...@12345678...",
        ),
        ("[invites]\nfull_display_name = true\n", "Alice@Example.com", "Alice@Example.com"),
    ] {
        let (world, alice) = world_with(tables).await;
        let answer = store_ok(&world, &alice, address).await;
        assert_eq!(answer["display_name"], shown, "{address}");
    }
}

async fn store_ok(world: &harness::world::identity::World, access_token: &str, address: &str) -> Value {
    super::store(world, access_token, invitation(address)).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_goes_to_the_address_as_typed_or_to_what_a_look_alike_folds_to() {
    let (world, alice) = world_with(NO_LIMITS).await;
    for (typed, recipient) in [("Bob@Example.com", "Bob@Example.com"), ("mi\u{212A}e@x.org", "mike@x.org")] {
        store_ok(&world, &alice, typed).await;
        let mail = world.mail.wait_for(recipient, 1, DEADLINE).await;
        assert_eq!(mail.to, [recipient]);
        assert_eq!(mail.message().header("to"), Some(recipient));
    }
    assert_eq!(world.mail.mails().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_space_is_called_a_space_and_brand_and_language_choose_the_text() {
    let templates = tempfile::tempdir().unwrap();
    for (path, text) in [
        (
            "acme/invite_template.eml",
            "Subject: %(subject_header_value)s\nContent-Type: text/plain\n\n%(room_name)s %(bracketed_verified_sender)sat Acme",
        ),
        ("acme/de/invite_template.eml.j2", "{{ sender_display_name }} lädt ein"),
    ] {
        let path = templates.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let tables = format!(
        "{NO_LIMITS}[templates]\ndir = {:?}\n[invites]\nsubject = \"{{sender_display_name}} → {{room_name}}\"\nsubject_space = \"Space {{room_name}}\"\n",
        templates.path()
    );
    let (world, alice) = world_with(&tables).await;
    let mut number = 0;
    let mut mail = async |query: &[(&str, &str)], language: &str, room_type: &str| {
        number += 1;
        let address = format!("b{number}@example.com");
        let body =
            with(&address, json!({ "room_name": "Tea", "sender_display_name": "Alice", "room_type": room_type }));
        let mut call = world.api.post(&v2("/store-invite"), body).bearer(&alice).header("accept-language", language);
        for (name, value) in query {
            call = call.query(name, value);
        }
        call.send().await.expect(200);
        world.mail.wait_for(&address, 1, DEADLINE).await.message()
    };
    let plain = mail(&[], "de", "").await;
    assert_eq!(subject(&plain), "Alice → Tea");
    assert!(plain.text().contains("den Raum „Tea“") && plain.html().contains("Dem Raum beitreten"), "{plain:#?}");
    assert_eq!(plain.header("content-language"), Some("de"));
    let space = mail(&[("brand", "../acme")], "", "m.space").await;
    assert_eq!(subject(&space), "Space Tea");
    assert!(space.text().contains("the space \"Tea\"") && space.html().contains("Join the space"));
    let acme = mail(&[("brand", "acme")], "fr", "").await;
    assert_eq!((subject(&acme), acme.text().trim()), ("Alice → Tea", "Tea (@alice:hs.example) at Acme"));
    for german in
        [mail(&[("brand", "acme"), ("lang", "de")], "", "").await, mail(&[("brand", "acme")], "de-AT", "").await]
    {
        assert_eq!((subject(&german), german.text().trim()), ("Alice → Tea", "Alice lädt ein"));
    }
}
