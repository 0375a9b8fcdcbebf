//! The push gateway of the demo, between a homeserver and the fake APNs and FCM.
//!
//! Invariant: dropping the world stops the gateway first, then the push services.

use harness::world::push::{Settings, World};

use crate::narrator::Narrator;

pub(crate) use harness::world::push::{ANDROID, IOS};

/// Builds and starts the gateway and the push services.
///
/// # Panics
/// If the gateway does not build or start; the message contains its output.
pub(crate) async fn start(narrator: &mut Narrator) -> World {
    narrator.step(
        "The push gateway starts",
        "The second binary, with two apps. Their keys come from a fake APNs and a fake FCM; `extra_ca_file` makes the\n\
         gateway trust both:",
    );
    let retries = "retry_waits = [\"50ms\"]\n";
    let world = World::with(Settings { ios: retries, android: "", ..Settings::default() }).await;
    narrator.show_start(&world.server);
    world
}
