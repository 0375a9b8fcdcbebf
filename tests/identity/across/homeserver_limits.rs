//! What all accounts of one homeserver may do together: anyone can run a homeserver and make accounts there.

use harness::wait::wait_until;
use serde_json::{Value, json};

use harness::world::identity::{DEADLINE, Settings, World, hash, v2};

async fn world(tables: &str) -> World {
    World::with(Settings { tables, ..Settings::default() }).await
}

async fn accounts(world: &World, number: usize) -> Vec<String> {
    let mut tokens = Vec::new();
    for n in 0..number {
        tokens.push(world.register(&format!("@user{n}:hs.example")).await);
    }
    tokens
}

fn mail(n: usize) -> Value {
    json!({ "client_secret": "s", "email": format!("{n}@example.com"), "send_attempt": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_makes_so_many_accounts_and_a_large_one_more() {
    for (large, allowed) in [("[]", 2), ("[\"other.example\"]", 2), ("[\"hs.*\"]", 3)] {
        let tables = format!(
            "[limits]\naccounts_per_homeserver = {{ burst = 2, every = \"1h\" }}\nlarge_homeservers = {large}\n"
        );
        let world = world(&tables).await;
        let tokens = accounts(&world, 2).await;
        let third = world.homeserver.open_id_token("@third:hs.example");
        let answer = world.api.post(&v2("/account/register"), third).send().await;
        if allowed == 3 {
            answer.expect(200);
            continue;
        }
        answer.refused(429, "M_LIMIT_EXCEEDED");
        // An account that exists comes back, and its token stays valid.
        world.register("@user0:hs.example").await;
        world.api.get(&v2("/account")).bearer(&tokens[0]).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_a_homeserver_share_its_mails_and_its_invitations() {
    let tables = "[limits]\nmail_per_homeserver = { burst = 2, every = \"1h\" }\n\
                  invites_per_homeserver = { burst = 2, every = \"1h\" }\n";
    let world = world(tables).await;
    let tokens = accounts(&world, 3).await;
    for (n, token) in tokens.iter().enumerate() {
        let answer = world.ask(token, mail(n)).await;
        if n < 2 {
            answer.expect(200)
        } else {
            answer.refused(429, "M_LIMIT_EXCEEDED")
        };
    }
    // Invitations have a bucket of their own.
    for (n, token) in tokens.iter().enumerate() {
        let (address, sender) = (format!("i{n}@example.com"), format!("@user{n}:hs.example"));
        let body = json!({ "medium": "email", "address": address, "room_id": format!("!{n}:hs"), "sender": sender });
        let answer = world.api.post(&v2("/store-invite"), body).bearer(token).send().await;
        if n < 2 {
            answer.expect(200)
        } else {
            answer.refused(429, "M_LIMIT_EXCEEDED")
        };
    }
    wait_until("four mails", DEADLINE, || world.mail.mails().len() == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_a_homeserver_share_its_sms() {
    let tables = "[sms]\ndefault_rule = \"allow\"\n[limits]\nsms_per_homeserver = { burst = 2, every = \"1h\" }\n";
    let world = world(tables).await;
    for (n, token) in accounts(&world, 3).await.iter().enumerate() {
        let number = format!("077009{n}0001");
        let body = json!({ "client_secret": "s", "phone_number": number, "country": "GB", "send_attempt": 1 });
        let answer = world.api.post(&v2("/validate/msisdn/requestToken"), body).bearer(token).send().await;
        if n < 2 {
            answer.expect(200)
        } else {
            answer.refused(429, "M_LIMIT_EXCEEDED")
        };
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_of_a_homeserver_share_its_lookups() {
    for (large, last) in [("[]", 429), ("[\"hs.example\"]", 200)] {
        let tables = format!("[lookup]\ndaily_quota_per_homeserver = 30\n[limits]\nlarge_homeservers = {large}\n");
        let world = world(&tables).await;
        let tokens = accounts(&world, 4).await;
        let pepper = world.pepper(&tokens[0]).await;
        for (n, token) in tokens.iter().enumerate() {
            let addresses: Vec<String> =
                (0..10).map(|entry| hash(&format!("{n}-{entry}@x.org"), "email", &pepper)).collect();
            let body = json!({ "addresses": addresses, "algorithm": "sha256", "pepper": pepper });
            let answer = world.api.post(&v2("/lookup"), body).bearer(token).send().await;
            assert_eq!(answer.code(), if n < 3 { 200 } else { last }, "{large} {n}: {answer}");
        }
    }
}
