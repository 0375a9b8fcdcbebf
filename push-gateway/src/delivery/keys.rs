//! The keys of one device in the caches of the gateway.
//!
//! Invariant: no key contains a pushkey.

use crate::providers::device_key::{DeviceKey, DeviceKeys};

/// The keys of a device in memory.
#[derive(Clone, Copy)]
pub(super) struct Keys {
    /// The pushkey within the app.
    pub(super) device: DeviceKey,
    /// The pushkey alone.
    pub(super) pushkey: DeviceKey,
    /// What the push service counts as one device, within the app: pushkeys of one installation share it.
    pub(super) limited: DeviceKey,
    /// The same alone.
    pub(super) installation: DeviceKey,
}

impl Keys {
    /// `scope`: the app and its configuration generation. `pushkey` and `installation` are in the canonical form.
    pub(super) fn new(keys: &DeviceKeys, scope: &[&str], pushkey: &str, installation: &str) -> Self {
        let of = |text: &str| (keys.device(scope, text), keys.pushkey(text));
        let (device, pushkey_alone) = of(pushkey);
        // Mostly the same text.
        let (limited, installation) = if installation == pushkey { (device, pushkey_alone) } else { of(installation) };
        Self { device, pushkey: pushkey_alone, limited, installation }
    }
}
