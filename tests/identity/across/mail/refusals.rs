//! A relay that rejects, does not respond, closes the connection, or does not run.

use harness::mail::{Offer, Script, Sink, Stage};

use super::{BOB, request};
use harness::world::identity::{DEADLINE, Settings, World};

const STAGES: [Stage; 6] =
    [Stage::Greeting, Stage::Hello, Stage::Mail, Stage::Recipient, Stage::Data, Stage::EndOfData];

async fn world() -> (World, String) {
    let tables = "[limits]\nenabled = false";
    let settings = Settings { email: "timeout = \"1s\"", tables, ..Settings::default() };
    let world = World::with(settings).await;
    let bob = world.register("@bob:hs.example").await;
    (world, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_that_the_relay_rejects_is_an_error_at_once() {
    let answers = [
        Script::say("554 5.7.1 <bob@example.com>: refused, says the relay"),
        Script::say("550-5.1.1 no\r\n550 5.1.1 such person"),
        Script::say("this is not SMTP"),
        Script::say("354 go on, out of turn"),
        Script::Close,
        Script::Silence,
    ];
    let (world, bob) = world().await;
    let mut tried = 0;
    for stage in STAGES {
        for script in &answers {
            // 354 is the right reply to DATA; the next case covers what follows.
            if stage == Stage::Data && *script == answers[3] {
                continue;
            }
            tried += 1;
            world.mail.always(stage, script.clone());
            let answer = world.ask(&bob, request("s", BOB)).await;
            assert_eq!(answer.code(), 400, "{stage:?}, {script:?}: {answer}");
            assert_eq!(answer.json()["errcode"], "M_EMAIL_SEND_ERROR", "{stage:?}, {script:?}: {answer}");
            assert!(!answer.text().contains("relay") && !answer.text().contains("5.1.1"), "{answer}");
            world.mail.mend();
        }
    }
    assert_eq!((tried, world.mail.mails().len()), (35, 0));
    // No attempt was stored as sent, and no connection is out of step.
    world.ask(&bob, request("s", BOB)).await.expect(200);
    assert_eq!(world.mail.mails_to(BOB).len(), 1);
    assert!(!world.server.logs().contains("says the relay"), "{}", world.server.logs());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_relay_is_an_error_at_once_and_in_the_log() {
    let (mut world, bob) = world().await;
    world.mail = Sink::start(Offer::default()).await;
    world.ask(&bob, request("s", BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
    world.server.wait_for_log("mail cannot be sent", DEADLINE).await;
    assert_eq!(world.mail.connections(), 0);
}
