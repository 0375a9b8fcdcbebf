//! SIGKILL between `bind` and `onbind`: every invitation reaches the owner of its address, and only the owner.
//!
//! Invariant: the number of kills grows with `GATEHOUSE_LONG_TESTS=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use harness::wait::wait_until;
use serde_json::json;
use shared::random::Random;
use tokio::task::JoinSet;

use super::{BOB, CAROL, ONBIND, Scene};
use crate::identity::across::crash::rounds;
use harness::world::identity::{DEADLINE, Session, Settings, databases, v2};

const BINDS_A_ROUND: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn no_invitation_is_lost_and_none_comes_to_a_stranger() {
    let databases = databases().await;
    join_all(databases.iter().map(|database| be_killed_again_and_again(database))).await;
}

#[expect(clippy::print_stdout, reason = "figures for a run with --nocapture")]
async fn be_killed_again_and_again(database: &str) {
    let settings = Settings { federation: "timeout = \"5s\"", tables: database, ..Settings::default() };
    let mut scene = Arc::new(Scene::with(settings).await);
    scene.other.federate_with(&scene.world.homeserver);
    // By token.
    let mut owners: BTreeMap<String, &'static str> = BTreeMap::new();
    let mut in_between = 0;
    // More rounds, until a kill falls between a bind and its onbind.
    for round in 0..10 * rounds() {
        if round >= rounds() && in_between > 0 {
            break;
        }
        let mut binds = Vec::new();
        for number in 0..BINDS_A_ROUND {
            let email = format!("r{round}n{number}@example.com");
            let owner = [BOB, CAROL][number % 2];
            let token = scene.invite("!r:hs.example", &email).await;
            owners.insert(token.clone(), owner);
            binds.push(Bind { owner, session: scene.validate(owner, &email).await, token, is_answered: false });
        }
        let before = scene.world.homeserver.requests_to(ONBIND).len();
        let mut tasks = JoinSet::new();
        for bind in binds {
            tasks.spawn(bind.ask(Arc::clone(&scene)));
        }
        // At any time from before the first bind to after the last onbind.
        if Random.below(2) == 0 {
            let homeserver = &scene.world.homeserver;
            wait_until("a request", DEADLINE, || homeserver.requests_to(ONBIND).len() > before).await;
        }
        for _ in 0..Random.below(3000) {
            tokio::task::yield_now().await;
        }
        scene.world.server.signal("KILL");
        let binds = tasks.join_all().await;
        let joined = joined(&scene);
        in_between += binds.iter().filter(|bind| bind.is_answered && !joined.contains(&bind.token)).count();
        Arc::get_mut(&mut scene).expect("all tasks have ended").restart().await;
        // A client without a response repeats the request; a client with one does not.
        for bind in binds.into_iter().filter(|bind| !bind.is_answered) {
            let bind = bind.ask(Arc::clone(&scene)).await;
            assert!(bind.is_answered, "round {round}: {}", scene.world.server.logs());
        }
    }
    assert!(in_between > 0, "no kill fell between bind and onbind");
    wait_until("every invitation", 2 * DEADLINE, || joined(&scene).len() == owners.len()).await;
    scene.wait_for_empty().await;
    let joins = scene.all_joins();
    for join in &joins {
        assert_eq!(owners.get(&join.token), Some(&join.mxid.as_str()), "{join:?}");
    }
    // Each invitation is delivered at least once, and twice only if its delivery was in flight when the process was
    // killed.
    let repeated = joins.len() - owners.len();
    assert!(repeated < owners.len(), "{repeated} of {}", owners.len());
    println!("{} invitations, {in_between} of them killed on their way, {repeated} came twice", owners.len());
}

/// The tokens of the delivered invitations.
fn joined(scene: &Scene) -> BTreeSet<String> {
    scene.all_joins().into_iter().map(|join| join.token).collect()
}

/// A user who binds an invited address.
struct Bind {
    owner: &'static str,
    session: Session,
    token: String,
    /// Whether the server has responded.
    is_answered: bool,
}

impl Bind {
    async fn ask(mut self, scene: Arc<Scene>) -> Self {
        let Session { sid, client_secret, .. } = &self.session;
        let body = json!({ "sid": sid, "client_secret": client_secret, "mxid": self.owner });
        let call = scene.world.api.post(&v2("/3pid/bind"), body).bearer(&scene.tokens[self.owner]);
        let answer = call.try_send().await;
        self.is_answered = answer.is_ok_and(|answer| answer.expect(200)["mxid"] == self.owner);
        self
    }
}
