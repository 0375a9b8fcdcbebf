//! `[limits]`: how often who may cause what.
//!
//! Invariant: a limit on messages is charged only when one is about to go out.

use serde::Deserialize;
use shared::config::HumanDuration;

use shared::rate_limit::Limit;

/// The settings under `[limits]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Whether there are limits at all.
    pub enabled: bool,
    /// Validation mails that one account causes, or one client address by the legacy API.
    pub email_per_account: Limit,
    /// Validation mails to one address.
    pub email_per_address: Limit,
    /// Invitations that one sender causes, or one client address by the legacy API.
    pub invite_per_account: Limit,
    /// Invitations of one address.
    pub invite_per_address: Limit,
    /// Invitations into one room.
    pub invite_per_room: Limit,
    /// Mails of any kind, by all.
    pub mail_global: Limit,
    /// SMS to one number.
    pub sms_per_number: Limit,
    /// SMS to the ten thousand numbers that differ in their last four digits alone, those that were validated aside.
    pub sms_per_range: Limit,
    /// SMS to one calling code.
    pub sms_per_country: Limit,
    /// SMS that one account causes.
    pub sms_per_account: Limit,
    /// SMS that one client address causes.
    pub sms_per_ip: Limit,
    /// Requests to homeservers that one client address causes: registrations, and fetches of keys for a signed unbind.
    pub register_per_ip: Limit,
    /// Wrong tokens for one e-mail address.
    pub email_wrong_tokens: Limit,
    /// Wrong tokens for one telephone number.
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
            email_wrong_tokens: limit(60, 60),
            sms_wrong_tokens: limit(10, 360),
        }
    }
}
