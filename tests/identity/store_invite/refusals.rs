//! What `store-invite` refuses, in which order, and that nothing is left of it.
//!
//! Invariant: a request that is refused for one reason would also be refused for every later one, where that can be.

use harness::process::Server;
use serde_json::{Value, json};

use super::{ALICE, BOB, NO_LIMITS, ROOM, invitation, store, with, world_with};
use crate::identity::validate_email::addresses::hostile;
use harness::world::identity::{Settings, World, v2};

/// How many rows the server's database has in `table`.
pub(super) fn rows(server: &Server, table: &str) -> i64 {
    let query = format!("select count(*) from {table}");
    let config =
        std::fs::read_to_string(server.folder().join("config.toml")).expect("the settings of a running server");
    let url = config.lines().find_map(|line| line.strip_prefix("url = \"")?.strip_suffix('"'));
    let Some(url) = url.filter(|url| url.starts_with("postgres")) else {
        let database =
            rusqlite::Connection::open(server.folder().join("data/identity.db")).expect("an SQLite database");
        return database.query_row(&query, [], |row| row.get(0)).expect("a number");
    };
    let count = async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("the database");
        tokio::spawn(connection);
        client.query_typed_one(&query, &[]).await.expect("a table").get(0)
    };
    // A runtime must not be dropped in another one.
    let count =
        || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(count);
    std::thread::scope(|scope| scope.spawn(count).join().expect("no panic"))
}

fn nothing_is_left(world: &World, what: &str) {
    let left = ["invites", "ephemeral_keys", "outgoing_mails"].map(|table| rows(&world.server, table));
    assert_eq!((left, world.mail.mails().len()), ([0, 0, 0], 0), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_a_wrong_form_is_refused_and_null_is_none() {
    let (world, alice) = world_with(NO_LIMITS).await;
    let long = "x".repeat(1025);
    let mut wrong = vec![
        ("room_id", json!("")),
        ("room_id", json!("!r hs")),
        ("room_id", json!("!r\n")),
        ("room_id", json!("!".repeat(256))),
        ("sender", json!("alice")),
        ("sender", json!("@x:y:hs.example")),
        ("sender", json!("@alice:hs\n")),
    ];
    for name in [
        "room_alias",
        "room_avatar_url",
        "room_join_rules",
        "room_type",
        "sender_avatar_url",
        "guest_user_id",
        "guest_access_token",
        "org.matrix.web_client_location",
    ] {
        wrong.push((name, json!(long)));
        wrong.extend([json!(5), json!(1.5), json!(true), json!(["x"]), json!({})].map(|value| (name, value)));
    }
    for name in ["room_name", "sender_display_name"] {
        wrong.extend([json!(5), json!(["x"])].map(|value| (name, value)));
    }
    for (name, value) in wrong {
        store(&world, &alice, with(BOB, json!({ name: value }))).await.refused(400, "M_INVALID_PARAM");
        nothing_is_left(&world, name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_address_is_refused_and_nothing_is_sent() {
    let (world, alice) = world_with(NO_LIMITS).await;
    for address in hostile() {
        store(&world, &alice, invitation(&address)).await.refused(400, "M_INVALID_EMAIL");
    }
    for medium in ["msisdn", "Email", "", "mxid", "email\n"] {
        let body = with(BOB, json!({ "medium": medium }));
        store(&world, &alice, body).await.refused(400, "M_UNRECOGNIZED");
    }
    nothing_is_left(&world, "hostile addresses");
}

/// The refusals in their order: what makes a request run into each.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_reason_that_applies_is_returned() {
    let tables = "[invites]\nblocked_rooms = [\"!spam*\"]\n[limits]\ninvite_per_room = { burst = 1, every = \"1h\" }\n";
    let settings = Settings { tables, email: "deny_domains = [\"denied.example\"]", ..Settings::default() };
    let world = World::with(settings).await;
    let alice = world.register(ALICE).await;
    let bob = world.register("@bob:hs.example").await;
    world.bind(&bob, "@bob:hs.example", BOB).await;
    store(&world, &alice, with("first@example.com", json!({ "room_id": "!full:hs.example" }))).await.expect(200);
    let mails = world.mail.mails().len();

    let everything =
        json!({ "medium": "email", "address": BOB, "room_id": "!spam:hs.example", "sender": "@carol:hs.example" });
    for (change, status, errcode) in [
        (json!({}), 403, "M_UNAUTHORIZED"),
        (json!({ "sender": ALICE }), 403, "M_UNAUTHORIZED"),
        (json!({ "sender": ALICE, "room_id": "!full:hs.example" }), 429, "M_LIMIT_EXCEEDED"),
        (json!({ "sender": ALICE, "room_id": ROOM }), 400, "M_THREEPID_IN_USE"),
        (
            json!({ "sender": ALICE, "room_id": ROOM, "address": "+447700900001", "medium": "msisdn" }),
            400,
            "M_UNRECOGNIZED",
        ),
        (json!({ "sender": ALICE, "room_id": ROOM, "address": "nowhere" }), 400, "M_INVALID_EMAIL"),
        (json!({ "sender": ALICE, "room_id": ROOM, "address": "x@denied.example" }), 400, "M_INVALID_EMAIL"),
    ] {
        let mut body = everything.clone();
        change.as_object().unwrap().iter().for_each(|(name, value)| body[name] = value.clone());
        let refusal = store(&world, &alice, body.clone()).await.refused(status, errcode);
        assert!(refusal.get("medium").is_none() && refusal.get("address").is_none(), "{refusal}");
        if errcode == "M_THREEPID_IN_USE" {
            assert_eq!(refusal["mxid"], "@bob:hs.example");
        }
    }
    assert_eq!((rows(&world.server, "invites"), world.mail.mails().len()), (1, mails));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_who_may_invite_where_and_in_which_words() {
    let tables = format!(
        "{NO_LIMITS}[invites]\nallow_senders = [\"@*:hs.example\"]\nblocked_homeservers = [\"*.bad.example\"]\n\
         blocked_rooms = [\"!spam*\"]\nblocked_keywords = [\"CASINO\", \"straße\", \"https://\"]\n"
    );
    let (world, alice) = world_with(&tables).await;
    let blocked: Vec<Value> = [
        json!({ "room_id": "!SPAM:hs.example" }),
        json!({ "room_name": "the Casino" }),
        json!({ "sender_display_name": "Hauptstrasse 1" }),
        json!({ "sender_display_name": format!("{}casino", "x".repeat(2_000)) }),
        json!({ "room_alias": "#casino:hs" }),
        json!({ "room_avatar_url": "https://x" }),
        json!({ "room_id": "!casino:hs" }),
        json!({ "address": "casino@example.com" }),
        json!({ "address": "casino" }),
        json!({ "medium": "casino" }),
        json!({ "guest_access_token": "casino" }),
        json!({ "org.matrix.web_client_location": "https://casino.example" }),
        json!({ "org.matrix.web_client_location": "https://x.example/https://" }),
    ]
    .into();
    for more in blocked {
        store(&world, &alice, with(BOB, more.clone())).await.refused(403, "M_UNAUTHORIZED");
        nothing_is_left(&world, &more.to_string());
    }
    let fine = json!({ "room_name": "Tea", "org.matrix.web_client_location": "https://app.example" });
    store(&world, &alice, with(BOB, fine)).await.expect(200);

    let (world, alice) = world_with(&tables.replace("@*:hs.example", "@staff*:*")).await;
    store(&world, &alice, invitation(BOB)).await.refused(403, "M_UNAUTHORIZED");
    let (world, alice) = world_with(&tables.replace("*.bad.example", "HS.example")).await;
    store(&world, &alice, invitation(BOB)).await.refused(403, "M_UNAUTHORIZED");
    nothing_is_left(&world, "a blocked homeserver");
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_addresses_and_rooms_are_limited_each_for_itself() {
    let one = "{ burst = 1, every = \"1h\" }";
    for (name, same) in [
        ("invite_per_account", json!({ "address": "2@example.com", "room_id": "!2:hs" })),
        ("invite_per_room", json!({ "address": "2@example.com", "sender": "@bob:hs.example" })),
        (
            "invite_per_address",
            json!({ "address": "BOB@example.com", "room_id": "!2:hs", "sender": "@bob:hs.example" }),
        ),
        ("mail_global", json!({ "address": "2@example.com", "room_id": "!2:hs", "sender": "@bob:hs.example" })),
    ] {
        let (world, alice) = world_with(&format!("[limits]\n{name} = {one}\n")).await;
        let bob = world.register("@bob:hs.example").await;
        store(&world, &alice, invitation(BOB)).await.expect(200);
        let token = if same.get("sender").is_some() { &bob } else { &alice };
        let refused = store(&world, token, with("other@example.com", same)).await;
        assert!(refused.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().unwrap() > 3_000_000, "{name}");
        assert_eq!((rows(&world.server, "invites"), world.mail.mails().len()), (1, 1), "{name}");
        if name != "mail_global" {
            let other = json!({ "address": "3@example.com", "room_id": "!3:hs", "sender": "@bob:hs.example" });
            store(&world, &bob, with(BOB, other)).await.expect(200);
        }
    }
    let (world, alice) = world_with("").await;
    for n in 0..5 {
        store(&world, &alice, invitation(&format!("{n}@example.com"))).await.expect(200);
    }
    store(&world, &alice, invitation("5@example.com")).await.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(world.mail.mails().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_of_a_bound_address_counts_as_a_lookup() {
    let (world, alice) = world_with(&format!("{NO_LIMITS}[lookup]\ndaily_quota = 2\n")).await;
    for address in [BOB, "BOB@example.com", "carol@example.com"] {
        store(&world, &alice, invitation(address)).await.expect(200);
    }
    store(&world, &alice, invitation("dave@example.com")).await.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(world.mail.mails().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_mail_no_invitation_is_stored() {
    let settings = Settings { email: "enabled = false", ..Settings::default() };
    let world = World::with(settings).await;
    let alice = world.register(ALICE).await;
    store(&world, &alice, invitation(BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
    nothing_is_left(&world, "mail is disabled");
    // As homeservers come: with the token in the query.
    let call = world.api.post(&v2("/store-invite"), invitation(BOB)).query("access_token", &alice);
    call.send().await.refused(400, "M_EMAIL_SEND_ERROR");
}
