//! Opens TLS connections that speak HTTP/2.
//!
//! Invariant: every connection verifies the certificate and its name, and requires `h2`.

use http::uri::Authority;
use shared::outbound::connector::{Connector, Target};
use shared::outbound::stream::{HTTP_2, Stream};
use url::Url;

/// The address of Apple's servers, or of servers that replace them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    target: Target,
    authority: Authority,
}

/// Opens connections to one endpoint.
pub(super) struct EndpointConnector {
    endpoint: Endpoint,
    connector: Connector,
}

/// Why an attempt to connect failed, for the log too.
#[derive(Debug)]
pub(super) struct Unreachable {
    /// A label from a closed set.
    pub(super) reason: &'static str,
    /// Not escaped.
    pub(super) detail: String,
}

impl Unreachable {
    pub(super) fn new(reason: &'static str, error: &dyn std::fmt::Display) -> Self {
        Self { reason, detail: error.to_string() }
    }
}

impl Endpoint {
    /// Reads `https://host[:port]`; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare = url.scheme() == "https" && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !bare || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let target = Target::tls(url.host_str()?, url.port_or_known_default()?)?;
        let authority = match url.port() {
            Some(port) => format!("{}:{port}", target.host),
            None => target.host.to_string(),
        };
        Some(Self { target, authority: authority.parse().ok()? })
    }
}

impl EndpointConnector {
    /// `connector` must offer HTTP/2 by ALPN.
    pub(super) fn new(endpoint: Endpoint, connector: Connector) -> Self {
        Self { endpoint, connector }
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.endpoint.authority
    }

    pub(super) async fn connect(&self) -> Result<Stream, Unreachable> {
        let stream = self.connector.connect(&self.endpoint.target).await;
        let stream = stream.map_err(|error| Unreachable::new(error.failure.label(), &error))?;
        if stream.alpn() == Some(HTTP_2) {
            Ok(stream)
        } else {
            Err(Unreachable::new("tls", &"the server does not speak HTTP/2"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Endpoint;

    #[test]
    fn an_endpoint_is_a_host_with_an_optional_port() {
        for (text, authority, port) in [
            ("https://api.push.apple.com:443", "api.push.apple.com", 443),
            ("https://api.push.apple.com", "api.push.apple.com", 443),
            ("https://127.0.0.1:8443/", "127.0.0.1:8443", 8443),
            ("https://[::1]:2197", "[::1]:2197", 2197),
        ] {
            let endpoint = Endpoint::parse(text).unwrap();
            assert_eq!((endpoint.authority.as_str(), endpoint.target.port), (authority, port), "{text}");
        }
        for text in [
            "",
            "api.push.apple.com:443",
            "http://a.example",
            "https://a.example/3",
            "https://u@a.example",
            "https://a.example?x",
        ] {
            assert_eq!(Endpoint::parse(text), None, "{text}");
        }
    }
}
