//! Where the link in the mail leads: the operator's client, or one that the operator has listed.

use serde_json::json;

use super::{BOB, NO_LIMITS, invitation, invite, with, world_with};

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_chooses_among_the_clients_that_are_listed_and_no_other() {
    let tables = format!(
        "{NO_LIMITS}[invites]\nweb_client = \"https://chat.example.org/element/\"\n\
         web_client_allowlist = [\"https://app.example\", \"https://b.example:8443\"]\n"
    );
    let (world, alice) = world_with(&tables).await;
    let default = "https://chat.example.org/element/#/room/";
    let invited = invite(&world, &alice, invitation(BOB)).await;
    assert!(invited.link.whole.as_str().starts_with(default), "{}", invited.link.whole);
    for (asked, start) in [
        ("https://app.example", "https://app.example/#/room/"),
        ("https://app.example/", "https://app.example/#/room/"),
        ("https://b.example:8443", "https://b.example:8443/#/room/"),
        ("", default),
        ("javascript:alert(1)//", default),
        ("javascript:alert(1)//https://app.example", default),
        ("data:text/html,<script>", default),
        ("https://evil", default),
        ("https://app.example.evil", default),
        ("https://app.example@evil", default),
        ("https://app.example/path", default),
        ("https://app.example#", default),
        ("https://app.example?", default),
        ("http://app.example", default),
        ("https://app.example:8443", default),
        ("https://\u{430}pp.example", default),
        ("https://xn--pp-6kc.example", default),
        ("https:\\\\app.example", default),
        ("//app.example", default),
        ("https://app.example\r\nBcc: x@y", default),
        ("\"><a href=https://evil>", default),
    ] {
        let invited = invite(&world, &alice, with(BOB, json!({ "org.matrix.web_client_location": asked }))).await;
        assert!(invited.link.whole.as_str().starts_with(start), "{asked:?}: {}", invited.link.whole);
        let mail = world.mail.mails().pop().unwrap().message();
        for text in [mail.text(), mail.html()] {
            assert!(!text.contains("evil") && !text.contains("javascript:"), "{asked:?}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_client_needs_stands_in_the_link_as_it_was_said() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let said = json!({
        "room_name": "Tea & \"Biscuits\" #1?", "sender_display_name": "Alice Ä=1", "room_avatar_url": "mxc://hs.example/a?b",
        "guest_access_token": "g&1", "guest_user_id": "@1:hs.example", "room_type": "m.space",
    });
    let link = invite(&world, &alice, with(BOB, said)).await.link;
    for (name, value) in [
        ("email", BOB),
        ("room_name", "Tea & \"Biscuits\" #1?"),
        ("inviter_name", "Alice Ä=1"),
        ("room_avatar_url", "mxc://hs.example/a?b"),
        ("guest_access_token", "g&1"),
        ("guest_user_id", "@1:hs.example"),
        ("room_type", "m.space"),
    ] {
        assert_eq!(link.parameters[name], value, "{name}");
    }
    assert_eq!(link.parameters.len(), 8, "{:?}", link.parameters);
}
