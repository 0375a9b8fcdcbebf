//! A worker whose lease ends while it sends: its late result changes nothing, and at most one message goes out.
//!
//! Invariant: a step of the server's clock ends the lease; the sending itself is real and slow.

use std::time::Duration;

use harness::clock::SteppedClock;
use harness::mail::{Script as Reply, Stage};
use harness::process::new_folder;
use harness::sms::{Ending, Script};
use harness::wait::{wait_for, wait_until};
use harness::world::identity::{DEADLINE, Settings, World, databases, v2};
use serde_json::{Value, json};

/// Longer than every lease.
const HOUR: i64 = 3600;

fn sms_request() -> Value {
    json!({ "client_secret": "s", "phone_number": "07700900001", "country": "GB", "send_attempt": 1 })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_result_of_an_sms_counts_and_no_second_one_goes_out() {
    let path = v2("/validate/msisdn/requestToken");
    for database in databases().await {
        let Some(clock) = SteppedClock::ahead_by(0) else { return };
        let (folder, environment) = (new_folder(), clock.environment());
        let script = Script::write(folder.path(), "send", Ending::Held);
        let tables = format!(
            "{database}[sms]\nprovider = \"exec\"\nrules.44 = \"allow\"\ntimeout = \"60s\"\nexec.command = {:?}\n",
            script.path().display().to_string()
        );
        let world = World::with(Settings { tables: &tables, environment: &environment, ..Settings::default() }).await;
        let alice = world.register("@alice:hs.example").await;
        let first = tokio::spawn(world.api.post(&path, sms_request()).bearer(&alice).send());
        wait_until("the program", DEADLINE, || !script.inputs().is_empty()).await;

        clock.set(HOUR);
        // Nothing is known about the first message, so none is sent.
        let ask = || world.api.post(&path, sms_request()).bearer(&alice).send();
        ask().await.refused(400, "M_SEND_ERROR");
        script.release();
        let sid = first.await.expect("a task").expect(200)["sid"].clone();
        assert_eq!(ask().await.expect(200)["sid"], sid, "the same session");
        let inputs = script.inputs();
        assert_eq!(inputs.len(), 1, "one message: {inputs:?}");
        let sent: Value = serde_json::from_str(&inputs[0]).expect("JSON");
        let submission = json!({ "sid": sid, "client_secret": "s", "token": sent["token"] });
        let path = v2("/validate/msisdn/submitToken");
        world.api.post(&path, submission).bearer(&alice).send().await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_late_failure_of_a_mail_takes_nothing_from_the_one_that_went_out() {
    for database in databases().await {
        let Some(clock) = SteppedClock::ahead_by(0) else { return };
        let environment = clock.environment();
        let email = "timeout = \"3s\"";
        let settings = Settings { tables: &database, email, environment: &environment, ..Settings::default() };
        let world = World::with(settings).await;
        let bob = world.register("@bob:hs.example").await;
        let body = json!({ "client_secret": "s", "email": "bob@example.com", "send_attempt": 1 });
        let path = v2("/validate/email/requestToken");
        world.mail.script(Stage::Recipient, [Reply::Silence]);
        let first = tokio::spawn(world.api.post(&path, body.clone()).bearer(&bob).send());
        let has_arrived = || world.mail.commands().iter().any(|command| command.to_uppercase().starts_with("RCPT"));
        wait_until("the first mail", DEADLINE, has_arrived).await;

        clock.set(HOUR);
        let second = tokio::time::timeout(Duration::from_secs(30), world.ask(&bob, body.clone()));
        let sid = second.await.expect("an answer").expect(200)["sid"].clone();
        let mail = world.mail.wait_for("bob@example.com", 1, DEADLINE).await.message();
        first.await.expect("a task");
        for _ in 0..3 {
            assert_eq!(world.ask(&bob, body.clone()).await.expect(200)["sid"], sid);
        }
        assert_eq!(world.mail.mails().len(), 1, "the attempt stays recorded");
        assert_eq!(mail.validation_parameter("sid"), sid.as_str().expect("a sid"));
        let link = mail.validation_link();
        let confirmed = harness::world::identity::confirmed(&link);
        wait_for("the link", DEADLINE, async || (world.api.get(&confirmed).send().await.code() == 200).then_some(()))
            .await;
    }
}
