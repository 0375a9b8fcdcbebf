//! The sections with rules of the API: `[auth]`, `[account]`, `[sessions]`, `[lookup]`, `[bind]`, `[unbind]`.
//!
//! Invariant: the defaults equal those of the example file; a test compares them.

use serde::Deserialize;
use shared::config::{ByteSize, ConfigError, Globs, HumanDuration, OneOrMany};

use crate::domain::pepper::RotationSettings;
use crate::domain::session::SessionRules;

/// The section `[auth]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether `?access_token=` is accepted besides the header; homeservers still send it.
    pub allow_query_token: bool,
    /// After this time without use a token expires.
    pub token_idle: HumanDuration,
    /// Tokens of one account; one more deletes the oldest.
    pub max_tokens_per_user: usize,
}

impl Default for Auth {
    fn default() -> Self {
        Self { allow_query_token: true, token_idle: HumanDuration::from_secs(365 * 86_400), max_tokens_per_user: 20 }
    }
}

impl Auth {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.max_tokens_per_user == 0 {
            return Err(ConfigError::invalid("auth.max_tokens_per_user", "expected at least 1"));
        }
        Ok(())
    }
}

/// The section `[account]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// Whether `GET /_identity/v1/bindings` returns an account's own addresses.
    pub list_own_bindings: bool,
}

/// The section `[sessions]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// From creation, and again from validation, to expiry.
    pub lifetime: HumanDuration,
    /// Wrong tokens that end an e-mail session.
    pub email_max_wrong: u32,
    /// Wrong tokens that end an SMS session.
    pub sms_max_wrong: u32,
    /// Patterns of hosts that a `next_link` may name and to which the browser is redirected. Empty: a link may name any
    /// host, and the browser is not redirected.
    pub next_link_hosts: Globs,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            lifetime: HumanDuration::from_secs(86_400),
            email_max_wrong: 20,
            sms_max_wrong: 5,
            next_link_hosts: Globs::default(),
        }
    }
}

impl Sessions {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.lifetime.get().is_zero() {
            return Err(ConfigError::invalid("sessions.lifetime", "expected more than 0, such as \"24h\""));
        }
        for (key, wrong) in
            [("sessions.email_max_wrong", self.email_max_wrong), ("sessions.sms_max_wrong", self.sms_max_wrong)]
        {
            if wrong == 0 {
                return Err(ConfigError::invalid(key, "expected at least 1"));
            }
        }
        Ok(())
    }

    pub fn rules(&self) -> SessionRules {
        SessionRules {
            lifetime: self.lifetime.get(),
            email_max_wrong: self.email_max_wrong,
            sms_max_wrong: self.sms_max_wrong,
        }
    }
}

/// The section `[lookup]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lookup {
    /// `sha256`, and `none` to allow lookups in clear text.
    pub algorithms: OneOrMany<Algorithm>,
    /// Entries that one request may have.
    pub max_addresses: usize,
    /// Distinct entries a day for one account, or for one client address by the legacy API; 0: no limit.
    pub daily_quota: usize,
    /// The same for all accounts of one homeserver together; 0: no limit.
    pub daily_quota_per_homeserver: usize,
    /// Where lookups are answered from.
    #[serde(deserialize_with = "shared::config::word")]
    pub index: Index,
    /// The most memory of an index that `auto` builds.
    pub index_memory: ByteSize,
    /// How often the changes of other processes are read.
    pub poll_interval: HumanDuration,
    /// How long changes stay in the database. A process that was paused for longer builds its index again.
    pub feed_keep: HumanDuration,
    /// How long `hash_details` advertises a pepper; zero: until an operator rotates it.
    pub pepper_rotation: HumanDuration,
    /// How long lookups may use a pepper after that.
    pub pepper_grace: HumanDuration,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            algorithms: vec![Algorithm::Sha256].into(),
            max_addresses: 10_000,
            daily_quota: 100_000,
            daily_quota_per_homeserver: 1_000_000,
            index: Index::Auto,
            index_memory: ByteSize::from_bytes(1 << 30),
            poll_interval: HumanDuration::from_secs(1),
            feed_keep: HumanDuration::from_secs(3600),
            pepper_rotation: HumanDuration::from_secs(7 * 86_400),
            pepper_grace: HumanDuration::from_secs(3600),
        }
    }
}

impl Lookup {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !self.algorithms.as_slice().contains(&Algorithm::Sha256) {
            let problem = "expected \"sha256\" in the list, because every client uses it; add it";
            return Err(ConfigError::invalid("lookup.algorithms", problem));
        }
        if self.max_addresses == 0 {
            return Err(ConfigError::invalid("lookup.max_addresses", "expected at least 1"));
        }
        // Memory answers for 10 seconds after the last reading.
        if self.poll_interval.get().is_zero() || self.poll_interval > HumanDuration::from_secs(5) {
            return Err(ConfigError::invalid("lookup.poll_interval", "expected at most \"5s\", and more than 0"));
        }
        if self.feed_keep < HumanDuration::from_secs(60) {
            return Err(ConfigError::invalid("lookup.feed_keep", "expected at least \"1m\""));
        }
        if !self.pepper_rotation.get().is_zero() && self.pepper_rotation <= self.pepper_grace {
            let problem = "expected more than [lookup] pepper_grace, or \"0\" for no rotation";
            return Err(ConfigError::invalid("lookup.pepper_rotation", problem));
        }
        Ok(())
    }

    pub(super) fn notice(&self) -> Option<String> {
        self.algorithms.as_slice().contains(&Algorithm::None).then(|| {
            "[lookup] algorithms has \"none\": every account can look up addresses in clear text, which is recorded where \
             requests are; remove it unless a client needs it"
                .to_owned()
        })
    }

    /// The times of a rotation of the pepper.
    pub fn rotation(&self) -> RotationSettings {
        RotationSettings { interval: self.pepper_rotation.get(), grace: self.pepper_grace.get() }
    }

    /// The most memory of the index in bytes; none if there is no index.
    pub fn index_limit(&self) -> Option<usize> {
        match self.index {
            Index::Auto => Some(self.index_memory.get()),
            Index::Memory => Some(usize::MAX),
            Index::Database => None,
        }
    }
}

/// Where lookups are answered from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Index {
    /// From memory, unless the index would be larger than `index_memory`.
    Auto,
    /// From memory.
    Memory,
    /// From the database.
    Database,
}

/// The encoding of a lookup's entries (specification, "Hashing").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Hashed with the pepper.
    Sha256,
    /// In clear text.
    None,
}

impl Algorithm {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "none" => Ok(Self::None),
            _ => Err("expected \"sha256\" or \"none\""),
        }
    }
}

/// The section `[bind]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bind {
    /// How long an association is valid.
    pub validity: HumanDuration,
    /// Patterns of homeservers whose users may bind; empty: all.
    pub allow_servers: Globs,
    /// Whether a homeserver receives an onbind notification for every association of its users; by default only for
    /// addresses with pending invitations.
    pub always_notify: bool,
    /// Whether a bind that replaces the association of another user is reported to the address by mail, and to the
    /// homeserver of that user.
    pub notify_old_owner: bool,
}

impl Default for Bind {
    fn default() -> Self {
        Self {
            validity: HumanDuration::from_secs(36_500 * 86_400),
            allow_servers: Globs::default(),
            always_notify: false,
            notify_old_owner: true,
        }
    }
}

impl Bind {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.validity.get().is_zero() {
            return Err(ConfigError::invalid("bind.validity", "expected more than 0, such as \"36500d\""));
        }
        // Canonical JSON has no integers for later timestamps.
        if self.validity > HumanDuration::from_secs(73_000_000 * 86_400) {
            return Err(ConfigError::invalid("bind.validity", "expected at most \"73000000d\""));
        }
        Ok(())
    }
}

/// The section `[unbind]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Unbind {
    /// Whether the owner's access token authorizes an unbind, besides a session and the homeserver's signature.
    pub allow_owner_token: bool,
    /// Whether an unbind is reported to the address by mail.
    pub notify_owner: bool,
}

impl Default for Unbind {
    fn default() -> Self {
        Self { allow_owner_token: false, notify_owner: true }
    }
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Lookup};

    #[test]
    fn sha256_is_always_offered() {
        use Algorithm::{None, Sha256};
        for (algorithms, is_valid) in [(&[Sha256][..], true), (&[None, Sha256], true), (&[None], false), (&[], false)] {
            let lookup = Lookup { algorithms: algorithms.to_vec().into(), ..Lookup::default() };
            let error = lookup.check().map_err(|error| error.to_string()).err();
            assert_eq!(error.is_none(), is_valid, "{algorithms:?}");
            assert!(error.is_none_or(|error| error.starts_with("[lookup] algorithms: ")), "{algorithms:?}");
        }
    }
}
