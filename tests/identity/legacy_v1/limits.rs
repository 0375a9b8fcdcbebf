//! Limits without accounts: they count client addresses.
//!
//! Invariant: nothing here waits for a bucket to fill again; every limit is far too slow for that.

use harness::api::{Answer, Call};
use serde_json::{Value, json};

use super::{FULL, form, v1};
use harness::world::identity::{Settings, World, hash, v2};

/// A world with these tables, whose tests are its reverse proxy.
async fn world(tables: &str) -> World {
    let tables = format!("{FULL}{tables}\n");
    World::with(Settings { tables: &tables, http: "trusted_proxies = [\"127.0.0.1\"]", ..Settings::default() }).await
}

async fn send_from(client: &str, call: Call) -> Answer {
    call.header("x-forwarded-for", client).send().await
}

/// Two from one client, a third that is refused, and one from another; `request` makes one that is like no other.
async fn two_for_each_client(request: impl Fn(usize) -> Call) {
    let mut number = 0;
    let mut send = async |client: &str| {
        number += 1;
        send_from(client, request(number)).await
    };
    for (first, same, other) in [
        ("1.1.1.1", "1.1.1.1", "1.1.1.2"),
        ("192.168.1.1", "::ffff:192.168.1.1", "192.168.1.2"),
        ("2a00:1:2:3::1", "2a00:1:2:3:ffff::2", "2a00:1:2:4::1"),
    ] {
        send(first).await.expect(200);
        send(same).await.expect(200);
        let refused = send(first).await;
        let wait = refused.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().expect("milliseconds");
        assert_eq!(refused.header("retry-after"), Some(wait.div_ceil(1000).to_string().as_str()));
        send(other).await.expect(200);
    }
}

fn ask(world: &World, number: usize) -> Call {
    let email = format!("{number}@example.com");
    form(world, "/validate/email/requestToken", &[("client_secret", "s"), ("email", &email), ("send_attempt", "1")])
}

/// An invitation like no other, by a sender like no other.
fn invite(world: &World, number: usize) -> Call {
    let (address, room, sender) =
        (format!("i{number}@example.com"), format!("!{number}:hs.example"), format!("@{number}:hs.example"));
    let fields = [("medium", "email"), ("address", &address), ("room_id", &room), ("sender", &sender)];
    form(world, "/store-invite", &fields)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_causes_so_many_validation_mails() {
    let world = world("[limits]\nemail_per_account = { burst = 2, every = \"1h\" }").await;
    two_for_each_client(|number| ask(&world, number)).await;
    assert_eq!(world.mail.mails().len(), 9);
    // An account is counted for itself, wherever it comes from.
    let alice = world.register("@alice:hs.example").await;
    for number in 100..102 {
        let body = json!({ "client_secret": "s", "email": format!("{number}@example.com"), "send_attempt": 1 });
        let call = world.api.post(&v2("/validate/email/requestToken"), body).bearer(&alice);
        send_from("1.1.1.1", call).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invitations_of_a_client_are_limited_over_all_senders() {
    let world = world("[limits]\ninvite_per_account = { burst = 2, every = \"1h\" }").await;
    two_for_each_client(|number| invite(&world, number)).await;
    assert_eq!(world.mail.mails().len(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_a_client_causes_five_mails_of_each_kind_at_once() {
    let world = world("").await;
    for number in 0..5 {
        send_from("1.1.1.1", ask(&world, number)).await.expect(200);
        send_from("1.1.1.1", invite(&world, number)).await.expect(200);
    }
    send_from("1.1.1.1", ask(&world, 5)).await.refused(429, "M_LIMIT_EXCEEDED");
    send_from("1.1.1.1", invite(&world, 5)).await.refused(429, "M_LIMIT_EXCEEDED");
    // What an address gets is counted for all together.
    for client in 2..7 {
        let call = form(
            &world,
            "/validate/email/requestToken",
            &[("client_secret", "s"), ("email", "victim@example.com"), ("send_attempt", &client.to_string())],
        );
        send_from(&format!("1.1.1.{client}"), call).await.expect(200);
    }
    let call = form(
        &world,
        "/validate/email/requestToken",
        &[("client_secret", "t"), ("email", "victim@example.com"), ("send_attempt", "1")],
    );
    send_from("1.1.1.7", call).await.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_looks_up_so_many_addresses_in_a_day_in_whatever_way() {
    let world = world("[lookup]\ndaily_quota = 3\n[limits]\nenabled = false").await;
    let one = |address: &str| world.api.get(&v1("/lookup")).query("medium", "email").query("address", address);
    let many = |pairs: Value| world.api.post(&v1("/bulk_lookup"), json!({ "threepids": pairs }));
    let invitation = |address: &str| {
        let fields =
            [("medium", "email"), ("address", address), ("room_id", "!r:hs.example"), ("sender", "@a:hs.example")];
        form(&world, "/store-invite", &fields)
    };
    let email = |address: &str| json!(["email", address]);
    let client = "2a00:1:2:3::1";
    send_from(client, one("a@example.com")).await.expect(200);
    send_from(client, many(json!([email("b@example.com"), email("A@Example.com")]))).await.expect(200);
    // What is no address is not looked up, and what was asked before costs nothing, in whatever spelling.
    send_from(client, many(json!([email("nonsense"), ["pigeon", "x@example.com"]]))).await.expect(200);
    send_from(client, invitation("B@example.com")).await.expect(200);
    for too_many in [
        many(json!([email("c@example.com"), email("d@example.com")])),
        many(json!([email("a@example.com"), email("c@example.com"), ["msisdn", "447700900001"]])),
    ] {
        let refused = send_from("2a00:1:2:3::ffff", too_many).await;
        let wait = refused.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().unwrap();
        assert!((1..=86_400_000).contains(&wait), "{refused}");
    }
    send_from(client, one("c@example.com")).await.expect(200);
    for call in [one("d@example.com"), many(json!([email("d@example.com")])), invitation("d@example.com")] {
        send_from(client, call).await.refused(429, "M_LIMIT_EXCEEDED");
    }
    send_from(client, one("C@EXAMPLE.com")).await.expect(200);

    // Others have their own: another network, and an account at the same place.
    send_from("2a00:1:2:4::1", one("d@example.com")).await.expect(200);
    let alice = world.register("@alice:hs.example").await;
    let pepper = world.pepper(&alice).await;
    let entries: Vec<String> = (0..3).map(|n| hash(&format!("{n}@example.com"), "email", &pepper)).collect();
    let body = json!({ "addresses": entries, "algorithm": "sha256", "pepper": pepper });
    send_from(client, world.api.post(&v2("/lookup"), body).bearer(&alice)).await.expect(200);
}
