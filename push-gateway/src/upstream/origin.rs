//! The origin of requests, and how connections to it open.
//!
//! Invariant: every connection to an `https` origin verifies the certificate and its name.

use std::fmt::{self, Display};

use http::uri::{Authority, Scheme};
use shared::outbound::connector::{Connector, Target};
use shared::outbound::failure::Failure;
use shared::outbound::stream::{HTTP_2, Stream};
use url::Url;

/// A scheme, a host and a port.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    scheme: Scheme,
    /// Without the scheme's usual port.
    authority: Authority,
    port: u16,
}

/// Opens connections to one origin.
pub(super) struct OriginConnector {
    origin: Origin,
    target: Target,
    connector: Connector,
    protocols: Protocols,
}

/// The protocols that a server may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocols {
    /// HTTP/2 alone, by ALPN.
    Http2,
    /// HTTP/2 if the server chooses it by ALPN, otherwise HTTP/1.1. The connector offers both.
    Any,
}

/// Why an attempt to connect failed, for the log too.
#[derive(Debug)]
pub(super) struct Unreachable {
    pub(super) failure: Failure,
    /// Not escaped.
    pub(super) detail: String,
}

impl Unreachable {
    pub(super) fn new(failure: Failure, error: &dyn Display) -> Self {
        Self { failure, detail: error.to_string() }
    }
}

impl Origin {
    /// The origin of an `https` or `http` URL without user and password; `None` for anything else.
    pub(crate) fn of(url: &Url) -> Option<Self> {
        let scheme = match url.scheme() {
            "https" => Scheme::HTTPS,
            "http" => Scheme::HTTP,
            _ => return None,
        };
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let host = url.host_str()?;
        let authority = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        Some(Self { scheme, authority: authority.parse().ok()?, port: url.port_or_known_default()? })
    }

    /// Reads `https://host[:port]`; `None` for anything else.
    pub(crate) fn parse_https(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare = url.scheme() == "https" && url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        Self::of(&url).filter(|_| bare)
    }

    pub(super) fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    fn target(&self) -> Option<Target> {
        let host = self.authority.host();
        if self.scheme == Scheme::HTTPS { Target::tls(host, self.port) } else { Target::tcp(host, self.port) }
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.authority)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

impl OriginConnector {
    /// `None` if no connection to the host of `origin` is possible.
    pub(super) fn new(origin: Origin, connector: Connector, protocols: Protocols) -> Option<Self> {
        Some(Self { target: origin.target()?, origin, connector, protocols })
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Opens a connection; returns it with whether it speaks HTTP/2.
    pub(super) async fn connect(&self) -> Result<(Stream, bool), Unreachable> {
        let stream = self.connector.connect(&self.target).await;
        let stream = stream.map_err(|error| Unreachable::new(error.failure, &error))?;
        let is_http2 = stream.alpn() == Some(HTTP_2);
        if is_http2 || self.protocols == Protocols::Any {
            Ok((stream, is_http2))
        } else {
            Err(Unreachable::new(Failure::Tls, &"the server does not speak HTTP/2"))
        }
    }
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::Origin;

    #[test]
    fn an_endpoint_is_a_host_with_an_optional_port() {
        for (text, authority, port) in [
            ("https://api.push.apple.com:443", "api.push.apple.com", 443),
            ("https://api.push.apple.com", "api.push.apple.com", 443),
            ("https://127.0.0.1:8443/", "127.0.0.1:8443", 8443),
            ("https://[::1]:2197", "[::1]:2197", 2197),
        ] {
            let origin = Origin::parse_https(text).unwrap();
            assert_eq!((origin.authority.as_str(), origin.port), (authority, port), "{text}");
            assert_eq!(origin.target().map(|target| (target.port, target.tls.is_some())), Some((port, true)), "{text}");
        }
        for text in [
            "",
            "api.push.apple.com:443",
            "http://a.example",
            "https://a.example/3",
            "https://u@a.example",
            "https://a.example?x",
        ] {
            assert_eq!(Origin::parse_https(text), None, "{text}");
        }
    }

    #[test]
    fn urls_of_one_server_have_one_origin() {
        let of = |text: &str| Origin::of(&Url::parse(text).unwrap());
        let origin = of("https://push.example/a?b").unwrap();
        assert_eq!(of("https://PUSH.example:443/c"), Some(origin.clone()));
        for other in ["https://push.example:444/a", "http://push.example/a", "https://push.example./a"] {
            assert_ne!(of(other).unwrap(), origin, "{other}");
        }
        let plain = of("http://push.example:8080/up").unwrap();
        assert_eq!((plain.to_string().as_str(), plain.target().unwrap().tls), ("http://push.example:8080", None));
        for wrong in ["https://u@push.example/", "https://:p@push.example/", "ftp://push.example/", "data:,x"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
