//! What the log and the metrics say of a push.

/// As far as it is known.
#[derive(Default)]
pub(super) struct Seen {
    /// The pattern of the app.
    pub(super) app: String,
    pub(super) device: String,
    /// The beginning of the digest of the application server's key.
    pub(super) key: String,
    pub(super) outcome: &'static str,
    pub(super) reason: &'static str,
}
