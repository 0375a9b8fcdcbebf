//! Two processes on one PostgreSQL database have one outbox.

use std::collections::BTreeSet;

use harness::homeserver::Fault;
use harness::wait::wait_until;
use serde_json::json;
use tokio::task::JoinSet;

use super::{BOB, EMAIL, ONBIND, Scene};
use harness::world::identity::{DEADLINE, Settings, v2};

#[tokio::test(flavor = "multi_thread")]
async fn they_share_the_work_and_send_nothing_twice() {
    let Some(url) = harness::database::postgresql().await else { return };
    let scene = Scene::start(&format!("[database]\nurl = \"{url}\"")).await;
    let (_second, second) = scene.world.twin().await;
    // The first attempt of each fails, so that both wait for the same times afterwards.
    scene.world.homeserver.fault_times(ONBIND, 30, Fault::reply(502, "gone"));
    let (mut sessions, mut tokens) = (Vec::new(), BTreeSet::new());
    for number in 0..30 {
        let email = format!("b{number}@example.com");
        tokens.insert(scene.invite("!r:hs.example", &email).await);
        sessions.push(scene.validate(BOB, &email).await);
    }
    let mut binds = JoinSet::new();
    for (number, session) in sessions.iter().enumerate() {
        let api = [&scene.world.api, &second][number % 2];
        let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": BOB });
        binds.spawn(api.post(&v2("/3pid/bind"), body).bearer(&scene.tokens[BOB]).send());
    }
    for answer in binds.join_all().await {
        answer.expect(200);
    }
    wait_until("all joins", DEADLINE, || scene.joins().len() == 30).await;
    scene.wait_for_empty().await;
    assert_eq!(scene.joins().into_keys().collect::<BTreeSet<_>>(), tokens);
    assert_eq!(scene.world.homeserver.requests_to(ONBIND).len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_leaves_behind_the_other_delivers() {
    let Some(url) = harness::database::postgresql().await else { return };
    let tables = format!("[database]\nurl = \"{url}\"");
    let settings = Settings { federation: "timeout = \"3s\"", tables: &tables, ..Settings::default() };
    let mut scene = Scene::with(settings).await;
    let token = scene.invite("!r:hs.example", EMAIL).await;
    let (second, _) = scene.world.twin().await;
    scene.world.homeserver.fault_times(ONBIND, 1, Fault::Silence);
    scene.bind(BOB, EMAIL).await;
    scene.wait_for_onbinds(1).await;
    scene.world.server.kill();
    scene.world.homeserver.set_identity_server("id.example.org", second.address());
    scene.wait_for_join(&token, BOB).await;
    scene.wait_for_onbinds(2).await;
}
