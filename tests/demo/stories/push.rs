//! A message reaches Alice's phones; a phone that is gone is reported; Apple fails and recovers, and nothing is lost or
//! comes twice.
//!
//! Invariant: what arrived is counted at the fake push services, never taken from what the gateway says.

use harness::api::Call;
use serde_json::{Value, json};

use crate::gateway::{ANDROID, Gateway, IOS};
use crate::narrator::{Failure, Narrator};

/// Where a homeserver posts to.
pub(crate) const NOTIFY: &str = "/_matrix/push/v1/notify";

/// A device token as iOS gives it to the app, in hexadecimal.
const IPHONE: &str = "5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e5f0a8d1e";
/// A registration token as Firebase gives it to the app.
const PHONE: &str = "fcm-token-of-her-phone";
/// One of a phone that she has sold.
const SOLD: &str = "fcm-token-of-her-old-phone";

/// Tells it.
///
/// # Errors
/// [`Failure`] for the first thing that is not as it should be.
pub(crate) async fn tell(stage: &Gateway, narrator: &mut Narrator) -> Result<(), Failure> {
    both_phones(stage, narrator).await?;
    dead_pushkey(stage, narrator).await?;
    outage(stage, narrator).await
}

async fn both_phones(stage: &Gateway, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Bob writes to Alice",
        "She has an iPhone and an Android phone. Her homeserver posts the event with both pushkeys.",
    );
    let devices = json!([device(IOS, IPHONE), device(ANDROID, PHONE)]);
    let answer = narrator.ask(notify(stage, "$first", "Dinner at eight?", &devices), 200).await?;
    narrator.check("no pushkey is rejected", answer == json!({ "rejected": [] }))?;

    narrator.step("Her iPhone rings", "What Apple got, and would show:");
    let pushes = stage.apple.requests_for(IPHONE);
    let push = pushes.first().ok_or_else(|| Failure("Apple got nothing".to_owned()))?;
    narrator.show(&format!("{} {}", push.method, push.target));
    for name in ["apns-topic", "apns-push-type", "apns-priority"] {
        narrator.show(&format!("{name}: {}", push.header(name).unwrap_or_default()));
    }
    let payload = push.json();
    narrator.show(&format!("{payload:#}"));
    narrator.check("Apple took one notification", pushes.len() == 1 && push.status == Some(200))?;
    let words = &payload["aps"]["alert"]["loc-args"];
    let named = ["Bob", "Dinner at eight?"].iter().all(|text| words.to_string().contains(text));
    narrator.check("it says who wrote what", named)?;
    narrator.check("and how many messages wait", payload["aps"]["badge"] == 2)?;

    narrator.step("So does her Android phone", "What Google got; the app there makes a notification of it:");
    let messages = stage.google.messages_for(PHONE);
    let message = messages.first().ok_or_else(|| Failure("Google got nothing".to_owned()))?;
    narrator.show(&format!("{message:#}"));
    narrator.check("Google took one message", messages.len() == 1)?;
    let data = &message["message"]["data"];
    let same = data["event_id"] == "$first" && data["content_body"] == "Dinner at eight?" && data["unread"] == "2";
    narrator.check("it says the same", same)
}

async fn dead_pushkey(stage: &Gateway, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Her old phone is still registered",
        "She has sold it, the app is gone from it, and Google says so. The homeserver hears which pushkey to forget.",
    );
    stage.google.unregister(SOLD);
    let devices = json!([device(ANDROID, PHONE), device(ANDROID, SOLD)]);
    let answer = narrator.ask(notify(stage, "$second", "Or at nine?", &devices), 200).await?;
    narrator.check("the dead pushkey is rejected, and only that", answer == json!({ "rejected": [SOLD] }))?;
    narrator.check("the phone that she has was told", stage.google.messages_for(PHONE).len() == 2)
}

async fn outage(stage: &Gateway, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Apple is out of order",
        "It answers 503 to everything. The gateway tries twice, then says so: the homeserver keeps the event.",
    );
    let (before, told) = (stage.apple.requests_for(IPHONE).len(), stage.google.messages_for(PHONE).len());
    stage.apple.fault("", harness::apns::Fault::error(503, "ServiceUnavailable"));
    let devices = json!([device(IOS, IPHONE), device(ANDROID, PHONE)]);
    let third = || notify(stage, "$third", "Half past eight, then.", &devices);
    narrator.refused(third(), 502, "M_UNKNOWN").await?;
    let tries = stage.apple.requests_for(IPHONE).len() - before;
    narrator.check("Apple was asked twice", tries == 2)?;
    narrator.check("Google has taken it all the same", stage.google.messages_for(PHONE).len() == told + 1)?;

    narrator.step(
        "Apple is back",
        "After a while the homeserver tries again, with the same event for both phones: it cannot know more.",
    );
    stage.apple.mend();
    let answer = narrator.ask(third(), 200).await?;
    narrator.check("nobody is rejected for an outage", answer == json!({ "rejected": [] }))?;
    let taken = stage.apple.requests_for(IPHONE).into_iter().filter(|push| push.status == Some(200));
    let arrived = taken.filter(|push| push.json()["event_id"] == "$third").count();
    narrator.check("the event has arrived at the iPhone, once", arrived == 1)?;
    narrator.check("and at the Android phone not a second time", stage.google.messages_for(PHONE).len() == told + 1)?;

    narrator
        .step("The answer was lost on its way", "So the homeserver tries once more. Nobody's phone rings for that.");
    let pushes = (stage.apple.requests().len(), stage.google.messages().len());
    narrator.ask(third(), 200).await?;
    let after = (stage.apple.requests().len(), stage.google.messages().len());
    narrator.check("neither Apple nor Google was asked", after == pushes)
}

/// An event as a homeserver posts it.
fn notify(stage: &Gateway, event_id: &str, body: &str, devices: &Value) -> Call {
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
