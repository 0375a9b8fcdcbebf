//! Push services that users choose: Alice's browser and her phone without Google get her messages; and a homeserver that sends
//! Web Push itself reaches her iPhone through the relay, without the gateway reading along.
//!
//! Invariant: only the receivers decrypt; neither the gateway nor Apple can.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use harness::application_server::{ApplicationServer, encrypt};
use harness::push_service::{PushService, Receiver, VAPID_PUBLIC};
use harness::world::push::World;
use serde_json::{Value, json};

use super::push::notify;
use crate::gateway::{IOS, PUBLIC_URL, UNIFIED, WEB};
use crate::narrator::{Failure, Narrator};

/// A device token of an iPhone whose homeserver sends Web Push.
const IPHONE: &str = "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf";

/// Runs the story.
///
/// # Errors
/// [`Failure`] for the first check that fails.
pub(crate) async fn run(stage: &World, service: &PushService, narrator: &mut Narrator) -> Result<(), Failure> {
    browser(stage, service, narrator).await?;
    phone(stage, service, narrator).await?;
    relay(stage, narrator).await
}

async fn browser(stage: &World, service: &PushService, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Alice opens the web app",
        "Her browser subscribes at its push service with the gateway's public key, and the web app registers a pusher.",
    );
    let key = narrator.ask(stage.api.get("/_push/v1/vapid").query("app_id", WEB), 200).await?;
    narrator.check("the key is that of the app", key["vapid"] == VAPID_PUBLIC)?;
    let browser = service.browser(WEB);
    let answer = narrator.ask(notify(stage, "$web", "Dessert?", &json!([browser])), 200).await?;
    narrator.check("no pushkey is rejected", answer == json!({ "rejected": [] }))?;
    narrator.say("The push service gets ciphertext. What the browser's service worker reads after decryption:");
    let message = service.messages_for(&browser).pop().unwrap_or_default();
    narrator.show(&format!("{message:#}"));
    narrator.check("it is the event", message["event_id"] == "$web" && message["content"]["body"] == "Dessert?")
}

async fn phone(stage: &World, service: &PushService, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "Her other phone has no Google",
        "It has a UnifiedPush distributor, such as ntfy. The pushkey is the URL that the distributor gave to the app.",
    );
    let phone = service.phone(UNIFIED);
    let answer = narrator.ask(notify(stage, "$unified", "Coffee?", &json!([phone])), 200).await?;
    narrator.check("no pushkey is rejected", answer == json!({ "rejected": [] }))?;
    let message = service.messages_for(&phone).pop().unwrap_or_default();
    narrator.show(&format!("{message:#}"));
    narrator.check("the app gets the notification", message["notification"]["event_id"] == "$unified")
}

async fn relay(stage: &World, narrator: &mut Narrator) -> Result<(), Failure> {
    narrator.step(
        "A homeserver sends Web Push itself",
        "Apple has no Web Push for apps. The app asks the gateway's relay for a URL that stands for the iPhone and for the key\n\
         of this homeserver alone, and gives it to the homeserver with a public key of its own.",
    );
    let (homeserver, app) = (ApplicationServer::new(), Receiver::new());
    let body = json!({ "token": IPHONE, "vapid": homeserver.key(), "chid": "alice" });
    let answer = narrator.ask(stage.api.post(&format!("/wp/{IOS}"), body), 201).await?;
    let url = answer["url"].as_str().unwrap_or_default();
    let path = url.strip_prefix(PUBLIC_URL).ok_or_else(|| Failure(format!("{url} is not below {PUBLIC_URL}")))?;

    narrator.step("The homeserver encrypts a message and posts it", "The relay cannot read it.");
    let content = json!({ "event_id": "$relayed", "room_id": "!dinner:hs.example", "unread": 1 });
    let (p256dh, auth) = app.keys();
    let sealed = encrypt(&p256dh, &auth, content.to_string().as_bytes());
    let push = stage.api.post(path, Value::Null).header("ttl", "43200").header("content-encoding", "aes128gcm");
    let push = push.header("authorization", &homeserver.authorization(PUBLIC_URL)).body(sealed);
    narrator.done(push, 201).await?;
    let payload = stage.apple.requests_for(IPHONE).pop().map(|push| push.json()).unwrap_or_default();
    narrator.say("What Apple received, and passes to the app's notification service extension:");
    narrator.show(&format!("{payload:#}"));
    let body = URL_SAFE_NO_PAD.decode(payload["body"].as_str().unwrap_or_default()).unwrap_or_default();
    let read = app.decrypt(&body).ok().and_then(|plain| serde_json::from_slice::<Value>(&plain).ok());
    narrator.check("the extension decrypts the message of the homeserver", read == Some(content))
}
