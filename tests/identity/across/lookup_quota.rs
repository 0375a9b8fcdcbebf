//! The daily lookup quotas of two processes on one PostgreSQL database: counted together, and kept over restarts.
//!
//! Invariant: without PostgreSQL on the machine these tests are skipped and listed; with `CI=true` they fail.

use std::ops::Range;

use harness::api::{Answer, Api};
use harness::postgres::Cluster;
use harness::process::Server;
use harness::wait::wait_for;
use harness::world::identity::{DEADLINE, Settings, World, hash, v2};
use serde_json::json;

/// The entries of a request: hashes of addresses with these numbers.
async fn look_up(api: &Api, token: &str, pepper: &str, numbers: Range<u32>) -> Answer {
    let entries: Vec<_> = numbers.map(|n| hash(&format!("{n}@example.com"), "email", pepper)).collect();
    let body = json!({ "addresses": entries, "algorithm": "sha256", "pepper": pepper });
    api.post(&v2("/lookup"), body).bearer(token).send().await
}

fn refused(answer: &Answer) {
    let wait = answer.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"].as_u64().expect("a number");
    assert!((1..=86_400_000).contains(&wait), "{answer}");
}

/// Two processes with these lines of `[lookup]`, on one database.
async fn pair(lookup: &str) -> Option<(World, Server, Api)> {
    let url = harness::database::postgresql().await?;
    let tables = format!("[limits]\nenabled = false\n[lookup]\n{lookup}\n[database]\nurl = \"{url}\"");
    let server = "name = \"id.example.org\"";
    let first = World::with(Settings { server, tables: &tables, ..Settings::default() }).await;
    let (second, api) = first.twin().await;
    Some((first, second, api))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_and_a_homeserver_have_one_quota_at_two_processes() {
    let Some((mut world, _second, second)) = pair("daily_quota = 30\ndaily_quota_per_homeserver = 50").await else {
        return;
    };
    let (alice, bob) = (world.register("@alice:hs.example").await, world.register("@bob:hs.example").await);
    let pepper = world.pepper(&alice).await;
    look_up(&world.api, &alice, &pepper, 0..20).await.expect(200);
    // The same addresses are free at the other process, and new ones count with those of the first.
    look_up(&second, &alice, &pepper, 0..20).await.expect(200);
    look_up(&second, &alice, &pepper, 10..30).await.expect(200);
    refused(&look_up(&second, &alice, &pepper, 29..31).await);
    refused(&look_up(&world.api, &alice, &pepper, 30..31).await);
    look_up(&world.api, &alice, &pepper, 0..30).await.expect(200);

    look_up(&second, &bob, &pepper, 0..10).await.expect(200);
    refused(&look_up(&world.api, &bob, &pepper, 0..21).await);
    look_up(&world.api, &bob, &pepper, 0..20).await.expect(200);
    refused(&look_up(&second, &bob, &pepper, 20..21).await);

    // What a killed process has counted is in the database.
    world.restart().await;
    for (token, known) in [(&alice, 0..30), (&bob, 0..20)] {
        look_up(&world.api, token, &pepper, known.clone()).await.expect(200);
        refused(&look_up(&world.api, token, &pepper, known.end..known.end + 1).await);
    }
    let metrics = Api::new(&world.server.admin_url()).get("/metrics").send().await.text();
    let line = "identity_lookup_quota_leased{homeservers=\"hs.example\"} 50";
    assert!(metrics.lines().any(|found| found == line), "{metrics}");
    for limit in ["daily_quota", "daily_quota_per_homeserver"] {
        let line = format!("identity_rate_limited_total{{limit=\"{limit}\"}} 1");
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_stops_gives_its_part_of_the_quota_back() {
    let Some((world, mut stopped, second)) = pair("daily_quota = 1000").await else { return };
    let alice = world.register("@alice:hs.example").await;
    let pepper = world.pepper(&alice).await;
    // A lease of ten addresses, of which one is stored with the lease and two are counted in memory.
    look_up(&second, &alice, &pepper, 0..1).await.expect(200);
    look_up(&second, &alice, &pepper, 1..3).await.expect(200);
    assert!(stopped.terminate(DEADLINE).await.success());

    look_up(&world.api, &alice, &pepper, 0..3).await.expect(200);
    look_up(&world.api, &alice, &pepper, 3..1000).await.expect(200);
    refused(&look_up(&world.api, &alice, &pepper, 999..1001).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_costs_no_part_of_the_quota() {
    let Some(mut cluster) = Cluster::own().await else { return };
    let url = cluster.database("quota").await;
    let tables = format!("[limits]\nenabled = false\n[lookup]\nindex = \"memory\"\n[database]\nurl = \"{url}\"");
    let world = World::with(Settings { tables: &tables, ..Settings::default() }).await;
    world.server.wait_for_log("lookups are answered from memory", DEADLINE).await;
    let alice = world.register("@alice:hs.example").await;
    let pepper = world.pepper(&alice).await;
    look_up(&world.api, &alice, &pepper, 0..5).await.expect(200);
    cluster.stop();
    // Within the lease and beyond it: what is in memory is used only while the changes can be read.
    for count in [1000, 1001] {
        wait_for("a refusal", DEADLINE, async || {
            let answer = look_up(&world.api, &alice, &pepper, 0..count).await;
            (answer.code() == 503).then_some(())
        })
        .await;
    }
    cluster.start();
    wait_for("the server to recover", DEADLINE, async || {
        let answer = look_up(&world.api, &alice, &pepper, 0..1001).await;
        (answer.code() == 200).then_some(())
    })
    .await;
}
