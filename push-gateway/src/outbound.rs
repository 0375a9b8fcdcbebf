//! `[outbound]`: how providers reach the world.
//!
//! Invariant: no setting here can turn certificate verification off.

use std::path::PathBuf;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use shared::config::{Cidr, Globs, OneOrMany};
use shared::secret::Secret;

/// The settings under `[outbound]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Outbound {
    /// `http://user:password@host:port`: push services are reached through it, by CONNECT. A URL with a password in it
    /// is a secret.
    pub(crate) proxy: Option<Secret<String>>,
    /// A file with that URL.
    pub(crate) proxy_file: Option<PathBuf>,
    /// Hosts that are reached without the proxy; `*` stands for any run of characters.
    pub(crate) no_proxy: Globs,
    /// Certificates (PEM) that are trusted besides the system's roots.
    pub(crate) extra_ca_file: Option<PathBuf>,
    /// Networks in which endpoints that users choose may lie, besides the public ones. The addresses of APNs and FCM
    /// are the operator's choice and need no such leave.
    pub(crate) allow_cidrs: OneOrMany<Cidr>,
    /// Networks in which they may not lie, besides the private ones.
    pub(crate) deny_cidrs: OneOrMany<Cidr>,
}

impl Outbound {
    /// A digest of all of it, the contents of the files included: whether connections would be made as before.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(format!("{self:?}"));
        hash.update(self.proxy.as_ref().map_or("", |proxy| proxy.expose().as_str()));
        for file in [&self.extra_ca_file, &self.proxy_file].into_iter().flatten() {
            hash.update(std::fs::read(file).unwrap_or_default());
        }
        hash.finalize().into()
    }
}
