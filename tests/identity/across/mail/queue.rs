//! Mail that the relay deferred (SMTP 4xx): queued, retried, never lost and never sent twice.

use harness::mail::{Script, Stage};
use harness::wait::wait_for;

use super::{BOB, request};
use harness::world::identity::{DEADLINE, Settings, World, confirmed};

async fn world(tables: &str) -> (World, String) {
    let settings = Settings { email: "retry_after = \"1s\"\ntimeout = \"2s\"", tables, ..Settings::default() };
    let world = World::with(settings).await;
    let bob = world.register("@bob:hs.example").await;
    (world, bob)
}

/// Waits until the queue holds this number of mails, by the operator's metrics.
async fn wait_for_queue(world: &World, length: usize) {
    let line = format!("identity_queued_mails {length}");
    wait_for(&line, DEADLINE, async || {
        harness::metrics::of(&world.server).await.lines().any(|found| found == line).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_was_put_off_arrives_later_and_once() {
    for stage in [Stage::Greeting, Stage::Hello, Stage::Mail, Stage::Recipient, Stage::Data, Stage::EndOfData] {
        let (world, bob) = world("").await;
        let later = Script::say("450 4.2.1 come back later");
        world.mail.script(stage, [later.clone(), later]);
        let sid = world.ask(&bob, request("s", BOB)).await.expect(200)["sid"].clone();
        // For the client the mail is sent.
        assert_eq!(world.ask(&bob, request("s", BOB)).await.expect(200)["sid"], sid, "{stage:?}");
        let mail = world.mail.wait_for(BOB, 1, DEADLINE).await.message();
        assert_eq!(mail.validation_parameter("sid"), sid.as_str().unwrap(), "{stage:?}");
        wait_for_queue(&world, 0).await;
        assert_eq!(world.mail.mails().len(), 1, "{stage:?}");
        let link = mail.validation_link();
        assert_eq!(world.api.get(&confirmed(&link)).send().await.code(), 200, "{stage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_the_queue_survives_a_power_cut() {
    let (mut world, bob) = world("").await;
    world.mail.always(Stage::EndOfData, Script::say("452 4.3.1 no room"));
    let sid = world.ask(&bob, request("s", BOB)).await.expect(200)["sid"].clone();
    world.server.kill();
    assert_eq!(world.mail.mails().len(), 0);
    world.mail.mend();
    world.restart().await;
    let mail = world.mail.wait_for(BOB, 1, 2 * DEADLINE).await.message();
    assert_eq!(mail.validation_parameter("sid"), sid.as_str().unwrap());
    let link = mail.validation_link();
    assert_eq!(world.api.get(&confirmed(&link)).send().await.code(), 200);
    wait_for_queue(&world, 0).await;
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_the_queue_outlives_an_outage_of_the_relay() {
    let (world, bob) = world("").await;
    world.mail.script(Stage::Recipient, [Script::say("451 4.7.1 greylisted")]);
    world.ask(&bob, request("s", BOB)).await.expect(200);
    world.mail.always(Stage::Greeting, Script::Close);
    world.server.wait_for_log("mail relay unusable", DEADLINE).await;
    world.mail.mend();
    world.mail.wait_for(BOB, 1, DEADLINE).await;
    wait_for_queue(&world, 0).await;
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_in_the_queue_that_is_refused_for_good_is_dropped() {
    let (world, bob) = world("").await;
    let answers = [Script::say("451 4.7.1 greylisted"), Script::say("550 5.1.1 no such user")];
    world.mail.script(Stage::Recipient, answers);
    world.ask(&bob, request("s", BOB)).await.expect(200);
    world.server.wait_for_log("queued mail was dropped", DEADLINE).await;
    wait_for_queue(&world, 0).await;
    assert_eq!(world.mail.mails().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_mail_is_dropped_when_its_session_has_expired() {
    let (world, bob) = world("[sessions]\nlifetime = \"3s\"").await;
    world.mail.always(Stage::Recipient, Script::say("451 4.7.1 greylisted"));
    world.ask(&bob, request("s", BOB)).await.expect(200);
    world.server.wait_for_log("the mail has expired", DEADLINE).await;
    wait_for_queue(&world, 0).await;
    assert_eq!(world.mail.mails().len(), 0);
}
