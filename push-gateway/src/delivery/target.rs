//! Where the delivery to one device goes.

use std::borrow::Cow;

use super::keys::Keys;
use crate::apps::registry::App;
use crate::apps::sender::Sender;
use crate::notification::Device;
use crate::providers::device_key::DeviceKeys;

/// The push service of a device, and the keys of both.
pub(super) struct Target<'a> {
    pub(super) app: &'a App,
    pub(super) sender: &'a Sender,
    /// The circuit of the push service.
    pub(super) circuit: Cow<'a, str>,
    pub(super) keys: Keys,
}

impl<'a> Target<'a> {
    pub(super) fn new(app: &'a App, sender: &'a Sender, device: &Device, keys: &DeviceKeys) -> Self {
        let pushkey = sender.provider.canonical_pushkey(device);
        let installation = sender.provider.installation(&pushkey);
        let keys = Keys::new(keys, &app.scope(), &pushkey, installation);
        Self { app, sender, circuit: sender.circuit_of(&pushkey), keys }
    }
}
