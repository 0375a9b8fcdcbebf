//! An invitation whose mail does not simply go through: refused, put off, cut short, and a client that hangs up.

use harness::mail::{Script, Stage};
use harness::raw::Raw;
use harness::wait::wait_for;
use serde_json::json;

use super::refusals::rows;
use super::{ALICE, BOB, EPHEMERAL, NO_LIMITS, invitation, invite, is_valid, link, store};
use harness::world::identity::{DEADLINE, Settings, World, v2};

async fn world() -> (World, String) {
    let settings =
        Settings { email: "retry_after = \"1s\"\ntimeout = \"2s\"", tables: NO_LIMITS, ..Settings::default() };
    let world = World::with(settings).await;
    let alice = world.register(ALICE).await;
    (world, alice)
}

fn left(world: &World) -> [i64; 3] {
    ["invites", "ephemeral_keys", "outgoing_mails"].map(|table| rows(&world.server, table))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_whose_mail_is_refused_for_good_is_taken_back() {
    let (world, alice) = world().await;
    for (stage, script) in [
        (Stage::Recipient, Script::say("550 5.1.1 no such user")),
        (Stage::EndOfData, Script::say("554 5.7.1 spam")),
        (Stage::EndOfData, Script::Close),
        (Stage::EndOfData, Script::Silence),
        (Stage::Greeting, Script::say("554 not you")),
    ] {
        // A new conversation each time, so that each stage is met.
        world.mail.script(Stage::Mail, [Script::Close]);
        store(&world, &alice, invitation(BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
        world.mail.always(stage, script.clone());
        store(&world, &alice, invitation(BOB)).await.refused(400, "M_EMAIL_SEND_ERROR");
        assert_eq!(left(&world), [0, 0, 0], "{stage:?} {script:?}");
        world.mail.mend();
    }
    invite(&world, &alice, invitation(BOB)).await;
    assert_eq!(left(&world), [1, 1, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_whose_mail_is_put_off_stands_and_its_mail_follows() {
    let (mut world, alice) = world().await;
    world.mail.always(Stage::Recipient, Script::say("450 4.2.1 later"));
    let answer = store(&world, &alice, invitation(BOB)).await.expect(200);
    assert_eq!(left(&world), [1, 1, 1]);
    assert!(is_valid(&world, EPHEMERAL, answer["public_keys"][1]["public_key"].as_str().unwrap()).await);
    world.server.kill();
    world.mail.mend();
    world.restart().await;
    let mail = world.mail.wait_for(BOB, 1, 2 * DEADLINE).await;
    let link = link(&mail);
    assert_eq!(link.signed_by("token"), answer["token"].as_str().unwrap());
    world.api.post(&link.sign_path(), json!(null)).query("mxid", "@bob:hs.example").send().await.expect(200);
    wait_for("an empty queue", DEADLINE, async || (rows(&world.server, "outgoing_mails") == 0).then_some(())).await;
    assert_eq!(world.mail.mails().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_is_in_the_room_outlives_a_mail_that_is_refused_in_the_end() {
    let (world, alice) = world().await;
    world.mail.script(Stage::Recipient, [Script::say("451 4.7.1 greylisted"), Script::say("550 5.1.1 no such user")]);
    let answer = store(&world, &alice, invitation(BOB)).await.expect(200);
    world.server.wait_for_log("queued mail was dropped", DEADLINE).await;
    wait_for("an empty queue", DEADLINE, async || (left(&world) == [1, 1, 0]).then_some(())).await;
    assert!(is_valid(&world, EPHEMERAL, answer["public_keys"][1]["public_key"].as_str().unwrap()).await);
    assert_eq!(world.mail.mails().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_homeserver_that_hangs_up_leaves_an_invitation_with_its_mail_or_none() {
    let (world, alice) = world().await;
    world.mail.always(Stage::EndOfData, Script::Silence);
    let body = invitation(BOB).to_string();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice}\r\nContent-Length: {}\r\n\r\n{body}",
        v2("/store-invite"),
        body.len()
    );
    let mut connection = Raw::connect(world.server.address()).await;
    connection.send(head.as_bytes()).await;
    wait_for("the mail to be on its way", DEADLINE, async || (left(&world) == [1, 1, 0]).then_some(())).await;
    drop(connection);
    // The relay never answers, so the invitation is taken back, although the client has hung up.
    wait_for("the invitation to be taken back", DEADLINE, async || (left(&world) == [0, 0, 0]).then_some(())).await;
}
