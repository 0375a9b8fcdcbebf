//! Web Push and UnifiedPush: the pushkey names the push service.
//!
//! Invariant: the fake push service decrypts every message and verifies every VAPID token.

mod browser;
mod declarative;
mod faults;
mod guard;
mod independent;
mod messages;
mod occasions;
mod outcomes;
mod routing;

use harness::push_service::{ALLOW, PushService, VAPID};
use harness::world::push::{World, android_app, endpoint_app};

/// An app of type `webpush`.
const WEB: &str = "com.example.web";
/// An app of type `unifiedpush`.
const UNIFIED: &str = "com.example.up";
/// An app of type `fcm` that sends everywhere.
const PHONES: &str = "im.example.android";

/// Without the mass-rejection guard.
const BELIEVING: &str = "[rejection_breaker]\nenabled = false\n";

/// A gateway with the three apps, and a push service that it may reach.
async fn world() -> (World, PushService) {
    world_with("", BELIEVING).await
}

/// The same with further keys of `[outbound]`, and tables.
async fn world_with(outbound: &str, tables: &str) -> (World, PushService) {
    let apps =
        [endpoint_app("webpush", WEB, VAPID), endpoint_app("unifiedpush", UNIFIED, ""), android_app(PHONES, VAPID)];
    let gateway = World::serving("", &format!("{ALLOW}{outbound}{tables}"), &apps).await;
    let service = PushService::start(gateway.google.authority(), &[]).await;
    (gateway, service)
}
