//! An HTTP proxy that is asked to CONNECT to Apple.
//!
//! Invariant: its password is in no error and in no log.

use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use percent_encoding::percent_decode_str;
use shared::secret::Secret;
use tokio::net::TcpStream;
use tower_service::Service;
use url::Url;

/// A proxy, with what it asks to be told.
#[derive(Clone)]
pub(in super::super) struct Proxy {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// The setting cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected \"http://[user:password@]host:port\"")]
pub(crate) struct InvalidProxy;

impl Proxy {
    /// Reads the setting; the error does not repeat it, since it may hold a password.
    pub(in super::super) fn parse(setting: &Secret<String>) -> Result<Self, InvalidProxy> {
        let url = Url::parse(setting.expose()).map_err(|_| InvalidProxy)?;
        let host = url.host_str().filter(|_| url.scheme() == "http").ok_or(InvalidProxy)?;
        let port = url.port_or_known_default().ok_or(InvalidProxy)?;
        let uri = format!("http://{host}:{port}").parse().map_err(|_| InvalidProxy)?;
        let authorization = match (url.username(), url.password()) {
            ("", None) => None,
            (user, password) => Some(basic(user, password.unwrap_or_default())?),
        };
        Ok(Self { uri, authorization })
    }

    pub(super) async fn tunnel(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut tunnel = Tunnel::new(self.uri.clone(), HttpConnector::new());
        if let Some(authorization) = &self.authorization {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let uri = format!("https://{host}:{port}").parse().map_err(io::Error::other)?;
        tunnel.call(uri).await.map(hyper_util::rt::TokioIo::into_inner).map_err(io::Error::other)
    }
}

fn basic(user: &str, password: &str) -> Result<HeaderValue, InvalidProxy> {
    let mut pair: Vec<u8> = percent_decode_str(user).collect();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).map_err(|_| InvalidProxy)
}
