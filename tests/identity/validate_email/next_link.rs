//! Where the browser goes after the link in the mail.

use serde_json::{Value, json};

use super::request;
use harness::world::identity::{DEADLINE, Settings, World, confirmed};

fn with_next_link(secret: &str, next_link: impl Into<Value>) -> Value {
    let mut body = request(secret, "bob@example.com", 1);
    body["next_link"] = next_link.into();
    body
}

/// Asks with this link, follows the mail's; gives status and `Location`.
async fn follow(world: &World, access_token: &str, body: Value) -> (u16, Option<String>, String) {
    let before = world.mail.mails().len();
    let sid = world.ask(access_token, body).await.expect(200)["sid"].as_str().expect("a sid").to_owned();
    let mail = world.mail.wait_for("bob@example.com", before + 1, DEADLINE).await;
    let link = mail.message().validation_link();
    let answer = world.api.get(&confirmed(&link)).send().await;
    if answer.code() == 302 {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
    }
    (answer.code(), answer.header("location").map(str::to_owned), sid)
}

/// A list of hosts that contains every host.
const EVERY_HOST: &str = "[sessions]\nnext_link_hosts = \"*\"";

async fn world(tables: &str) -> (World, String) {
    world_with(Settings { tables, ..Settings::default() }).await
}

async fn world_with(settings: Settings<'_>) -> (World, String) {
    let tables = format!("{}\n[limits]\nenabled = false", settings.tables);
    let world = World::with(Settings { tables: &tables, ..settings }).await;
    let bob = world.register("@bob:hs.example").await;
    (world, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_browser_goes_on_with_the_sid() {
    let (world, bob) = world(EVERY_HOST).await;
    for (n, (next_link, target)) in [
        ("https://app.example", "https://app.example?sid=SID"),
        ("https://app.example/done", "https://app.example/done?sid=SID"),
        ("https://app.example/done?a=b", "https://app.example/done?a=b&sid=SID"),
        ("https://app.example/done#/room?x", "https://app.example/done?sid=SID#/room?x"),
        ("https://app.example/done?a=b%26c#top", "https://app.example/done?a=b%26c&sid=SID#top"),
        ("HTTPS://app.example:8443/", "HTTPS://app.example:8443/?sid=SID"),
        ("https://müller.example/ü", "https://xn--mller-kva.example/%C3%BC?sid=SID"),
    ]
    .into_iter()
    .enumerate()
    {
        let (code, location, sid) = follow(&world, &bob, with_next_link(&format!("s{n}"), next_link)).await;
        assert_eq!((code, location), (302, Some(target.replace("SID", &sid))), "{next_link}");
    }
    for (n, none) in [json!(""), Value::Null].into_iter().enumerate() {
        let (code, location, _) = follow(&world, &bob, with_next_link(&format!("none{n}"), none)).await;
        assert_eq!((code, location), (200, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_link_that_was_given_wins_also_without_a_mail() {
    let (world, bob) = world(EVERY_HOST).await;
    world.ask(&bob, with_next_link("s", "https://first.example/")).await.expect(200);
    let sid = world.ask(&bob, with_next_link("s", "https://last.example/")).await.expect(200)["sid"].clone();
    world.ask(&bob, with_next_link("s", Value::Null)).await.expect(200);
    assert_eq!(world.mail.mails().len(), 1);
    let link = world.mail.mails()[0].message().validation_link();
    let target = format!("https://last.example/?sid={}", sid.as_str().unwrap());
    for _ in 0..2 {
        let answer = world.api.get(&confirmed(&link)).send().await;
        assert_eq!((answer.code(), answer.header("location")), (302, Some(target.as_str())), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_link_is_refused_and_nothing_is_sent() {
    // Replicas need a public base URL, here with http.
    let one_process = Some("a server without allow_http_base_url");
    let (world, bob) = world_with(Settings { tables: EVERY_HOST, one_process, ..Settings::default() }).await;
    let too_long = format!("https://x.org/{}", "a".repeat(2048));
    for next_link in [
        "javascript:x",
        "JavaScript://x.org/%0aalert(1)",
        "data:x",
        "data:text/html,<script>alert(1)</script>",
        "file:///x",
        "FILE:///x",
        "//evil",
        "/x",
        "x",
        "?a",
        "https://u@evil",
        "https://u:p@evil",
        "https://@evil",
        "https:\\\\evil",
        "https://x.org\\@evil",
        "https:evil",
        "https:///evil",
        "https://",
        "https://x.org/\r\nSet-Cookie: a=b",
        "https://x.org/\nX: y",
        "https://x.org/\0",
        "https://x.org/\u{85}",
        " https://x.org",
        "http://x.org",
        "http://localhost/",
        "http://127.0.0.1/",
        "ftp://x.org",
        "blob:https://x.org/1",
        &too_long,
    ] {
        world.ask(&bob, with_next_link("s", next_link)).await.refused(400, "M_INVALID_PARAM");
    }
    for other in [json!(5), json!(true), json!(["https://x.org"]), json!({})] {
        world.ask(&bob, with_next_link("s", other)).await.refused(400, "M_INVALID_PARAM");
    }
    assert_eq!(world.mail.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_list_of_hosts_a_button_leads_to_the_link_and_nothing_redirects() {
    let (world, bob) = world("").await;
    for (n, (next_link, host, href)) in [
        ("https://app.example/done?a=b&c=d#e", "app.example", "https://app.example/done?a=b&amp;c=d&amp;sid=SID#e"),
        ("https://M\u{fc}ller.example:8443/", "xn--mller-kva.example", "https://xn--mller-kva.example:8443/?sid=SID"),
        ("https://x.org/\"><b>'", "x.org", "https://x.org/&#34;&gt;&lt;b&gt;&#39;?sid=SID"),
    ]
    .into_iter()
    .enumerate()
    {
        let sid = world.ask(&bob, with_next_link(&format!("s{n}"), next_link)).await.expect(200)["sid"].clone();
        let mail = world.mail.wait_for("bob@example.com", n + 1, DEADLINE).await;
        let link = mail.message().validation_link();
        let form = world.api.get(&link[url::Position::BeforePath..]).send().await;
        assert!(!form.text().contains(host), "before the validation there is only the form: {form}");
        let answer = world.api.get(&confirmed(&link)).send().await;
        assert_eq!((answer.code(), answer.header("location")), (200, None), "{answer}");
        let href = format!("href=\"{}\"", href.replace("SID", sid.as_str().unwrap()));
        assert!(answer.text().contains(&href), "{href}: {answer}");
        assert!(answer.text().contains(&format!(">Continue to {host}<")), "{answer}");
    }
    world.ask(&bob, with_next_link("js", "javascript:alert(1)")).await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_which_hosts_there_are() {
    let tables = "[sessions]\nnext_link_hosts = [\"app.example\", \"*.good.example\"]";
    let (world, bob) = world(tables).await;
    for next_link in [
        "https://evil.example",
        "https://good.example",
        "https://app.example.evil.example",
        "https://evil.example/app.example",
        "https://evil.example?app.example",
        "https://evil.example#.good.example",
    ] {
        world.ask(&bob, with_next_link("s", next_link)).await.refused(400, "M_INVALID_PARAM");
    }
    let (code, ..) = follow(&world, &bob, with_next_link("a", "https://a.good.example/")).await;
    assert_eq!(code, 302);
    let (code, ..) = follow(&world, &bob, with_next_link("b", "https://APP.example:8443/")).await;
    assert_eq!(code, 302);
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_leads_to_the_own_machine_and_only_in_development() {
    let tables = "[limits]\nenabled = false\n[sessions]\nnext_link_hosts = \"*\"";
    let settings = Settings { tables, server: "allow_http_base_url = true", ..Settings::default() };
    let world = World::with(settings).await;
    let bob = world.register("@bob:hs.example").await;
    for next_link in ["http://x.org", "http://10.0.0.1", "http://localhost.evil.example"] {
        world.ask(&bob, with_next_link("s", next_link)).await.refused(400, "M_INVALID_PARAM");
    }
    let (code, location, sid) = follow(&world, &bob, with_next_link("s", "http://localhost:8080/x")).await;
    assert_eq!((code, location), (302, Some(format!("http://localhost:8080/x?sid={sid}"))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_query_leads_nowhere() {
    let (world, bob) = world(EVERY_HOST).await;
    let session = world.request_token(&bob, "bob@example.com").await;
    for name in ["next_link", "nextLink"] {
        let answer = world.api.get(&session.confirmed_link()).query(name, "https://evil.example/").send().await;
        assert_eq!((answer.code(), answer.header("location")), (200, None), "{answer}");
        assert!(!answer.text().contains("evil"), "{answer}");
    }
    // What was stored wins over it.
    world.ask(&bob, with_next_link("t", "https://app.example/")).await.expect(200);
    let link = world.mail.wait_for("bob@example.com", 2, DEADLINE).await.message().validation_link();
    let call = world.api.get(&confirmed(&link)).query("next_link", "https://evil.example/");
    let answer = call.send().await;
    assert!(
        answer.header("location").is_some_and(|target| target.starts_with("https://app.example/?sid=")),
        "{answer}"
    );
}
