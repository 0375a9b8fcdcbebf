//! Rotation of the pepper: clients find every address before, during and after it, at every process.
//!
//! Invariant: a client keeps the pepper that it got until it asks for another; it gets no error while that is accepted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::api::Api;
use harness::clock::SteppedClock;
use harness::options::scale;
use harness::wait::wait_for;
use harness::world::identity::{SQLITE, Settings, World, hash, v2};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const BOB: &str = "@bob:hs.example";
/// A rotation waits for 15 seconds twice.
const ROTATION: Duration = Duration::from_secs(120);

async fn hash_details(api: &Api, token: &str) -> Value {
    api.get(&v2("/hash_details")).bearer(token).send().await.expect(200)
}

async fn pepper(api: &Api, token: &str) -> String {
    hash_details(api, token).await["lookup_pepper"].as_str().expect("a pepper").to_owned()
}

/// The addresses that have users, of all these, by a lookup with `pepper`.
async fn found(api: &Api, token: &str, addresses: &[String], pepper: &str) -> usize {
    let hashes: Vec<String> = addresses.iter().map(|address| hash(address, "email", pepper)).collect();
    let body = json!({ "addresses": hashes, "algorithm": "sha256", "pepper": pepper });
    let answer = api.post(&v2("/lookup"), body).bearer(token).send().await.expect(200);
    answer["mappings"].as_object().expect("an object").len()
}

/// Clients that look up all addresses again and again, each with the pepper that it got last, until `is_over`. Returns the
/// number of addresses that they asked for.
fn look_up_until(is_over: &Arc<AtomicBool>, apis: &[Api], token: &str, addresses: &[String]) -> JoinSet<usize> {
    let mut clients = JoinSet::new();
    for number in 0..scale(1, 4) {
        let (apis, token, addresses, is_over) = (apis.to_vec(), token.to_owned(), addresses.to_vec(), is_over.clone());
        clients.spawn(async move {
            let (mut asked, mut round) = (0, number);
            while !is_over.load(Ordering::Relaxed) {
                let current = pepper(&apis[round % apis.len()], &token).await;
                for _ in 0..10 {
                    round += 1;
                    let api = &apis[round % apis.len()];
                    assert_eq!(found(api, &token, &addresses, &current).await, addresses.len(), "round {round}");
                    asked += addresses.len();
                }
                round += 1;
            }
            asked
        });
    }
    clients
}

async fn bind_some(world: &World, token: &str, range: std::ops::Range<usize>) -> Vec<String> {
    let mut addresses = Vec::new();
    for number in range {
        let address = format!("bob{number}@example.com");
        world.bind(token, BOB, &address).await;
        addresses.push(address);
    }
    addresses
}

async fn refuses(api: &Api, token: &str, former: &str, current: &str) -> bool {
    let body = json!({ "addresses": [], "algorithm": "sha256", "pepper": former });
    let answer = api.post(&v2("/lookup"), body).bearer(token).send().await;
    if answer.code() == 200 {
        return false;
    }
    let error = answer.refused(400, "M_INVALID_PEPPER");
    assert_eq!((&error["algorithm"], &error["lookup_pepper"]), (&json!("sha256"), &json!(current)));
    true
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the number is read by people")]
async fn no_lookup_misses_an_address_while_the_pepper_of_two_processes_is_rotated() {
    let Some(url) = harness::database::postgresql().await else { return };
    let Some(clock) = SteppedClock::ahead_by(60) else { return };
    let tables = format!(
        "[limits]\nenabled = false\n[lookup]\nindex = \"memory\"\ndaily_quota = 0\ndaily_quota_per_homeserver = 0\n\
         [database]\nurl = \"{url}\""
    );
    let environment = clock.environment();
    let settings = Settings { server: "name = \"id.example.org\"", tables: &tables, ..Settings::default() };
    let world = World::with(Settings { environment: &environment, ..settings }).await;
    let (_second, second) = world.twin().await;
    let apis = [world.api.clone(), second];
    let bob = world.register(BOB).await;
    let bound = bind_some(&world, &bob, 0..scale(20, 200)).await;
    let former = pepper(&apis[0], &bob).await;
    for api in &apis {
        wait_for("the second process to find all", ROTATION, async || {
            (found(api, &bob, &bound, &former).await == bound.len()).then_some(())
        })
        .await;
    }

    let is_over = Arc::new(AtomicBool::new(false));
    let clients = look_up_until(&is_over, &apis, &bob, &bound);
    let rotated = world.server.run(&["rotate-pepper"]).await;
    let said = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert!(rotated.status.success() && said.ends_with("the new pepper is advertised\n"), "{rotated:?}");
    // An address that was bound during the rotation is found under both.
    let late = bind_some(&world, &bob, 1000..1003).await;
    let mut peppers = Vec::new();
    for api in &apis {
        let details = wait_for("the process to advertise the new pepper", ROTATION, async || {
            Some(hash_details(api, &bob).await).filter(|details| details["lookup_pepper"] != json!(former))
        })
        .await;
        assert_eq!(details["alt_lookup_peppers"], json!([former]));
        peppers.push(details["lookup_pepper"].as_str().expect("a pepper").to_owned());
    }
    let current = peppers.pop().expect("two");
    assert_eq!(peppers, std::slice::from_ref(&current));
    for api in &apis {
        for pepper in [&former, &current] {
            wait_for("the process to find the late ones", ROTATION, async || {
                (found(api, &bob, &late, pepper).await == late.len()).then_some(())
            })
            .await;
        }
    }
    // There is room for two peppers.
    let refused = world.server.run(&["rotate-pepper"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("still in use; try again in "), "{refused:?}");
    is_over.store(true, Ordering::Relaxed);
    let asked: usize = clients.join_all().await.into_iter().sum();
    println!("{asked} addresses were looked up during the rotation, none was missed");

    // The grace period is over by the clock of the first.
    clock.set(2 * 3600);
    for api in &apis {
        wait_for("the former pepper to be refused", ROTATION, async || {
            refuses(api, &bob, &former, &current).await.then_some(())
        })
        .await;
        assert_eq!(hash_details(api, &bob).await.get("alt_lookup_peppers"), None);
        assert_eq!(found(api, &bob, &bound, &current).await, bound.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pepper_is_rotated_after_a_week_and_after_another() {
    let Some(clock) = SteppedClock::ahead_by(0) else { return };
    let environment = clock.environment();
    let world = World::with(Settings { environment: &environment, ..Settings::default() }).await;
    let bob = world.register(BOB).await;
    let bound = bind_some(&world, &bob, 0..3).await;
    let mut former = pepper(&world.api, &bob).await;
    for week in 1..=2 {
        clock.set(week * (7 * 86_400 + 600));
        let current = wait_for("a new pepper", ROTATION, async || {
            Some(pepper(&world.api, &bob).await).filter(|current| *current != former)
        })
        .await;
        assert_eq!(found(&world.api, &bob, &bound, &former).await, bound.len());
        assert_eq!(found(&world.api, &bob, &bound, &current).await, bound.len());
        clock.set(week * (7 * 86_400 + 600) + 2 * 3600);
        wait_for("the end of the grace period", ROTATION, async || {
            refuses(&world.api, &bob, &former, &current).await.then_some(())
        })
        .await;
        former = current;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_rotates_the_pepper_again_and_again_without_a_server() {
    let tables = format!("{SQLITE}[lookup]\npepper_grace = \"1s\"\n");
    let mut world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    let bob = world.register(BOB).await;
    let bound = bind_some(&world, &bob, 0..2).await;
    let first = pepper(&world.api, &bob).await;
    world.server.kill();
    for said_first in ["every association gets its hashes", "the pepper before the current one is being removed"] {
        let rotated = world.server.run(&["rotate-pepper"]).await;
        let said = String::from_utf8_lossy(&rotated.stdout).into_owned();
        assert!(rotated.status.success() && said.starts_with(said_first), "{rotated:?}");
        assert!(said.ends_with("the new pepper is advertised\n"), "{said}");
    }
    world.server.restart().await;
    world.api = Api::new(&world.server.url());
    let third = pepper(&world.api, &bob).await;
    assert!(third != first);
    assert_eq!(found(&world.api, &bob, &bound, &third).await, bound.len());
    assert!(refuses(&world.api, &bob, &first, &third).await);
}
