//! What the push services receive for what a homeserver says: each rule of the payloads over the wire.
//!
//! Invariant: a payload is compared as a whole, so that nothing more than expected may be in it.

mod alerts;
mod apns_fields;
mod apns_headers;
mod apns_kinds;
mod apns_size;
mod fcm_data;
mod fcm_message;
mod fcm_size;
mod pushkeys;
