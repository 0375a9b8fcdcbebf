//! What an app does with a badge update: a notification with counts and without an event.
//!
//! Invariant: pure; an update that is dropped is no failure, because the next one replaces it.

use serde::Deserialize;

use super::{Counts, Device, Kind, Notification};

/// `badge_updates`: which badge updates an app sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BadgeUpdates {
    /// All.
    #[default]
    Send,
    /// Those that clear the badge.
    ClearOnly,
    /// A silent push without counts instead.
    Nudge,
    /// None.
    Off,
}

/// The decision about one notification for one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadgeAction {
    /// It is sent as it is.
    Send,
    /// A silent push without counts is sent: the app counts itself.
    Nudge,
    /// Nothing is sent, for this reason.
    Drop(&'static str),
}

impl BadgeUpdates {
    /// The decision. `nudges_without_counts`: a device that disables counts (MSC4076) gets a nudge (MSC4234).
    pub(crate) fn action(
        self,
        nudges_without_counts: bool,
        notification: &Notification,
        device: &Device,
    ) -> BadgeAction {
        if notification.kind != Kind::Badge {
            return BadgeAction::Send;
        }
        match self {
            Self::Off => BadgeAction::Drop("badge_update"),
            _ if device.counts_disabled && nudges_without_counts => BadgeAction::Nudge,
            _ if device.counts_disabled => BadgeAction::Drop("badge_disabled"),
            Self::Send => BadgeAction::Send,
            Self::ClearOnly if notification.counts.map_or(0, Counts::total) == 0 => BadgeAction::Send,
            Self::ClearOnly => BadgeAction::Drop("badge_update"),
            Self::Nudge => BadgeAction::Nudge,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{BadgeAction, BadgeUpdates};
    use crate::notification::parse::{Request, parse};

    fn action(updates: BadgeUpdates, nudges: bool, notification: Value, data: &Value) -> BadgeAction {
        let mut notification = notification;
        notification["devices"] = json!([{"app_id": "a", "pushkey": "k", "data": data}]);
        let body = json!({"notification": notification}).to_string();
        let Request { notification, devices } = parse(body.as_bytes(), 1).unwrap();
        updates.action(nudges, &notification, &devices[0])
    }

    #[test]
    fn each_setting_has_its_decision() {
        use BadgeAction::{Drop, Nudge, Send};
        let count = |unread: u32| json!({"counts": {"unread": unread}});
        for (updates, notification, expected) in [
            (BadgeUpdates::Send, count(3), Send),
            (BadgeUpdates::Send, count(0), Send),
            (BadgeUpdates::ClearOnly, count(0), Send),
            (BadgeUpdates::ClearOnly, json!({}), Send),
            (BadgeUpdates::ClearOnly, json!({"counts": {"missed_calls": 1}}), Drop("badge_update")),
            (BadgeUpdates::ClearOnly, count(3), Drop("badge_update")),
            (BadgeUpdates::Nudge, count(3), Nudge),
            (BadgeUpdates::Nudge, count(0), Nudge),
            (BadgeUpdates::Off, count(0), Drop("badge_update")),
            (BadgeUpdates::Off, json!({"event_id": "$e", "counts": {"unread": 1}}), Send),
            (BadgeUpdates::Nudge, json!({"event_id": "$e", "counts": {"unread": 1}}), Send),
        ] {
            assert_eq!(
                action(updates, false, notification.clone(), &json!({})),
                expected,
                "{updates:?} {notification}"
            );
        }
    }

    #[test]
    fn a_device_without_counts_gets_a_nudge_at_most() {
        for key in ["org.matrix.msc4076.disable_badge_count", "disable_badge_count"] {
            let data = json!({key: true});
            let of = |updates, nudges| action(updates, nudges, json!({"counts": {"unread": 0}}), &data);
            for updates in [BadgeUpdates::Send, BadgeUpdates::ClearOnly, BadgeUpdates::Nudge] {
                assert_eq!(of(updates, false), BadgeAction::Drop("badge_disabled"));
                assert_eq!(of(updates, true), BadgeAction::Nudge);
            }
            assert_eq!(of(BadgeUpdates::Off, true), BadgeAction::Drop("badge_update"));
        }
    }
}
