//! `[outbound]`: how providers reach the world.
//!
//! Invariant: no setting here can turn certificate verification off.

use std::path::PathBuf;

use serde::Deserialize;
use shared::config::Globs;
use shared::secret::Secret;

/// The settings under `[outbound]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Outbound {
    /// `http://user:password@host:port`: push services are reached through it, by CONNECT. A URL with a password in it
    /// is a secret.
    pub proxy: Option<Secret<String>>,
    /// A file with that URL.
    pub proxy_file: Option<PathBuf>,
    /// Hosts that are reached without the proxy; `*` stands for any run of characters.
    pub no_proxy: Globs,
    /// Certificates (PEM) that are trusted besides the system's roots.
    pub extra_ca_file: Option<PathBuf>,
}
