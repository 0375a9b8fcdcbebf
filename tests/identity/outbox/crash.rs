//! SIGKILL between `bind` and `onbind`: every invitation arrives, at its address's owner, and at nobody else.
//!
//! Invariant: `CRASH_ROUNDS` in the environment says how often the server is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use harness::homeserver::Join;
use harness::wait::wait_until;
use serde_json::json;
use shared::random::Random;
use tokio::task::JoinSet;

use super::{BOB, CAROL, ONBIND, Scene};
use crate::identity::crash::rounds;
use crate::identity::setup::{DEADLINE, Session, Settings, databases, v2};

const BINDS_A_ROUND: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn no_invitation_is_lost_and_none_comes_to_a_stranger() {
    let databases = databases().await;
    join_all(databases.iter().map(|database| be_killed_again_and_again(database))).await;
}

async fn be_killed_again_and_again(database: &str) {
    let settings = Settings { federation: "timeout = \"5s\"", tables: database, ..Settings::default() };
    let mut scene = Arc::new(Scene::with(settings).await);
    scene.other.federate_with(&scene.world.homeserver);
    // By token.
    let mut owners: BTreeMap<String, &'static str> = BTreeMap::new();
    for round in 0..rounds() {
        let mut binds = Vec::new();
        for number in 0..BINDS_A_ROUND {
            let email = format!("r{round}n{number}@example.com");
            let owner = [BOB, CAROL][number % 2];
            owners.insert(scene.invite("!r:hs.example", &email).await, owner);
            binds.push((owner, scene.validate(owner, &email).await));
        }
        let before = scene.world.homeserver.requests_to(ONBIND).len();
        let mut tasks = JoinSet::new();
        for (owner, session) in binds.clone() {
            let scene = Arc::clone(&scene);
            tasks.spawn(async move { answered(&scene, owner, &session).await });
        }
        // Anywhere from before the first bind to after the last onbind.
        if Random.below(2) == 0 {
            let homeserver = &scene.world.homeserver;
            wait_until("a request", DEADLINE, || homeserver.requests_to(ONBIND).len() > before).await;
        }
        for _ in 0..Random.below(3000) {
            tokio::task::yield_now().await;
        }
        scene.world.server.signal("KILL");
        tasks.join_all().await;
        Arc::get_mut(&mut scene).expect("all tasks have ended").restart().await;
        // A client that got no answer asks again.
        for (owner, session) in &binds {
            assert!(answered(&scene, owner, session).await, "round {round}: {}", scene.world.server.logs());
        }
    }
    let joined = |joins: &[Join]| -> BTreeSet<String> { joins.iter().map(|join| join.token.clone()).collect() };
    wait_until("every invitation", 2 * DEADLINE, || joined(&scene.all_joins()).len() == owners.len()).await;
    scene.wait_for_empty().await;
    let joins = scene.all_joins();
    for join in &joins {
        assert_eq!(owners.get(&join.token), Some(&join.mxid.as_str()), "{join:?}");
    }
    // At least once is what is promised; that there are such at all is the crash's fault.
    assert!(joins.len() < owners.len() * 2, "{} of {}", joins.len(), owners.len());
}

/// Whether a bind was answered, as it is by a server that lives.
async fn answered(scene: &Scene, owner: &str, session: &Session) -> bool {
    let body = json!({ "sid": session.sid, "client_secret": session.client_secret, "mxid": owner });
    let answer = scene.world.api.post(&v2("/3pid/bind"), body).bearer(&scene.tokens[owner]).try_send().await;
    answer.is_ok_and(|answer| answer.expect(200)["mxid"] == owner)
}
