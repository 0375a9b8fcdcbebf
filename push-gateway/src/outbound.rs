//! `[outbound]`: how providers reach the world.
//!
//! Invariant: no setting here can turn certificate verification off.

use std::path::PathBuf;

use serde::Deserialize;
use shared::config::{Cidr, Globs, OneOrMany};
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
    /// Networks in which endpoints that users choose may lie, besides the public ones. The addresses of APNs and FCM
    /// are the operator's choice and need no such leave.
    pub allow_cidrs: OneOrMany<Cidr>,
    /// Networks in which they may not lie, besides the private ones.
    pub deny_cidrs: OneOrMany<Cidr>,
}
