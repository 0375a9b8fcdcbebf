//! What the statuses and reasons of APNs mean (*Handling notification responses from APNs*). APNs itself answers with them,
//! and FCM relays them for iPhones.
//!
//! Invariant: status and reason decide together. An unknown answer counts as a mistake of the gateway: it is not retried, and
//! it never rejects a device.

use super::outcome::Reason;

/// What an answer says about the push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// The app was removed from the device, or the token has expired.
    Gone,
    /// The token is unknown here; a wrong environment or topic would look the same.
    Suspect,
    TooLarge,
    /// Too many pushes to this device.
    TooManyPushes,
    /// Too many new provider tokens.
    TooManyTokens,
    /// Concerns one connection; another one may work.
    Connection,
    /// APNs as a whole fails.
    Outage,
    /// The gateway's key, topic or request is wrong.
    Ours,
}

/// An answer other than a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ApnsError {
    /// From a closed set: a reason of the table, `other` or `none`.
    pub(crate) reason: Reason,
    pub(crate) meaning: Meaning,
    /// What the operator has to check.
    pub(crate) advice: &'static str,
}

/// Status, reason, meaning, advice. `*` is a missing or unknown reason, for the statuses that suffice alone.
pub(crate) type Row = (u16, Reason, Meaning, &'static str);

use Meaning::{Connection, Gone, Ours, Outage, Suspect, TooLarge, TooManyPushes, TooManyTokens};

const BUG: &str = "this is a mistake of the gateway";

pub(crate) const ERRORS: &[Row] = &[
    (400, "BadCollapseId", Ours, BUG),
    (400, "BadDeviceToken", Suspect, ""),
    (400, "BadExpirationDate", Ours, BUG),
    (400, "BadMessageId", Ours, BUG),
    (400, "BadPriority", Ours, "check push_type"),
    (400, "BadTopic", Ours, "check topic"),
    (400, "DeviceTokenNotForTopic", Suspect, ""),
    (400, "DuplicateHeaders", Ours, BUG),
    (400, "IdleTimeout", Connection, ""),
    (400, "InvalidPushType", Ours, "check push_type"),
    (400, "MissingDeviceToken", Ours, BUG),
    (400, "MissingTopic", Ours, "check topic"),
    (400, "PayloadEmpty", Ours, "check payload"),
    (400, "TopicDisallowed", Ours, "check topic: the credentials are not for it"),
    (403, "BadCertificate", Ours, "check cert_file"),
    (403, "BadCertificateEnvironment", Ours, "check platform: the certificate is for the other one"),
    (403, "BadEnvironmentKeyIdInToken", Ours, "check platform: the key is for the other one"),
    (403, "ExpiredProviderToken", Ours, "check the clock"),
    (403, "Forbidden", Ours, "check the credentials"),
    (403, "InvalidProviderToken", Ours, "check key_file, key_id and team_id"),
    (403, "MissingProviderToken", Ours, "check cert_file: Apple wants a key"),
    (403, "UnrelatedKeyIdInToken", Ours, "check key_id: several keys are in use on one connection"),
    (404, "BadPath", Ours, "check endpoint"),
    (405, "MethodNotAllowed", Ours, "check endpoint"),
    (410, "ExpiredToken", Gone, ""),
    (410, "Unregistered", Gone, ""),
    (413, "PayloadTooLarge", TooLarge, ""),
    (413, "*", TooLarge, ""),
    (429, "TooManyProviderTokenUpdates", TooManyTokens, ""),
    (429, "TooManyRequests", TooManyPushes, ""),
    (429, "*", TooManyPushes, ""),
    (500, "InternalServerError", Outage, ""),
    (503, "ServiceUnavailable", Outage, ""),
    (503, "Shutdown", Outage, ""),
];

/// The meaning of `status` with `reason`; `None` for a success.
pub(crate) fn look_up(status: u16, reason: Option<&str>) -> Option<ApnsError> {
    let row = |reason: &str| ERRORS.iter().find(|(of, name, ..)| *of == status && *name == reason);
    let error = |reason, meaning, advice| Some(ApnsError { reason, meaning, advice });
    match (reason.and_then(row).or_else(|| row("*")), status) {
        (Some((_, "*", meaning, advice)), _) => error("other", *meaning, advice),
        (Some((_, reason, meaning, advice)), _) => error(reason, *meaning, advice),
        (None, 200..=299) => None,
        // The status has no other meaning.
        (None, 410) if reason.is_none() => error("none", Gone, ""),
        (None, 500..) => error("other", Outage, ""),
        (None, _) => error("other", Ours, "Apple gives no reason that is known"),
    }
}
