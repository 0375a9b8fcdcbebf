//! `notify_id`: which notifications replace an earlier one on the device.
//!
//! Invariant: equal identifiers of Matrix have equal numbers, in every process.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};

use crate::notification::Notification;

/// The largest number that Push Kit accepts.
const LARGEST: u32 = i32::MAX.unsigned_abs();

/// The value of `notify_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotifyId {
    /// A number for each room.
    Room,
    /// A number for each event.
    Event,
    /// One number for all.
    Number(u32),
}

impl NotifyId {
    /// `notifyId` of a notification; `None` without the identifier that it depends on.
    pub(in super::super) fn of(self, notification: &Notification) -> Option<u32> {
        let id = match self {
            Self::Room => notification.room_id.as_deref(),
            Self::Event => notification.event_id.as_deref(),
            Self::Number(number) => return Some(number),
        };
        let hash = Sha256::digest(id?);
        Some(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) & LARGEST)
    }
}

impl<'de> Deserialize<'de> for NotifyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyForm;
        impl Visitor<'_> for AnyForm {
            type Value = NotifyId;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("\"room\", \"event\" or 0 to 2147483647")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<NotifyId, E> {
                let fitting = u32::try_from(number).ok().filter(|number| *number <= LARGEST);
                fitting.map(NotifyId::Number).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(number), &self))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<NotifyId, E> {
                u64::try_from(number)
                    .map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
                    .and_then(|number| self.visit_u64(number))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<NotifyId, E> {
                match text.trim() {
                    "room" => Ok(NotifyId::Room),
                    "event" => Ok(NotifyId::Event),
                    number => number
                        .parse()
                        .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
                        .and_then(|number| self.visit_u64(number)),
                }
            }
        }
        deserializer.deserialize_any(AnyForm)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::NotifyId;
    use crate::notification::parse::parse;

    fn read(value: serde_json::Value) -> Option<NotifyId> {
        serde_json::from_value(value).ok()
    }

    #[test]
    fn it_is_a_room_an_event_or_a_number_of_31_bits() {
        for (value, expected) in [
            (json!("room"), Some(NotifyId::Room)),
            (json!("event"), Some(NotifyId::Event)),
            (json!(0), Some(NotifyId::Number(0))),
            (json!("7"), Some(NotifyId::Number(7))),
            (json!(2_147_483_647), Some(NotifyId::Number(2_147_483_647))),
            (json!(2_147_483_648_u64), None),
            (json!(-1), None),
            (json!("rooms"), None),
            (json!(true), None),
        ] {
            assert_eq!(read(value.clone()), expected, "{value}");
        }
    }

    #[test]
    fn the_number_follows_from_the_identifier() {
        let members = json!({ "room_id": "!r:x", "event_id": "$e", "devices": [{ "app_id": "a", "pushkey": "k" }] });
        let request = parse(json!({ "notification": members }).to_string().as_bytes(), 1).unwrap();
        // The first four bytes of SHA-256 without the sign.
        assert_eq!(NotifyId::Room.of(&request.notification), Some(1_446_771_244));
        assert_eq!(NotifyId::Event.of(&request.notification), Some(25_242_587));
        assert_eq!(NotifyId::Number(5).of(&request.notification), Some(5));
        let badge = json!({ "notification": { "devices": [{ "app_id": "a", "pushkey": "k" }] } });
        let badge = parse(badge.to_string().as_bytes(), 1).unwrap().notification;
        assert_eq!((NotifyId::Room.of(&badge), NotifyId::Event.of(&badge)), (None, None));
    }
}
