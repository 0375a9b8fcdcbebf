//! A message reaches Alice's phones; an expired pushkey is rejected; APNs fails and recovers, without a lost or doubled
//! push.
//!
//! Invariant: arrivals are counted at the fake push services, never from the gateway's responses.

use harness::api::Call;
use harness::world::push::{NOTIFY, World};
use serde_json::{Value, json};

use crate::gateway::{ANDROID, IOS};
use crate::narrator::{Failure, Narrator};

/// A device token in hexadecimal, as the app gets it from iOS.
const IPHONE: &str = "5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e";
/// A registration token, as the app gets it from Firebase.
const PHONE: &str = "fcm-token-of-her-phone";
/// The token of a phone that she has sold.
const SOLD: &str = "fcm-token-of-her-old-phone";

/// Runs the story.
///
/// # Errors
/// [`Failure`] for the first check that fails.
pub(crate) async fn run(stage: &World, narrator: &mut Narrator) -> Result<(), Failure> {
    both_phones(stage, narrator).await?;
    dead_pushkey(stage, narrator).await?;
    outage(stage, narrator).await
}

async fn both_phones(stage: &World, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Bob writes to Alice",
        "She has an iPhone and an Android phone. Her homeserver posts the event with both pushkeys.",
    );
    let devices = json!([device(IOS, IPHONE), device(ANDROID, PHONE)]);
    let answer = narrator.ask(notify(stage, "$first", "Dinner at eight?", &devices), 200).await?;
    narrator.check("no pushkey is rejected", answer == json!({ "rejected": [] }))?;

    narrator.step("Her iPhone rings", "The request that APNs received:");
    let pushes = stage.apple.requests_for(IPHONE);
    let push = pushes.first().ok_or_else(|| Failure("APNs received nothing".to_owned()))?;
    narrator.show(&format!("{} {}", push.method, push.target));
    for name in ["apns-topic", "apns-push-type", "apns-priority"] {
        narrator.show(&format!("{name}: {}", push.header(name).unwrap_or_default()));
    }
    let payload = push.json();
    narrator.show(&format!("{payload:#}"));
    narrator.check("APNs accepted one notification", pushes.len() == 1 && push.status == Some(200))?;
    let words = &payload["aps"]["alert"]["loc-args"];
    let named = ["Bob", "Dinner at eight?"].iter().all(|text| words.to_string().contains(text));
    narrator.check("it names the sender and the text", named)?;
    narrator.check("and the number of unread messages", payload["aps"]["badge"] == 2)?;

    narrator.step("Her Android phone rings", "The message that FCM received; the app makes a notification of it:");
    let messages = stage.google.messages_for(PHONE);
    let message = messages.first().ok_or_else(|| Failure("FCM received nothing".to_owned()))?;
    narrator.show(&format!("{message:#}"));
    narrator.check("FCM accepted one message", messages.len() == 1)?;
    let data = &message["message"]["data"];
    let same = data["event_id"] == "$first" && data["content_body"] == "Dinner at eight?" && data["unread"] == "2";
    narrator.check("it names the same event, text and count", same)
}

async fn dead_pushkey(stage: &World, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Her old phone is still registered",
        "The app was removed from that phone, and FCM answers UNREGISTERED. The gateway rejects the pushkey, so that the\n\
         homeserver deletes its pusher.",
    );
    stage.google.unregister(SOLD);
    let devices = json!([device(ANDROID, PHONE), device(ANDROID, SOLD)]);
    let answer = narrator.ask(notify(stage, "$second", "Or at nine?", &devices), 200).await?;
    narrator.check("the dead pushkey is rejected, and only that", answer == json!({ "rejected": [SOLD] }))?;
    narrator.check("the other phone received the message", stage.google.messages_for(PHONE).len() == 2)
}

async fn outage(stage: &World, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "APNs has an outage",
        "It answers 503 to every request. The gateway tries twice, then answers 502: the homeserver keeps the event.",
    );
    let (before, accepted) = (stage.apple.requests_for(IPHONE).len(), stage.google.messages_for(PHONE).len());
    stage.apple.fault("", harness::apns::Fault::error(503, "ServiceUnavailable"));
    let devices = json!([device(IOS, IPHONE), device(ANDROID, PHONE)]);
    let third = || notify(stage, "$third", "Half past eight, then.", &devices);
    narrator.refused(third(), 502, "M_UNKNOWN").await?;
    let attempts = stage.apple.requests_for(IPHONE).len() - before;
    narrator.check("APNs received two attempts", attempts == 2)?;
    narrator.check("FCM accepted the event nevertheless", stage.google.messages_for(PHONE).len() == accepted + 1)?;

    narrator.step(
        "APNs recovers",
        "The homeserver retries the same event for both phones, as a 502 says nothing about single devices.",
    );
    stage.apple.mend();
    let answer = narrator.ask(third(), 200).await?;
    narrator.check("an outage rejects no pushkey", answer == json!({ "rejected": [] }))?;
    let taken = stage.apple.requests_for(IPHONE).into_iter().filter(|push| push.status == Some(200));
    let arrived = taken.filter(|push| push.json()["event_id"] == "$third").count();
    narrator.check("the event arrived at the iPhone, once", arrived == 1)?;
    narrator.check(
        "and did not arrive at the Android phone again",
        stage.google.messages_for(PHONE).len() == accepted + 1,
    )?;

    narrator.step(
        "The response got lost",
        "The homeserver retries once more. The gateway deduplicates: no phone rings again.",
    );
    let pushes = (stage.apple.requests().len(), stage.google.messages().len());
    narrator.ask(third(), 200).await?;
    let after = (stage.apple.requests().len(), stage.google.messages().len());
    narrator.check("APNs and FCM received no request", after == pushes)
}

/// The request of a homeserver for an event.
pub(super) fn notify(stage: &World, event_id: &str, body: &str, devices: &Value) -> Call {
    stage.api.post(
        NOTIFY,
        json!({ "notification": {
            "event_id": event_id,
            "room_id": "!dinner:hs.example",
            "type": "m.room.message",
            "sender": "@bob:hs.example",
            "sender_display_name": "Bob",
            "prio": "high",
            "content": { "msgtype": "m.text", "body": body },
            "counts": { "unread": 2 },
            "devices": devices,
        }}),
    )
}

fn device(app_id: &str, pushkey: &str) -> Value {
    json!({ "app_id": app_id, "pushkey": pushkey, "pushkey_ts": 1_700_000_000 })
}
