//! The forms of one address: they share limits, and have one owner.
//!
//! Invariant: no test waits for a bucket to refill.

use harness::world::identity::{Settings, World, databases, v2};
use serde_json::{Value, json};

const NO_OTHER_LIMITS: &str = "email_per_account = \"1000/s\"\nmail_global = \"1000/s\"\nsms_per_account = \"1000/s\"\n\
                               sms_per_ip = \"1000/s\"\nsms_per_range = \"1000/s\"\nsms_per_homeserver = \"1000/s\"\n";

fn email(address: &str, client_secret: &str) -> Value {
    json!({ "client_secret": client_secret, "email": address, "send_attempt": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn both_spellings_of_an_international_domain_share_the_limits_of_an_address() {
    for database in databases().await {
        let tables =
            format!("{database}[limits]\n{NO_OTHER_LIMITS}email_per_address = {{ burst = 3, every = \"1h\" }}\n");
        let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
        let spellings = ["me@grün.example", "Me@XN--GRN-IOA.example", "ME@GRÜN.Example"];
        for (number, spelling) in spellings.iter().enumerate() {
            let account = world.register(&format!("@user{number}:hs.example")).await;
            world.ask(&account, email(spelling, "s")).await.expect(200);
        }
        let last = world.register("@last:hs.example").await;
        for spelling in ["me@xn--grn-ioa.example", "me@grün.example"] {
            world.ask(&last, email(spelling, "s")).await.refused(429, "M_LIMIT_EXCEEDED");
        }
        world.ask(&last, email("me@grun.example", "s")).await.expect(200);
        assert_eq!(world.mail.mails().len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_spellings_of_an_international_domain_have_one_owner() {
    const U_LABEL: &str = "me@grün.example";
    const A_LABEL: &str = "me@xn--grn-ioa.example";
    for database in databases().await {
        let world = World::with(Settings { tables: &database, ..Settings::default() }).await;
        let bob = world.register("@bob:hs.example").await;
        let carol = world.register("@carol:hs.example").await;
        let found = async |address: &str| world.look_up(&carol, address, "email").await;
        for (token, user, spelling) in [(&bob, "@bob:hs.example", U_LABEL), (&carol, "@carol:hs.example", A_LABEL)] {
            let association = world.bind_by(token, user, spelling, A_LABEL).await;
            assert_eq!(association["address"], U_LABEL);
            assert_eq!(found(U_LABEL).await.as_deref(), Some(user));
            assert_eq!(found(A_LABEL).await.as_deref(), Some(user), "bound as {spelling}");
        }
        for spelling in [U_LABEL, A_LABEL, "ME@GRÜN.example"] {
            let invitation = json!({
                "medium": "email", "address": spelling, "room_id": "!r:hs.example", "sender": "@bob:hs.example",
            });
            let answer = world.api.post(&v2("/store-invite"), invitation).bearer(&bob).send().await;
            assert_eq!(answer.refused(400, "M_THREEPID_IN_USE")["mxid"], "@carol:hs.example", "{spelling}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_forms_that_reach_one_subscriber_share_the_limits_of_a_number() {
    let path = v2("/validate/msisdn/requestToken");
    for database in databases().await {
        let tables = format!(
            "{database}[sms]\ndefault_rule = \"allow\"\n[limits]\n{NO_OTHER_LIMITS}\
             sms_per_number = {{ burst = 2, every = \"1h\" }}\n"
        );
        let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
        for (subscriber, forms) in [
            [("+52 1 33 3817 2645", "MX"), ("33 3817 2645", "MX"), ("044 33 3817 2645", "MX"), ("5213338172645", "US")],
            [
                ("+54 9 341 512 3456", "AR"),
                ("+54 341 512 3456", "US"),
                ("0341 15 512-3456", "AR"),
                ("5493415123456", "AR"),
            ],
            [
                ("+55 21 99876-5432", "BR"),
                ("+55 21 9876-5432", "DE"),
                ("021 99876-5432", "BR"),
                ("(21) 9876-5432", "BR"),
            ],
            [("+241 07 65 43 21", "GA"), ("+241 77 65 43 21", "FR"), ("077 65 43 21", "GA"), ("07 65 43 21", "GA")],
        ]
        .iter()
        .enumerate()
        {
            let mut codes = Vec::new();
            for (account, (number, country)) in forms.iter().enumerate() {
                let token = world.register(&format!("@user{subscriber}.{account}:hs.example")).await;
                let body =
                    json!({ "client_secret": "s", "phone_number": number, "country": country, "send_attempt": 1 });
                let answer = world.api.post(&path, body).bearer(&token).send().await;
                codes.push(answer.code());
            }
            assert_eq!(codes, [200, 200, 429, 429], "{forms:?}");
        }
    }
}
