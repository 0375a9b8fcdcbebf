//! "Do not invite me again": the link in an invitation.
//!
//! Invariant: the sender of a blocked invitation gets the same response as before.

use harness::mail::Mail;
use harness::world::identity::{DEADLINE, SQLITE, Settings, World, databases, v2};
use hyper::Method;
use serde_json::{Value, json};
use url::Url;

use super::{BOB, NO_LIMITS, invitation, is_valid, world_with};

/// The address of the link, relative to the server, and its token.
fn block_link(mail: &Mail) -> (String, String) {
    let message = mail.message();
    let links: Vec<Url> = message.links().into_iter().filter(|link| link.path().ends_with("/invites/block")).collect();
    assert!(links.len() == 2 && links[0] == links[1], "one in each part: {message:#?}");
    let token = links[0].query_pairs().find(|(name, _)| name == "token").expect("a token").1.into_owned();
    (links[0][url::Position::BeforePath..].to_owned(), token)
}

async fn invite(world: &World, sender: &str, access_token: &str, address: &str) -> Value {
    let mut body = invitation(address);
    body["sender"] = json!(sender);
    world.api.post(&v2("/store-invite"), body).bearer(access_token).send().await.expect(200)
}

async fn press(world: &World, token: &str, scope: &str) -> harness::api::Answer {
    let call = world.api.request(Method::POST, "/_identity/v1/invites/block");
    call.form(&[("token", token), ("scope", scope), ("lang", "de")]).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_blocks_a_sender_or_all_and_the_sender_learns_nothing() {
    for database in databases().await {
        let world = World::with(Settings { tables: &format!("{database}{NO_LIMITS}"), ..Settings::default() }).await;
        let (alice, eve) = (world.register("@alice:hs.example").await, world.register("@eve:hs.example").await);
        let open = invite(&world, "@alice:hs.example", &alice, BOB).await;
        let (path, token) = block_link(&world.mail.wait_for(BOB, 1, DEADLINE).await);
        assert!(!path.contains("bob") && !path.contains("alice"), "{path}");

        // Scanners open and preload the link.
        for method in [Method::GET, Method::HEAD] {
            let page = world.api.request(method.clone(), &path).send().await;
            assert_eq!(page.code(), 200, "{page}");
            if method == Method::GET {
                for text in
                    ["<bdi>@alice:hs.example</bdi>", "<bdi>b...@exa...</bdi>", "value=\"sender\"", "value=\"all\""]
                {
                    assert!(page.text().contains(text), "{text}: {page}");
                }
                assert_eq!(page.header("cache-control"), Some("no-store"));
            }
        }
        invite(&world, "@alice:hs.example", &alice, BOB).await;
        world.mail.wait_for(BOB, 2, DEADLINE).await;

        let page = press(&world, &token, "sender").await;
        assert!(page.code() == 200 && page.text().contains("<h1>Erledigt</h1>"), "{page}");
        let blocked = invite(&world, "@alice:hs.example", &alice, "BOB@example.com").await;
        assert_eq!(keys(&blocked), keys(&open));
        assert_eq!(blocked["display_name"], "B...@exa...");
        assert_eq!(blocked["public_key"], open["public_key"]);
        let key = blocked["public_keys"][1]["public_key"].as_str().expect("a key");
        assert!(is_valid(&world, "/pubkey/ephemeral/isvalid", key).await, "homeservers check the key");

        // The block is about this sender and this address.
        invite(&world, "@eve:hs.example", &eve, BOB).await;
        world.mail.wait_for(BOB, 3, DEADLINE).await;
        invite(&world, "@alice:hs.example", &alice, "rob@example.com").await;
        world.mail.wait_for("rob@example.com", 1, DEADLINE).await;
        assert_eq!(world.mail.mails_to("BOB@example.com").len(), 0);

        let page = press(&world, &token, "all").await;
        assert!(page.code() == 200 && page.text().contains("b...@exa..."), "{page}");
        invite(&world, "@eve:hs.example", &eve, BOB).await;
        invite(&world, "@eve:hs.example", &eve, "rob@example.com").await;
        world.mail.wait_for("rob@example.com", 2, DEADLINE).await;
        assert_eq!(world.mail.mails_to(BOB).len(), 3);
    }
}

fn keys(answer: &Value) -> Vec<&String> {
    answer.as_object().expect("an object").keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_link_blocks_nothing_and_the_operator_allows_an_address_again() {
    let (world, alice) = world_with(&format!("{SQLITE}{NO_LIMITS}")).await;
    invite(&world, "@alice:hs.example", &alice, BOB).await;
    let (path, token) = block_link(&world.mail.wait_for(BOB, 1, DEADLINE).await);
    let changed = format!("{}{}", &token[..token.len() - 2], if token.ends_with("AA") { "BB" } else { "AA" });
    for wrong in ["", "x", "!", &changed, &"A".repeat(2000)] {
        let page = world.api.get(&path.replace(&token, wrong)).send().await;
        assert!(page.code() == 400 && page.text().contains("<h1>This link is not valid</h1>"), "{wrong}: {page}");
        assert_eq!(press(&world, wrong, "all").await.code(), 400, "{wrong}");
    }
    assert_eq!(press(&world, &token, "everything").await.code(), 400);
    let odd = "\"><script>alert(1)</script>";
    let page = world.api.get(&path).query("lang", odd).send().await;
    assert!(page.code() == 200 && !page.text().contains("<script"), "{page}");
    invite(&world, "@alice:hs.example", &alice, BOB).await;
    world.mail.wait_for(BOB, 2, DEADLINE).await;

    assert_eq!(press(&world, &token, "all").await.code(), 200);
    invite(&world, "@alice:hs.example", &alice, BOB).await;
    assert_eq!(world.mail.mails_to(BOB).len(), 2);
    for said in ["allowed again", "was not blocked"] {
        let output = world.server.run(&["invites", "unblock", "--address", "Bob@example.com"]).await;
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), said, "{output:?}");
    }
    invite(&world, "@alice:hs.example", &alice, BOB).await;
    world.mail.wait_for(BOB, 3, DEADLINE).await;
}
