//! The link in the mail, as a browser and a scanner open it.

use harness::api::Answer;
use hyper::Method;

use super::request;
use harness::world::identity::{DEADLINE, SQLITE, Session, Settings, World, confirmed, v2};

const BOB: &str = "bob@example.com";
const SUBMIT: &str = "/validate/email/submitToken";

#[track_caller]
fn is_a_safe_page(answer: &Answer) {
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'; img-src https:"),
        ("access-control-allow-origin", "*"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}:\n{answer}");
    }
    assert!(!answer.text().contains("<script"), "{answer}");
}

/// The setting, and the target with which a browser validates then: the link itself, or that of the page's form.
type Target = fn(&Session) -> String;
const SETTINGS: [(&str, Target); 2] = [("", Session::confirmed_link), ("confirm_click = false", Session::link)];

#[tokio::test(flavor = "multi_thread")]
async fn the_link_validates_without_an_account_as_often_as_it_is_opened() {
    for (email, target) in SETTINGS {
        let world = World::with(Settings { email, ..Settings::default() }).await;
        let bob = world.register("@bob:hs.example").await;
        let session = world.request_token(&bob, BOB).await;
        let first = world.api.get(&target(&session)).send().await;
        assert_eq!(first.code(), 200, "{first}");
        is_a_safe_page(&first);
        assert!(first.text().starts_with("<!DOCTYPE html>") && first.text().contains("<h1>Confirmed</h1>"), "{first}");
        assert!(first.text().contains("<bdi>b...@exa...</bdi>") && first.text().contains("<bdi>@bob:hs.example</bdi>"));
        world.validated(&bob, &session).await.expect(200);
        let again = world.api.get(&target(&session)).send().await;
        assert_eq!((again.code(), again.body), (200, first.body));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mail_names_the_user_who_asks() {
    let world = World::start().await;
    let eve = world.register("@eve:hs.example").await;
    world.request_token(&eve, BOB).await;
    let mail = world.mail.mails_to(BOB)[0].message();
    assert!(mail.text().contains("@eve:hs.example") && mail.html().contains("@eve:hs.example"), "{mail:#?}");
    assert!(!mail.header("subject").unwrap().contains("eve"), "{mail:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_failure_does_not_say_which() {
    let tables = "[sessions]\nemail_max_wrong = 2";
    let world = World::with(Settings { tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, BOB).await;
    let closed = world.request_token(&bob, BOB).await;
    let Session { sid, client_secret, token } = &session;
    let wrong = |session: &Session| session.confirmed_link().replace(&session.token, "wrong");
    let paths = [
        ("nothing", v2(SUBMIT)),
        ("no token", v2(&format!("{SUBMIT}?client_secret={client_secret}&sid={sid}"))),
        ("no secret", v2(&format!("{SUBMIT}?token={token}&sid={sid}"))),
        ("no sid", v2(&format!("{SUBMIT}?token={token}&client_secret={client_secret}"))),
        ("a parameter twice", format!("{}&sid={sid}", session.confirmed_link())),
        ("not UTF-8", format!("{}&brand=%ff", session.confirmed_link())),
        ("an unknown sid", session.confirmed_link().replace(sid.as_str(), "unknown")),
        ("a wrong secret", session.confirmed_link().replace(client_secret.as_str(), "wrong")),
        ("no secret at all", session.confirmed_link().replace(client_secret.as_str(), "%0a")),
        ("a wrong token", wrong(&closed)),
        ("a second one", wrong(&closed)),
        ("a closed token", closed.confirmed_link()),
        ("another wrong one", wrong(&session)),
    ];
    let mut pages = Vec::new();
    for (cause, path) in paths {
        let answer = world.api.get(&path).send().await;
        assert_eq!(answer.code(), 400, "{cause}: {answer}");
        is_a_safe_page(&answer);
        let mut headers: Vec<_> = answer.headers.keys().map(ToString::to_string).collect();
        headers.sort();
        pages.push((cause, answer.text(), headers));
    }
    assert!(pages[0].1.contains("<h1>This link has expired or is not valid</h1>"), "{}", pages[0].1);
    for (cause, page, headers) in &pages {
        assert_eq!((page, headers), (&pages[0].1, &pages[0].2), "{cause}");
    }
    for session in [&session, &closed] {
        world.validated(&bob, session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_at_the_link_validates_nothing() {
    for (email, target) in SETTINGS {
        let world = World::with(Settings { email, ..Settings::default() }).await;
        let bob = world.register("@bob:hs.example").await;
        let session = world.request_token(&bob, BOB).await;
        let head = world.api.request(Method::HEAD, &target(&session)).send().await;
        assert_eq!((head.code(), head.body.len()), (200, 0), "{head}");
        is_a_safe_page(&head);
        assert_eq!(world.api.request(Method::OPTIONS, &target(&session)).send().await.code(), 200);
        world.validated(&bob, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
        assert_eq!(world.api.get(&target(&session)).send().await.code(), 200);
        world.validated(&bob, &session).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_that_opens_the_link_validates_nothing() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, BOB).await;
    for confirm in ["", "&confirm=0", "&confirm=", "&confirm=11"] {
        let answer = world.api.get(&format!("{}{confirm}&lang=de", session.link())).send().await;
        assert_eq!(answer.code(), 200, "{answer}");
        is_a_safe_page(&answer);
        let page = answer.text();
        assert_eq!((page.matches("<form method=\"get\">").count(), page.matches("<button").count()), (1, 1), "{page}");
        let Session { sid, client_secret, token } = &session;
        for (name, value) in [
            ("sid", sid.as_str()),
            ("client_secret", client_secret),
            ("token", token),
            ("lang", "de"),
            ("confirm", "1"),
        ] {
            assert!(page.contains(&format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")), "{page}");
        }
    }
    world.validated(&bob, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");
    // No form leads to a failure, and without the three parameters a request sees nothing of the session.
    let unknown = session.link().replace(&session.sid, "unknown");
    assert_eq!(world.api.get(&unknown).send().await.code(), 400);
    assert_eq!(world.api.get(&format!("{unknown}&confirm=1")).send().await.code(), 400);
    assert_eq!(world.api.get(&v2(SUBMIT)).send().await.code(), 400);

    let answer = world.api.get(&format!("{}&confirm=1", session.link())).send().await;
    assert!(answer.code() == 200 && answer.text().contains("<h1>Confirmed</h1>"), "{answer}");
    world.validated(&bob, &session).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_says_what_is_confirmed_and_a_link_that_has_expired_has_no_form() {
    for (lifetime, code, expected) in [
        ("", 200, &["<bdi>b...@exa...</bdi>", "<bdi>@bob:hs.example</bdi>", "24 hours", "<button"][..]),
        ("[sessions]\nlifetime = \"1ms\"", 400, &["<h1>This link has expired or is not valid</h1>"]),
    ] {
        let world = World::with(Settings { tables: lifetime, ..Settings::default() }).await;
        let bob = world.register("@bob:hs.example").await;
        let session = world.request_token(&bob, BOB).await;
        let page = world.api.get(&session.link()).send().await;
        assert_eq!(page.code(), code, "{page}");
        for text in expected {
            assert!(page.text().contains(text), "{text}: {page}");
        }
        assert_eq!(page.text().contains("<button"), code == 200, "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_form_holds_what_it_was_given_as_text_and_nothing_more() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let Session { sid, client_secret, token } = world.request_token(&bob, BOB).await;
    let odd = "\"><script>alert(1)</script>'&<b>";
    let call = world.api.get(&v2(SUBMIT)).query("sid", odd).query("client_secret", odd).query("token", odd);
    let answer = call.query("brand", odd).query("lang", odd).send().await;
    assert_eq!(answer.code(), 400, "{answer}");
    assert!(!answer.text().contains("alert"), "{answer}");
    let call = world.api.get(&v2(SUBMIT)).query("sid", &sid).query("client_secret", &client_secret);
    let answer = call.query("token", &token).query("brand", odd).query("lang", odd).send().await;
    assert_eq!(answer.code(), 200, "{answer}");
    is_a_safe_page(&answer);
    assert!(!answer.text().contains("\"><") && !answer.text().contains("<b>"), "{answer}");
    assert!(answer.text().contains("&lt;script&gt;"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn brand_and_language_choose_the_mail_and_the_page() {
    // The texts lie where the server runs, and are there before it starts.
    let folder = harness::process::new_folder();
    for (path, text) in [
        ("matrix-org/verification_template.eml", "Subject: Default\n\ndefault %(link)s"),
        ("matrix-org/de/verification_template.eml", "Subject: Deutsch\n\ndeutsch %(link)s"),
        ("matrix-org/verify_response_template.html", "<p>default: %(message)s</p>"),
        ("matrix-org/de/verify_response_template.html", "<p>deutsch: %(message)s</p>"),
        ("acme/verification_template.eml.j2", "Subject: Acme\n\nacme {{ link|safe }}"),
        ("acme/verify_response_template.html", "<p>acme: %(message)s</p>"),
        ("secret.eml", "Subject: Secret\n\nsecret %(link)s"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let tables = format!("[templates]\ndir = {:?}\n[limits]\nenabled = false", folder.path());
    let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    for (n, (query, accept_language, text)) in [
        ("", None, "default"),
        ("?brand=acme", None, "acme"),
        ("?brand=acme&lang=de", None, "acme"),
        ("?lang=de", None, "deutsch"),
        ("?lang=de-AT", Some("fr"), "deutsch"),
        ("", Some("fr, de-CH;q=0.9, en;q=0.8"), "deutsch"),
        ("", Some("fr"), "default"),
        ("?lang=fr", Some("de"), "deutsch"),
        ("?brand=", None, "default"),
        ("?brand=unknown", None, "default"),
        ("?brand=../acme", None, "default"),
        ("?brand=..", None, "default"),
        ("?brand=.", None, "default"),
        ("?brand=/etc", None, "default"),
        ("?brand=acme%00", None, "default"),
        ("?brand=matrix-org%2fde", None, "default"),
        ("?lang=../acme", None, "default"),
        ("?lang=..", None, "default"),
    ]
    .into_iter()
    .enumerate()
    {
        let with_language = |call: harness::api::Call| match accept_language {
            Some(language) => call.header("accept-language", language),
            None => call,
        };
        let body = request(&format!("s{n}"), BOB, 1);
        let call = world.api.post(&v2(&format!("/validate/email/requestToken{query}")), body).bearer(&bob);
        with_language(call).send().await.expect(200);
        let mail = world.mail.wait_for(BOB, n + 1, DEADLINE).await.message();
        let link = mail.validation_link();
        assert_eq!(mail.text().split(' ').next(), Some(text), "{query} {accept_language:?}");

        let path = format!("{}{}", confirmed(&link), query.replace('?', "&"));
        let page = with_language(world.api.get(&path)).send().await;
        assert_eq!(page.code(), 200, "{page}");
        is_a_safe_page(&page);
        assert!(page.text().starts_with(&format!("<p>{text}: ")), "{query} {accept_language:?}: {page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_a_mail_program_mangled_works() {
    let world = World::start().await;
    let bob = world.register("@bob:hs.example").await;
    let manglers: [fn(String) -> String; 5] = [
        |link| link.replace('&', "&amp;"),
        |link| link.replace('&', "&amp;amp;"),
        |link| format!("{link}&utm_source=a&utm_source=b"),
        |link| format!("{link}&x=%ff&amp;fbclid=1&fbclid=2"),
        |link| link.replace("/_matrix", "//_matrix").replace("/email/", "/email//"),
    ];
    for mangle in manglers {
        let session = world.request_token(&bob, BOB).await;
        let link = mangle(session.link());
        let answer = world.api.get(&format!("{link}&confirm=1")).send().await;
        assert_eq!(answer.code(), 200, "{link}: {answer}");
        world.validated(&bob, &session).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_server_says_that_the_link_stays_good() {
    let world = World::with(Settings { tables: SQLITE, ..Settings::default() }).await;
    let bob = world.register("@bob:hs.example").await;
    let session = world.request_token(&bob, BOB).await;
    let link = format!("{}&confirm=1", session.link());
    let database = rusqlite::Connection::open(world.server.folder().join("data/identity.db")).expect("the database");
    database.execute("alter table sessions rename to away", []).expect("a table");
    let answer = world.api.get(&link).send().await;
    assert_eq!(answer.code(), 500, "{answer}");
    is_a_safe_page(&answer);
    assert!(answer.text().contains("The link stays good") && !answer.text().contains("expired"), "{answer}");
    database.execute("alter table away rename to sessions", []).expect("a table");
    assert_eq!(world.api.get(&link).send().await.code(), 200);
}
