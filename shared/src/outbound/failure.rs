//! Why a connection or a request failed, in the few kinds that callers distinguish.
//!
//! Invariant: a [`Failure`] contains no text from outside, so no URL, token or address leaks through it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;

/// The kind of a failed connection or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// The address guard rejected all addresses of the host.
    #[error("its address is not allowed")]
    Blocked,
    /// The host name has no address, or no name server answered.
    #[error("its name does not resolve")]
    Dns,
    /// No address accepted a connection.
    #[error("it accepts no connection")]
    Connect,
    /// The connection was not established in time.
    #[error("it accepts no connection in time")]
    ConnectTimeout,
    /// The TLS handshake failed, usually because the certificate is invalid for this name or not trusted.
    #[error("its TLS certificate or handshake is invalid")]
    Tls,
    /// The response did not arrive in time.
    #[error("it did not respond in time")]
    Timeout,
    /// The response is larger than the caller's limit.
    #[error("its response is too large")]
    TooLarge,
    /// The connection was lost, or the response is not HTTP.
    #[error("its response is incomplete or invalid")]
    Other,
}

impl Failure {
    /// The value of metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::Other => "other",
        }
    }

    /// Whether the server may have received the request or a part of it. `false` means that no connection was
    /// established, so the request can safely be sent again or to another server.
    pub const fn may_have_been_sent(self) -> bool {
        match self {
            Self::Blocked | Self::Dns | Self::Connect | Self::ConnectTimeout | Self::Tls => false,
            Self::Timeout | Self::TooLarge | Self::Other => true,
        }
    }

    /// Classifies an error of the HTTP client. Only a [`ConnectError`] in its chain proves that nothing was sent: a TLS
    /// error alone may also occur after the request.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        for error in chain(error) {
            if let Some(error) = error.downcast_ref::<ConnectError>() {
                return error.failure;
            }
            let hyper_timeout = error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_timeout);
            let tcp_timeout =
                error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
            if hyper_timeout || tcp_timeout {
                return Self::Timeout;
            }
        }
        Self::Other
    }
}

/// A connection that was not established.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub struct ConnectError {
    /// The phase that failed.
    pub failure: Failure,
    /// The cause for the log, with the texts of the resolver, the operating system or the TLS library.
    detail: String,
}

impl ConnectError {
    /// A failure with its cause.
    pub fn new(failure: Failure, cause: &(dyn Error + 'static)) -> Self {
        let mut detail = cause.to_string();
        for source in chain(cause).skip(1).map(ToString::to_string) {
            if !detail.ends_with(&source) {
                detail = format!("{detail}: {source}");
            }
        }
        // A certificate that names itself as an authority has another error than one of an unknown authority.
        if ["UnknownIssuer", "CaUsedAsEndEntity"].iter().any(|kind| detail.contains(kind)) {
            detail.push_str(
                "; if the certificate is the right one, name it or its authority in [outbound] extra_ca_file",
            );
        }
        Self { failure, detail }
    }

    /// The same failure of a connection to `address`.
    #[must_use]
    pub(super) fn of_address(self, address: SocketAddr) -> Self {
        Self { detail: format!("{address}: {}", self.detail), ..self }
    }

    /// The address guard rejected `addresses`, all of a host.
    pub(super) fn blocked(addresses: &[SocketAddr]) -> Self {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        let detail = format!(
            "{}: the address guard does not permit it; if the server is yours, add its network to [outbound] allow_cidrs",
            addresses.join(", ")
        );
        Self { failure: Failure::Blocked, detail }
    }

    /// The same failure of a connection through `proxy`.
    #[must_use]
    pub(super) fn through(self, proxy: &impl std::fmt::Display) -> Self {
        Self { detail: format!("through the proxy {proxy}: {}", self.detail), ..self }
    }
}

impl From<Failure> for ConnectError {
    fn from(failure: Failure) -> Self {
        Self { failure, detail: failure.to_string() }
    }
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{ConnectError, Failure};

    #[test]
    fn only_a_connect_error_proves_that_nothing_was_sent() {
        let handshake = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
        assert_eq!(Failure::of(&handshake), Failure::Other);
        assert!(Failure::of(&handshake).may_have_been_sent());
        let refused = ConnectError::new(Failure::Tls, &handshake);
        assert_eq!(Failure::of(&refused), Failure::Tls);
        assert!(!Failure::of(&refused).may_have_been_sent());
        assert_eq!(Failure::of(&io::Error::from(io::ErrorKind::TimedOut)), Failure::Timeout);
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        for error in [
            io::Error::from(io::ErrorKind::ConnectionReset),
            io::Error::from(io::ErrorKind::HostUnreachable),
            io::Error::from(io::ErrorKind::NetworkUnreachable),
            io::Error::from(io::ErrorKind::ConnectionRefused),
            io::Error::new(io::ErrorKind::InvalidData, alert),
        ] {
            let failure = Failure::of(&error);
            assert!(failure == Failure::Other && failure.may_have_been_sent(), "{error}");
        }
    }

    #[test]
    fn a_connect_error_shows_its_causes() {
        let cause = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
        let text = ConnectError::new(Failure::Tls, &cause).to_string();
        assert_eq!(text, "handshake not complete");
        assert_eq!(ConnectError::from(Failure::Dns).to_string(), "its name does not resolve");
        let proxied = ConnectError::from(Failure::Dns).through(&"proxy.example:3128");
        assert_eq!(proxied.to_string(), "through the proxy proxy.example:3128: its name does not resolve");
        for kind in [rustls::CertificateError::UnknownIssuer, rustls::CertificateError::Expired] {
            let is_unknown = kind == rustls::CertificateError::UnknownIssuer;
            let text = ConnectError::new(Failure::Tls, &rustls::Error::InvalidCertificate(kind)).to_string();
            assert_eq!(text.contains("[outbound] extra_ca_file"), is_unknown, "{text}");
        }
    }
}
