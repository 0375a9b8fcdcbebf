//! The limits: defaults, buckets that are charged together, clients behind a proxy, several processes.
//!
//! Invariant: no test waits for a bucket to refill; every limit is far too slow for that.

use futures_util::future::join_all;
use harness::api::{Answer, Api};
use harness::binary;
use harness::process::{Server, new_folder};
use serde_json::{Value, json};

use harness::world::identity::{Settings, World, databases, v2};

/// The `[http]` line of a world whose tests act as its reverse proxy.
const BEHIND_PROXY: &str = "trusted_proxies = [\"127.0.0.1\"]";

async fn world(limits: &str) -> World {
    world_with(Settings { tables: limits, ..Settings::default() }).await
}

/// The `tables` of the settings are lines of `[limits]`.
async fn world_with(settings: Settings<'_>) -> World {
    let tables = format!("[limits]\n{}\n[registration]\ndeny_servers = [\"*.evil\"]\n", settings.tables);
    World::with(Settings { tables: &tables, http: BEHIND_PROXY, ..settings }).await
}

fn for_email(email: &str, client_secret: &str) -> Value {
    json!({ "client_secret": client_secret, "email": email, "send_attempt": 1 })
}

/// One attempt to register, by a client at that address with an unknown OpenID token: 401 if the server sends a request
/// to the homeserver.
async fn register(api: &Api, client: &str) -> Answer {
    let body = json!({ "access_token": "unknown", "matrix_server_name": "hs.example" });
    api.post(&v2("/account/register"), body).header("x-forwarded-for", client).send().await
}

/// Checks the error, and that body and header name the same wait.
#[track_caller]
fn limited(answer: &Answer, at_most_seconds: u64) {
    let body = answer.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(body["error"], "Too many requests");
    let milliseconds = body["retry_after_ms"].as_u64().expect("an integer");
    assert!((1..=at_most_seconds * 1000).contains(&milliseconds), "{answer}");
    let seconds = milliseconds.div_ceil(1000).to_string();
    assert_eq!(answer.header("retry-after"), Some(seconds.as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_an_account_causes_five_mails_at_once_and_an_address_gets_five() {
    let world = World::start().await;
    let (alice, bob) = (world.register("@alice:hs.example").await, world.register("@bob:hs.example").await);
    for n in 0..5 {
        world.ask(&alice, for_email(&format!("{n}@example.com"), "s")).await.expect(200);
    }
    limited(&world.ask(&alice, for_email("5@example.com", "s")).await, 300);
    for n in 0..5 {
        world.ask(&bob, for_email("victim@example.com", &format!("s{n}"))).await.expect(200);
    }
    let carol = world.register("@carol:hs.example").await;
    limited(&world.ask(&carol, for_email("victim@example.com", "s")).await, 600);
    assert_eq!(world.mail.mails().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_one_limit_refuses_takes_nothing_from_the_others() {
    let limits = "email_per_account = { burst = 1, every = \"1h\" }\nemail_per_address = { burst = 2, every = \"1h\" }\n\
                  mail_global = { burst = 3, every = \"1h\" }";
    let world = world(limits).await;
    let alice = world.register("@alice:hs.example").await;
    world.ask(&alice, for_email("alice@example.com", "s")).await.expect(200);
    for n in 0..5 {
        limited(&world.ask(&alice, for_email("victim@example.com", &format!("s{n}"))).await, 3600);
    }
    // If her attempts had been charged, the limits of the address and of all clients would be exceeded.
    for user in ["@bob:hs.example", "@carol:hs.example"] {
        let account = world.register(user).await;
        world.ask(&account, for_email("victim@example.com", "s")).await.expect(200);
    }
    let dave = world.register("@dave:hs.example").await;
    limited(&world.ask(&dave, for_email("dave@example.com", "s")).await, 3600);
    assert_eq!(world.mail.mails().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_mail_that_is_about_to_go_out_counts() {
    let world = world("email_per_account = { burst = 2, every = \"1h\" }").await;
    let alice = world.register("@alice:hs.example").await;
    let mut unsafe_link = for_email("alice@example.com", "s");
    unsafe_link["next_link"] = json!("javascript:alert(1)");
    for (body, errcode) in [
        (for_email("nowhere", "s"), "M_INVALID_EMAIL"),
        (for_email("alice@example.com", "ä"), "M_INVALID_PARAM"),
        (unsafe_link, "M_INVALID_PARAM"),
        (json!({ "email": "alice@example.com" }), "M_MISSING_PARAMS"),
    ] {
        for _ in 0..3 {
            world.ask(&alice, body.clone()).await.refused(400, errcode);
        }
    }
    let mut sids = Vec::new();
    for _ in 0..5 {
        sids.push(world.ask(&alice, for_email("alice@example.com", "s")).await.expect(200)["sid"].clone());
    }
    sids.dedup();
    assert_eq!(sids.len(), 1);
    world.ask(&alice, for_email("alice@example.org", "s")).await.expect(200);
    limited(&world.ask(&alice, for_email("alice@example.net", "s")).await, 3600);
    assert_eq!(world.mail.mails().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_requests_at_once_no_more_pass_than_may() {
    for database in databases().await {
        let tables = format!("{database}\n[limits]\nemail_per_account = {{ burst = 3, every = \"1h\" }}\n");
        let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
        let alice = world.register("@alice:hs.example").await;
        let addresses: Vec<String> = (0..12).map(|n| format!("{n}@example.com")).collect();
        let answers = join_all(addresses.iter().map(|address| world.ask(&alice, for_email(address, "s")))).await;
        let (passed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.code() == 200);
        assert_eq!(passed.len(), 3);
        for answer in refused {
            limited(answer, 3600);
        }
        assert_eq!(world.mail.mails().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv6_client_is_its_network_of_64_bits() {
    let world = world("register_per_ip = { burst = 2, every = \"1h\" }").await;
    for (first, second, third, other) in [
        ("2a00:1:2:3::1", "2a00:1:2:3:ffff:ffff:ffff:ffff", "2a00:1:2:3::2", "2a00:1:2:4::1"),
        ("192.168.1.1", "::ffff:192.168.1.1", "192.168.1.1", "192.168.1.2"),
    ] {
        register(&world.api, first).await.refused(401, "M_UNAUTHORIZED");
        register(&world.api, second).await.refused(401, "M_UNAUTHORIZED");
        limited(&register(&world.api, third).await, 3600);
        register(&world.api, other).await.refused(401, "M_UNAUTHORIZED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_counts_once_it_may_be_tried_whatever_comes_of_it() {
    let world = world("register_per_ip = { burst = 2, every = \"1h\" }").await;
    let try_with = async |body: Value| {
        world.api.post(&v2("/account/register"), body).header("x-forwarded-for", "1.1.1.1").send().await
    };
    for _ in 0..3 {
        let denied = json!({ "access_token": "t", "matrix_server_name": "hs.evil" });
        try_with(denied).await.refused(403, "M_UNAUTHORIZED");
        try_with(json!({ "access_token": "t" })).await.refused(400, "M_MISSING_PARAMS");
        let no_name = json!({ "access_token": "t", "matrix_server_name": "hs/x" });
        try_with(no_name).await.refused(400, "M_INVALID_PARAM");
    }
    try_with(world.homeserver.open_id_token("@alice:hs.example")).await.expect(200);
    register(&world.api, "1.1.1.1").await.refused(401, "M_UNAUTHORIZED");
    let asked = world.homeserver.requests().len();
    limited(&try_with(world.homeserver.open_id_token("@alice:hs.example")).await, 3600);
    assert_eq!(world.homeserver.requests().len(), asked, "the homeserver is not asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_keys_of_homeservers_are_limited() {
    let tables = "register_per_ip = { burst = 3, every = \"1h\" }";
    let one_process = Some("the keys of homeservers that a process knows");
    let world = world_with(Settings { tables, one_process, ..Settings::default() }).await;
    let unbind = async |server: &str| {
        let threepid = json!({ "medium": "email", "address": "bob@example.com" });
        let body = json!({ "mxid": format!("@bob:{server}"), "threepid": threepid });
        let header = format!("X-Matrix origin=\"{server}\",key=\"ed25519:a_1\",sig=\"{}\"", "A".repeat(86));
        let call = world.api.post(&v2("/3pid/unbind"), body).header("authorization", &header);
        call.header("x-forwarded-for", "1.1.1.1").send().await
    };
    unbind("hs.example").await.refused(403, "M_FORBIDDEN");
    for port in [1, 2] {
        unbind(&format!("127.0.0.1:{port}")).await.refused(502, "M_UNKNOWN");
    }
    limited(&unbind("127.0.0.1:3").await, 3600);
    // A homeserver with known keys gets no request.
    unbind("hs.example").await.refused(403, "M_FORBIDDEN");
    register(&world.api, "1.1.1.2").await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_limits_anybody_may_try_to_register() {
    let world = world("enabled = false\nregister_per_ip = { burst = 1, every = \"1h\" }").await;
    for _ in 0..5 {
        register(&world.api, "1.1.1.1").await.refused(401, "M_UNAUTHORIZED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_on_one_database_share_the_limits_and_a_kill_empties_none() {
    let data = new_folder();
    let sqlite = format!("[database]\nurl = \"sqlite://{}\"\n", data.path().join("shared.db").display());
    let postgres = databases().await.into_iter().filter(|database| !database.is_empty());
    for database in std::iter::once(sqlite).chain(postgres) {
        let tables = format!("{database}\n[limits]\nregister_per_ip = {{ burst = 3, every = \"1h\" }}\n");
        let settings = Settings { tables: &tables, http: BEHIND_PROXY, ..Settings::default() };
        let mut world = World::with(settings.clone()).await;
        let folder = new_folder();
        let config = settings.toml(&world.homeserver.config(folder.path()), &world.mail.config());
        let neighbour = Server::start_in(folder, binary::identity(), &config, &[]).await;
        let second = Api::new(&neighbour.url());

        register(&world.api, "1.1.1.1").await.refused(401, "M_UNAUTHORIZED");
        register(&second, "1.1.1.1").await.refused(401, "M_UNAUTHORIZED");
        world.restart().await;
        register(&world.api, "1.1.1.1").await.refused(401, "M_UNAUTHORIZED");
        limited(&register(&world.api, "1.1.1.1").await, 3600);
        limited(&register(&second, "1.1.1.1").await, 3600);
        register(&second, "1.1.1.2").await.refused(401, "M_UNAUTHORIZED");
    }
}
