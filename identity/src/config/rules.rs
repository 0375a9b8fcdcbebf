//! The sections that hold rules of the API: `[auth]`, `[account]`, `[terms]`, `[sessions]`, `[lookup]`, `[bind]`,
//! `[unbind]`.
//!
//! Invariant: the defaults are those of the documentation; a test loads the example file and compares.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use shared::config::{Globs, HumanDuration, OneOrMany};

use crate::domain::session::SessionRules;
use crate::domain::terms::Terms;

/// The settings under `[auth]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Auth {
    /// Whether `?access_token=` is taken besides the header; homeservers still send it.
    pub allow_query_token: bool,
    /// How long an unused token lives.
    pub token_idle: HumanDuration,
    /// Tokens of one account; a further one displaces the oldest.
    pub max_tokens_per_user: usize,
}

impl Default for Auth {
    fn default() -> Self {
        Self { allow_query_token: true, token_idle: HumanDuration::from_secs(365 * 86_400), max_tokens_per_user: 20 }
    }
}

/// The settings under `[account]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Account {
    /// Whether `GET /_identity/v1/bindings` tells an account its own addresses.
    pub list_own_bindings: bool,
}

/// The settings under `[terms]`: either a file, or the policies themselves.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TermsSource {
    /// YAML or JSON; read again on SIGHUP.
    pub file: Option<PathBuf>,
    /// `[terms.policies.<id>]` with `version`, `required` and, for each language, `{ name, url }`.
    pub policies: BTreeMap<String, serde_json::Value>,
}

impl TermsSource {
    /// The terms that the settings describe, read anew.
    ///
    /// # Errors
    /// A sentence that names the file or the policy.
    pub fn read(&self) -> Result<Terms, String> {
        match &self.file {
            Some(_) if !self.policies.is_empty() => {
                Err("[terms] file and [terms.policies] are both set; keep one of them".to_owned())
            }
            Some(path) => {
                let named = |error: &dyn std::fmt::Display| format!("[terms] file: {}: {error}", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| named(&error))?;
                Terms::parse(&text).map_err(|error| named(&error))
            }
            None => {
                let policies = self.policies.iter().map(|(id, policy)| (id.clone(), policy.clone())).collect();
                Terms::from_policies(&policies).map_err(|error| format!("[terms.policies]: {error}"))
            }
        }
    }
}

/// The settings under `[sessions]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// From creation, and again from validation, to expiry.
    pub lifetime: HumanDuration,
    /// Wrong tokens that burn an e-mail session.
    pub email_max_wrong: u32,
    /// Wrong tokens that burn an SMS session.
    pub sms_max_wrong: u32,
    /// Patterns of hosts to which a `next_link` may lead.
    pub next_link_hosts: Globs,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            lifetime: HumanDuration::from_secs(86_400),
            email_max_wrong: 20,
            sms_max_wrong: 5,
            next_link_hosts: Globs::from(["*"]),
        }
    }
}

impl Sessions {
    /// The part that the domain decides by.
    pub fn rules(&self) -> SessionRules {
        SessionRules {
            lifetime: self.lifetime.get(),
            email_max_wrong: self.email_max_wrong,
            sms_max_wrong: self.sms_max_wrong,
        }
    }
}

/// The settings under `[lookup]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lookup {
    /// `sha256`, and `none` if clear-text lookups are wanted.
    pub algorithms: OneOrMany<Algorithm>,
    /// Entries of one request.
    pub max_addresses: usize,
    /// Distinct entries of one account, or one client address by the legacy API, and day; 0 for no bound.
    pub daily_quota: usize,
}

impl Default for Lookup {
    fn default() -> Self {
        Self { algorithms: vec![Algorithm::Sha256].into(), max_addresses: 10_000, daily_quota: 100_000 }
    }
}

/// How the entries of a lookup are written (specification, "Hashing").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    /// Hashed with the pepper.
    Sha256,
    /// In clear.
    None,
}

impl Algorithm {
    /// The name on the wire.
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

/// The settings under `[bind]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bind {
    /// How long an association holds.
    pub validity: HumanDuration,
    /// Patterns of homeservers whose users may bind; empty: all.
    pub allow_servers: Globs,
    /// Whether a homeserver is told of every association of its users, and not only if invitations waited for it.
    pub always_notify: bool,
}

impl Default for Bind {
    fn default() -> Self {
        Self {
            validity: HumanDuration::from_secs(36_500 * 86_400),
            allow_servers: Globs::default(),
            always_notify: false,
        }
    }
}

/// The settings under `[unbind]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Unbind {
    /// Whether the owner's access token suffices, besides a session and the homeserver's signature.
    pub allow_owner_token: bool,
}
