//! What identifies a delivery for deduplication.
//!
//! Invariant: two deliveries are the same only if the device would show the same.

use std::time::Duration;

use super::dedup::Claim;
use super::device::DeviceDelivery;
use crate::providers::device_key::DeviceKey;

/// How long a relayed message is known: application servers retry for a shorter time.
const RELAYED_FOR: Duration = Duration::from_secs(10 * 60);

impl DeviceDelivery<'_> {
    /// The claim on the delivery; `None` if it is never deduplicated.
    pub(super) fn claim(&self, device_key: DeviceKey) -> Option<Claim<'_>> {
        let Self { state, notification, device, .. } = self;
        if let Some(relayed) = &notification.relayed {
            // Each encryption has another salt, so equal bytes are the same message. A wake-up has none.
            let body = (!relayed.body.is_empty()).then(|| state.device_keys.digest(&relayed.body))?;
            return Some(state.dedup.claim_within(state.device_keys.event(device_key, "", [body; 2]), RELAYED_FOR));
        }
        let event_id = notification.event_id.as_deref().filter(|event_id| !self.is_exempt(event_id))?;
        let shown = [self.shown, state.device_keys.digest(&device.shown())];
        Some(state.dedup.claim(state.device_keys.event(device_key, event_id, shown)))
    }

    fn is_exempt(&self, event_id: &str) -> bool {
        self.setup.config.dedup.exempt_event_ids.as_slice().iter().any(|exempt| exempt == event_id)
    }
}
