//! The outcomes of one client's devices within the window.
//!
//! Invariant: bounded in number; a device counts once, with its last outcome.

use std::collections::{HashMap, VecDeque};

use shared::clock::Timestamp;

use super::{PROVEN, UNPROVEN};
use crate::providers::device_key::{ByDeviceKey, DeviceKey};
use crate::providers::outcome::Reason;

/// The outcomes of one client.
#[derive(Default)]
pub(super) struct ClientOutcomes {
    devices: ByDeviceKey<Seen>,
    /// The devices in the order of time. An entry with another time than its device's last outcome is obsolete.
    order: VecDeque<(Timestamp, DeviceKey)>,
    /// The number of delivered devices.
    delivered: usize,
    rejected: HashMap<Reason, Rejected>,
}

/// The last outcome of a device.
#[derive(Clone, Copy)]
struct Seen {
    at: Timestamp,
    outcome: Counted,
}

/// An outcome that counts.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    Delivered,
    Rejected { reason: Reason, is_proven: bool },
}

/// The number of rejected devices.
#[derive(Clone, Copy, Default)]
struct Rejected {
    /// Devices that had a delivery before.
    proven: usize,
    unproven: usize,
}

impl ClientOutcomes {
    /// Replaces the outcome of a device; beyond `max` devices the oldest one drops out.
    pub(super) fn count(&mut self, device: DeviceKey, outcome: Counted, now: Timestamp, max: usize) {
        let before = self.devices.insert(device, Seen { at: now, outcome });
        if let Some(before) = before {
            self.forget(before.outcome);
        }
        match outcome {
            Counted::Delivered => self.delivered += 1,
            Counted::Rejected { reason, is_proven } => {
                let rejected = self.rejected.entry(reason).or_default();
                *if is_proven { &mut rejected.proven } else { &mut rejected.unproven } += 1;
            }
        }
        if before.is_none_or(|before| before.at != now) {
            self.order.push_back((now, device));
        }
        while self.devices.len() > max && self.remove_first() {}
        // Repeated outcomes of a few devices leave obsolete entries.
        if self.order.len() > 2 * max {
            self.order.retain(|(at, device)| self.devices.get(device).is_some_and(|latest| latest.at == *at));
        }
    }

    /// Drops outcomes older than `begin`, and those of a clock that was ahead.
    pub(super) fn expire(&mut self, begin: Timestamp, now: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| *at < begin || *at > now) && self.remove_first() {}
    }

    fn remove_first(&mut self) -> bool {
        let Some((at, device)) = self.order.pop_front() else { return false };
        if self.devices.get(&device).is_some_and(|latest| latest.at == at)
            && let Some(latest) = self.devices.remove(&device)
        {
            self.forget(latest.outcome);
        }
        true
    }

    fn forget(&mut self, outcome: Counted) {
        match outcome {
            Counted::Delivered => self.delivered = self.delivered.saturating_sub(1),
            Counted::Rejected { reason, is_proven } => {
                let Some(rejected) = self.rejected.get_mut(reason) else { return };
                let number = if is_proven { &mut rejected.proven } else { &mut rejected.unproven };
                *number = number.saturating_sub(1);
            }
        }
    }

    /// The number of devices.
    pub(super) fn len(&self) -> usize {
        self.devices.len()
    }

    pub(super) fn delivered(&self) -> usize {
        self.delivered
    }

    /// The number of devices rejected for `reason`.
    pub(super) fn rejected(&self, reason: Reason) -> usize {
        self.rejected.get(reason).map_or(0, |rejected| rejected.proven + rejected.unproven)
    }

    /// What the client adds to the guard for all, whose threshold is `min`: at most half of it, and at most a quarter by
    /// devices that never had a delivery.
    pub(super) fn weight(&self, reason: Reason, min: usize) -> usize {
        let Rejected { proven, unproven } = self.rejected.get(reason).copied().unwrap_or_default();
        let unproven = (unproven * UNPROVEN).min(min.div_ceil(4));
        (proven * PROVEN + unproven).min(min / 2)
    }

    /// Whether a device of the client had a delivery.
    pub(super) fn is_proven(&self) -> bool {
        self.delivered > 0 || self.rejected.values().any(|rejected| rejected.proven > 0)
    }

    /// The time of the last outcome.
    pub(super) fn last(&self) -> Option<Timestamp> {
        self.order.back().map(|(at, _)| *at)
    }
}
