//! `[limits]`: rate limits.
//!
//! Invariant: a limit on messages is charged only for a message that is about to be sent.

use serde::Deserialize;
use shared::config::{Globs, HumanDuration};
use shared::rate_limit::Limit;

/// The section `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Whether any limit applies.
    pub enabled: bool,
    /// Validation mails by one account, or by one client address of the legacy API.
    pub email_per_account: Limit,
    /// Validation mails to one address.
    pub email_per_address: Limit,
    /// Invitations by one account, or by one client address of the legacy API.
    pub invite_per_account: Limit,
    /// Invitations to one address.
    pub invite_per_address: Limit,
    /// Invitations into one room.
    pub invite_per_room: Limit,
    /// All mails together.
    pub mail_global: Limit,
    /// SMS to one number.
    pub sms_per_number: Limit,
    /// SMS to the ten thousand numbers that differ in the last four digits alone; validated ones are not counted.
    pub sms_per_range: Limit,
    /// SMS to one calling code.
    pub sms_per_country: Limit,
    /// SMS by one account.
    pub sms_per_account: Limit,
    /// SMS by one client address.
    pub sms_per_ip: Limit,
    /// Requests to homeservers by one client address: registrations, and fetches of keys for a signed unbind.
    pub register_per_ip: Limit,
    /// New accounts of one homeserver: of a registrable domain, or of a network of addresses.
    pub accounts_per_homeserver: Limit,
    /// Validation mails by accounts of one homeserver.
    pub mail_per_homeserver: Limit,
    /// SMS by accounts of one homeserver.
    pub sms_per_homeserver: Limit,
    /// Invitations by accounts of one homeserver.
    pub invites_per_homeserver: Limit,
    /// Patterns of homeservers with 100 times as much, in the limits by homeserver.
    pub large_homeservers: Globs,
    /// Wrong tokens for one telephone number in the sessions of one account.
    pub sms_wrong_tokens: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        let limit = |burst, seconds| Limit::new(burst, HumanDuration::from_secs(seconds));
        Self {
            enabled: true,
            email_per_account: limit(5, 300),
            email_per_address: limit(5, 600),
            invite_per_account: limit(5, 300),
            invite_per_address: limit(5, 600),
            invite_per_room: limit(20, 60),
            mail_global: limit(1000, 1),
            sms_per_number: limit(5, 3600),
            sms_per_range: limit(10, 1800),
            sms_per_country: limit(50, 60),
            sms_per_account: limit(10, 3600),
            sms_per_ip: limit(10, 3600),
            register_per_ip: limit(20, 10),
            accounts_per_homeserver: limit(100, 60),
            mail_per_homeserver: limit(50, 10),
            sms_per_homeserver: limit(10, 300),
            invites_per_homeserver: limit(50, 30),
            large_homeservers: Globs::default(),
            sms_wrong_tokens: limit(10, 360),
        }
    }
}
