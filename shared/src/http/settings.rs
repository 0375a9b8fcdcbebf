//! `[http]`, `[admin]`: where a service listens and what it takes from a connection.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

use crate::config::{ByteSize, Cidr, HumanDuration, OneOrMany};

/// The settings under `[http]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// The address, or a list of them.
    pub bind: OneOrMany<SocketAddr>,
    /// What a reverse proxy puts in front of every path, such as `/push`; empty for nothing.
    pub base_path: BasePath,
    /// A PEM file with the certificate chain: then this listener speaks TLS.
    pub tls_cert_file: Option<PathBuf>,
    /// A PEM file with the private key of that certificate.
    pub tls_key_file: Option<PathBuf>,
    /// The largest body that is read.
    pub max_body: ByteSize,
    /// How long a client may take to send the header of a request.
    pub header_timeout: HumanDuration,
    /// How long a client may take to send the body.
    pub body_timeout: HumanDuration,
    /// How long an idle connection is kept.
    pub keep_alive: HumanDuration,
    /// Connections that are open at the same time at most; each thread has its equal share, and one at least.
    pub max_connections: usize,
    /// Threads that serve HTTP; unset: one for each core.
    pub workers: Option<usize>,
    /// Networks of reverse proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: OneOrMany<Cidr>,
    /// How long requests in flight may take to end after SIGTERM.
    pub shutdown_timeout: HumanDuration,
}

impl Http {
    /// The settings of a service that listens on `bind` and takes bodies up to `max_body` unless told otherwise.
    pub fn with(bind: SocketAddr, max_body: ByteSize) -> Self {
        Self {
            bind: vec![bind].into(),
            base_path: BasePath::default(),
            tls_cert_file: None,
            tls_key_file: None,
            max_body,
            header_timeout: HumanDuration::from_secs(10),
            body_timeout: HumanDuration::from_secs(30),
            keep_alive: HumanDuration::from_secs(75),
            max_connections: 20_000,
            workers: None,
            trusted_proxies: OneOrMany::default(),
            shutdown_timeout: HumanDuration::from_secs(25),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::with(SocketAddr::from(([127, 0, 0, 1], 8090)), ByteSize::from_bytes(1 << 20))
    }
}

/// What stands in front of every path; it begins with a slash and does not end with one, or is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// The path's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BasePath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = text.trim_end_matches('/');
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
        if path.is_empty() || (path.starts_with('/') && path.chars().all(plain)) {
            Ok(Self(path.to_owned()))
        } else {
            Err(format!("expected a path such as \"/push\", found \"{text}\""))
        }
    }
}

impl<'de> Deserialize<'de> for BasePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The settings under `[admin]`: `/health`, `/ready` and `/metrics` for the operator alone.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// `address:port` or `unix:/path`; unset: there is no such listener.
    pub bind: Option<AdminAddress>,
}

/// Where the admin listener stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a Unix socket, made readable for its owner and group alone.
    Unix(PathBuf),
}

impl FromStr for AdminAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some(path) if !path.is_empty() => Ok(Self::Unix(PathBuf::from(path))),
            _ => text.parse().map(Self::Tcp).map_err(|_| {
                format!("expected an address such as \"127.0.0.1:9090\" or \"unix:/run/x.sock\", found \"{text}\"")
            }),
        }
    }
}

impl<'de> Deserialize<'de> for AdminAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
