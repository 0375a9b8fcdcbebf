//! The payloads that the push services receive for a homeserver's notification, rule by rule.
//!
//! Invariant: a payload is compared as a whole, so that it contains no more than expected.

mod alerts;
mod apns_fields;
mod apns_headers;
mod apns_kinds;
mod apns_size;
mod fcm_data;
mod fcm_message;
mod fcm_size;
mod pushkeys;
