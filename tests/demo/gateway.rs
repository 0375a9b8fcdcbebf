//! The push gateway of the demo, between a homeserver and the fake APNs, FCM and push service of endpoints.
//!
//! Invariant: dropping the world stops the gateway first, then the push services.

use harness::push_service::{ALLOW, PushService, VAPID};
use harness::world::push::{Settings, World};

use crate::narrator::Narrator;

pub(crate) use harness::world::push::{ANDROID, IOS};

/// The app of type `webpush`.
pub(crate) const WEB: &str = "com.example.web";
/// The app of type `unifiedpush`.
pub(crate) const UNIFIED: &str = "com.example.foss";
/// The origin of the relay's URLs, which the demo does not resolve.
pub(crate) const PUBLIC_URL: &str = "https://push.example.net";

/// Builds and starts the gateway and the push services.
///
/// # Panics
/// If the gateway does not build or start; the message contains its output.
pub(crate) async fn start(narrator: &mut Narrator) -> (World, PushService) {
    narrator.step(
        "The push gateway starts",
        "The second binary, with four apps and the relay. Their keys come from a fake APNs and a fake FCM; `extra_ca_file`\n\
         makes the gateway trust all push services, and `allow_cidrs` permits the one of the endpoints, on 127.0.0.1:",
    );
    let retries = "retry_waits = [\"50ms\"]\n";
    let tables = format!(
        "{ALLOW}[relay]\npublic_url = {PUBLIC_URL:?}\nseal_keys = [\"1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"]\n\
         [apps.{WEB:?}]\ntype = \"webpush\"\n{VAPID}[apps.{UNIFIED:?}]\ntype = \"unifiedpush\"\n"
    );
    let ios = format!("{retries}relay = true\n");
    let world = World::with(Settings { ios: &ios, android: "", tables: &tables, environment: &[] }).await;
    narrator.show_start(&world.server);
    let service = PushService::start(world.google.authority(), &[]).await;
    (world, service)
}
