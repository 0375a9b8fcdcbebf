//! `GET submitToken` for a number, and where the browser goes from it.

use hyper::Method;
use serde_json::json;

use super::{ALICE, ALLOWED, ask, request_code, texts, world};
use harness::world::identity::{Session, World, v2};

fn link(session: &Session, code: &str) -> String {
    let Session { sid, client_secret, .. } = session;
    v2(&format!("/validate/msisdn/submitToken?token={code}&client_secret={client_secret}&sid={sid}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_submit_the_code_too() {
    let world = world(ALLOWED).await;
    let alice = world.register(ALICE).await;
    let session = request_code(&world, &alice, "07700900001").await;
    // A look is no submission.
    world.api.request(Method::HEAD, &link(&session, &session.token)).send().await;
    world.validated(&alice, &session).await.refused(400, "M_SESSION_NOT_VALIDATED");

    let wrong = world.api.get(&link(&session, "000000x")).send().await;
    assert_eq!(wrong.code(), 400, "{wrong}");
    let page = world.api.get(&link(&session, &session.token)).send().await;
    assert_eq!((page.code(), page.header("content-type")), (200, Some("text/html; charset=utf-8")), "{page}");
    assert!(page.text().contains("<title>Confirmed</title>"), "{page}");
    assert_eq!(page.header("cache-control"), Some("no-store"));
    world.validated(&alice, &session).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_to_the_next_link_of_the_session() {
    let tables = format!("{ALLOWED}\n[sessions]\nnext_link_hosts = \"*.example\"\n");
    let world: World = world(&tables).await;
    let alice = world.register(ALICE).await;
    let body = json!({
        "client_secret": "s", "phone_number": "07700900001", "country": "GB", "send_attempt": 1,
        "next_link": "https://app.example/done?a=b#c",
    });
    let answer = ask(&world, &alice, body).send().await.expect(200);
    let sid = answer["sid"].as_str().expect("a sid").to_owned();
    let session = Session { sid: sid.clone(), client_secret: "s".into(), token: texts(&world)[0].code() };
    let answer = world.api.get(&link(&session, &session.token)).send().await;
    assert_eq!(answer.code(), 302, "{answer}");
    assert_eq!(answer.header("location"), Some(&*format!("https://app.example/done?a=b&sid={sid}#c")));
}
