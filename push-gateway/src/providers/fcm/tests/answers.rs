//! The outcome of a delivery after each response of FCM, and what is sent again.

use std::time::Duration;

use harness::fcm::Fault;
use serde_json::json;
use shared::clock::{Clock, Timestamp};

use super::{World, assert_mistake, deliver, deliver_within, outage, pause, rejected};
use crate::providers::Provider;
use crate::providers::outcome::Certainty::{Certain, Suspect};
use crate::providers::outcome::{Failure, Outcome};

#[tokio::test]
async fn every_answer_has_its_outcome() {
    let world = World::new().await;
    let app = world.app();
    for (name, fault, expected) in [
        ("unregistered", Fault::unregistered(), rejected("UNREGISTERED", Certain)),
        ("sender", Fault::sender_id_mismatch(), rejected("SENDER_ID_MISMATCH", Suspect)),
        ("token", Fault::invalid_argument("message.token"), rejected("INVALID_ARGUMENT", Suspect)),
        ("fid", Fault::invalid_argument("message.fid"), rejected("INVALID_ARGUMENT", Suspect)),
        ("internal", Fault::internal(), outage("INTERNAL", None)),
        ("unavailable", Fault::unavailable(), outage("UNAVAILABLE", None)),
        ("wait", Fault::unavailable().with_header("retry-after", "7"), outage("UNAVAILABLE", Some(7))),
        (
            "past",
            Fault::unavailable().with_header("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
            outage("UNAVAILABLE", None),
        ),
        ("soon", Fault::unavailable().with_header("retry-after", "soon"), outage("UNAVAILABLE", None)),
        ("html-500", Fault::html(500), outage("INTERNAL", None)),
        ("html-502", Fault::html(502), outage("gateway", None)),
        ("html-503", Fault::html(503), outage("UNAVAILABLE", None)),
        ("html-504", Fault::html(504), outage("gateway", None)),
        ("empty-200", Fault::reply(200, ""), Outcome::Delivered),
        ("junk-200", Fault::html(200), Outcome::Delivered),
        ("cut-200", Fault::reply(200, "{\"na").cut_off(), Outcome::Delivered),
        ("cut-404", Fault::unregistered().cut_off(), rejected("UNREGISTERED", Certain)),
        ("204", Fault::reply(204, ""), Outcome::Delivered),
        ("reset", Fault::Reset(2), outage("connection_lost", None)),
    ] {
        world.google.fault_for(name, fault);
        assert_eq!(deliver(&app, name).await, expected, "{name}");
        assert_eq!(world.google.messages_for(name).len(), 1, "{name}");
    }
    for (name, fault, reason) in [
        ("404", Fault::error(404, "NOT_FOUND"), "NOT_FOUND"),
        ("html-404", Fault::html(404), "NOT_FOUND"),
        ("403", Fault::error(403, "PERMISSION_DENIED"), "PERMISSION_DENIED"),
        ("third", Fault::third_party_auth_error(), "THIRD_PARTY_AUTH_ERROR"),
        ("redirect", Fault::reply(302, "").with_header("location", "https://127.0.0.1:1/"), "redirect"),
        ("409", Fault::error(409, "ABORTED"), "unexpected_status"),
        ("501", Fault::html(501), "unexpected_status"),
    ] {
        world.google.fault_for(name, fault);
        assert_mistake(&deliver(&app, name).await, reason);
        assert_eq!(world.google.messages_for(name).len(), 1, "{name}");
    }
    assert_eq!(world.google.token_requests().len(), 1);
}

#[tokio::test]
async fn a_wrong_project_is_no_reason_to_reject_anyone() {
    let world = World::new().await;
    let app = world.try_app(json!({"project_id": "other-project"})).unwrap();
    assert_mistake(&deliver(&app, "tok-1").await, "NOT_FOUND");
    world.google.add_project("other-project");
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    world.google.unregister("tok-1");
    assert_eq!(deliver(&app, "tok-1").await, rejected("UNREGISTERED", Certain));
}

#[tokio::test]
async fn a_rejected_payload_is_resent_once_in_the_reduced_form() {
    let world = World::new().await;
    let app = world.app();
    world.google.fault_times_for("tok-1", 1, Fault::invalid_argument("message.data[0].key"));
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    let messages = world.google.messages_for("tok-1");
    assert_eq!(messages[0]["message"]["data"]["content_body"], "Tea?");
    let least = json!({"event_id": "$tea", "room_id": "!kitchen:example.org", "prio": "high", "unread": "2"});
    assert_eq!(messages[1]["message"]["data"], least);

    world.google.fault_for("tok-2", Fault::html(400));
    assert_eq!(deliver(&app, "tok-2").await, Outcome::Dropped("bad_payload"));
    assert_eq!(world.google.messages_for("tok-2").len(), 2);

    world.google.fault_for("tok-3", Fault::invalid_argument("message.token"));
    world.google.fault_times_for("tok-3", 1, Fault::invalid_argument("message.android.ttl"));
    assert_eq!(deliver(&app, "tok-3").await, rejected("INVALID_ARGUMENT", Suspect));

    // Both forms contain the operator's options.
    world.google.fault_for("tok-4", Fault::invalid_argument("message.android.ttl"));
    assert_mistake(&deliver(&app, "tok-4").await, "INVALID_ARGUMENT");
    assert_eq!(world.google.messages_for("tok-4").len(), 2);
}

#[tokio::test]
async fn a_message_may_need_both_a_new_token_and_the_reduced_form() {
    let world = World::new().await;
    let app = world.app();
    world.google.fault_times_for("tok-1", 1, Fault::invalid_argument("message.data"));
    world.google.fault_times_for("tok-1", 1, Fault::unauthenticated());
    assert_eq!(deliver(&app, "tok-1").await, Outcome::Delivered);
    assert_eq!(world.google.messages_for("tok-1").len(), 3);
}

#[tokio::test]
async fn without_time_left_nothing_is_resent() {
    let world = World::new().await;
    let app = world.app();
    app.warm_up().await.unwrap();
    world.google.fault_for("tok-1", Fault::html(400));
    let found = deliver_within(&app, "tok-1", Duration::from_secs(2)).await;
    assert_eq!(found, Failure::upstream("no_time", None).into());
    assert_eq!(world.google.messages_for("tok-1").len(), 1);
}

#[tokio::test]
async fn a_quota_pauses_the_device_and_then_the_project() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let world = World::at(clock.clone()).await;
    let app = world.app();
    let paused = |seconds, is_short| pause("paused", seconds, is_short);
    let quota = |seconds, is_short| pause("QUOTA_EXCEEDED", seconds, is_short);
    let over = |value: &str| Fault::quota_exceeded().with_header("retry-after", value);
    world.google.fault_times_for("a", 1, over("4"));
    assert_eq!(deliver(&app, "a").await, quota(4, true));
    clock.advance(Duration::from_secs(3));
    assert_eq!(deliver(&app, "a").await, paused(1, true));
    assert_eq!(world.google.messages_for("a").len(), 1);
    clock.advance(Duration::from_secs(1));
    assert_eq!(deliver(&app, "a").await, Outcome::Delivered);

    world.google.fault_times_for("b", 1, Fault::quota_exceeded());
    assert_eq!(deliver(&app, "b").await, quota(60, false));
    assert_eq!(deliver(&app, "b").await, paused(60, false));
    assert_eq!(deliver(&app, "other").await, Outcome::Delivered);

    world.google.fault_times_for("c", 1, over("99999999"));
    assert_eq!(deliver(&app, "c").await, quota(3600, false));
    // Another app of the same project pauses with it.
    let neighbour = world.app();
    assert_eq!(deliver(&neighbour, "other").await, paused(3600, false));
    let elsewhere = world.try_app(json!({"project_id": "second"})).unwrap();
    world.google.add_project("second");
    assert_eq!(deliver(&elsewhere, "other").await, Outcome::Delivered);
}

#[tokio::test]
async fn a_date_in_retry_after_counts_from_now() {
    let clock = Clock::manual(Timestamp::from_millis(784_111_777_000));
    let world = World::at(clock).await;
    let app = world.app();
    for date in ["Sun, 06 Nov 1994 09:49:37 GMT", "Sunday, 06-Nov-94 09:49:37 GMT", "Sun Nov  6 09:49:37 1994"] {
        world.google.fault_times(1, Fault::unavailable().with_header("retry-after", date));
        assert_eq!(deliver(&app, "tok-1").await, outage("UNAVAILABLE", Some(3600)), "{date}");
    }
}
