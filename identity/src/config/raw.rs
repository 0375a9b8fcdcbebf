//! The configuration as the file and the environment state it.
//!
//! Invariant: every key has a default with which the server starts, so an empty file is valid.

use std::path::Path;

use serde::Deserialize;
use shared::config::{ConfigErrors, ConfigSource, SpecialKeys};
use shared::http::settings::{Admin, Http};
use shared::outbound::settings::Outbound;
use shared::telemetry::Log;

use super::database::RawDatabase;
use super::email::RawEmail;
use super::federation::{Federation, Registration};
use super::invites::Invites;
use super::legacy_v1::LegacyV1;
use super::limits::Limits;
use super::msisdn::MsisdnConfig;
use super::outbox::Outbox;
use super::rules::{Account, Auth, Bind, Lookup, Sessions, Unbind};
use super::server::{RawKeys, RawServer};
use super::sms::RawSms;
use super::templates::TemplatesConfig;
use super::terms::RawTerms;

/// The prefix of environment variables: `IDENTITY__SECTION__KEY`.
pub const ENVIRONMENT_PREFIX: &str = "IDENTITY";

/// Old and new paths of moved keys.
const MOVED: [(&str, &str); 4] = [
    ("federation.extra_ca_file", "outbound.extra_ca_file"),
    ("federation.proxy", "outbound.proxy"),
    ("federation.allow_cidrs", "outbound.allow_cidrs"),
    ("federation.deny_cidrs", "outbound.deny_cidrs"),
];

/// Removed keys, and what to do instead.
const REMOVED: [(&str, &str); 1] =
    [("limits.email_wrong_tokens", "delete it: [sessions] email_max_wrong limits the wrong tokens of each session")];

/// All sections with their keys. Paths are as written, and secrets may still be in files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    pub(super) server: RawServer,
    pub(super) http: Http,
    pub(super) admin: Admin,
    pub(super) log: Log,
    pub(super) database: RawDatabase,
    pub(super) keys: RawKeys,
    pub(super) auth: Auth,
    pub(super) account: Account,
    pub(super) registration: Registration,
    pub(super) terms: RawTerms,
    pub(super) sessions: Sessions,
    pub(super) email: RawEmail,
    pub(super) msisdn: MsisdnConfig,
    pub(super) sms: RawSms,
    pub(super) templates: TemplatesConfig,
    pub(super) lookup: Lookup,
    pub(super) bind: Bind,
    pub(super) unbind: Unbind,
    pub(super) invites: Invites,
    pub(super) legacy_v1: LegacyV1,
    pub(super) outbox: Outbox,
    pub(super) outbound: Outbound,
    pub(super) federation: Federation,
    pub(super) limits: Limits,
}

impl RawConfig {
    /// Reads the TOML `file`, if given, and the environment over it.
    pub(super) fn source(file: Option<&Path>) -> Result<ConfigSource, ConfigErrors> {
        let keys = SpecialKeys { moved: &MOVED, removed: &REMOVED, ..SpecialKeys::default() };
        ConfigSource::read(keys, file, ENVIRONMENT_PREFIX)
    }
}
