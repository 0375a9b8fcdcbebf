//! Why a request to the outside brought nothing usable, in the few kinds that callers tell apart.
//!
//! Invariant: a [`Failure`] carries no text of its own, so no URL, token or address can leave with it.

use std::error::Error;
use std::io;

/// What went wrong, as seen from the party that was to be reached: every text continues "the server cannot be used: …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Failure {
    /// All its addresses are refused by the address guard; nothing was sent.
    #[error("its address is not allowed")]
    Blocked,
    /// Its name has no address, or the name servers gave no answer.
    #[error("its name does not resolve")]
    Dns,
    /// No address accepted a connection.
    #[error("it accepts no connection")]
    Connect,
    /// No address accepted one in time.
    #[error("it accepts no connection in time")]
    ConnectTimeout,
    /// No TLS session: most often its certificate is not for this name or not trusted.
    #[error("its TLS certificate or handshake is not acceptable")]
    Tls,
    /// It was too slow.
    #[error("it did not answer in time")]
    Timeout,
    /// It sent more than the caller wanted to read.
    #[error("its reply is too large")]
    TooLarge,
    /// It broke off, or spoke something other than HTTP.
    #[error("its reply cannot be read")]
    Other,
}

impl Failure {
    /// A word for metric labels.
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

    /// The kind of an error of an HTTP client, found in the chain of its causes.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut weak = Self::Other;
        let mut next = Some(error);
        while let Some(error) = next {
            let kind = Self::of_one(error);
            if let Some(found) = kind
                && found != Self::Connect
            {
                return found;
            }
            weak = kind.unwrap_or(weak);
            next = error.source();
        }
        weak
    }

    /// `Connect` is the weakest finding: clients use that word for DNS and TLS as well.
    fn of_one(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(failure) = error.downcast_ref::<Self>() {
            return Some(*failure);
        }
        if error.is::<rustls::Error>() {
            return Some(Self::Tls);
        }
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            return match (error.is_connect(), error.is_timeout()) {
                // Nothing was sent yet, which matters to those who must not send twice.
                (true, true) => Some(Self::ConnectTimeout),
                (false, true) => Some(Self::Timeout),
                (true, false) => Some(Self::Connect),
                (false, false) => None,
            };
        }
        let error = error.downcast_ref::<io::Error>()?;
        // An io::Error does not name what it wraps as its source, only that one's source.
        if let Some(inner) = error.get_ref() {
            match Self::of(inner) {
                Self::Other => {}
                found => return Some(found),
            }
        }
        match error.kind() {
            io::ErrorKind::TimedOut => Some(Self::Timeout),
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Some(Self::Connect),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Failure;

    #[test]
    fn the_deepest_telling_cause_decides() {
        let wrapped = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete));
        assert_eq!(Failure::of(&wrapped), Failure::Tls);
        assert_eq!(Failure::of(&io::Error::other(Failure::Blocked)), Failure::Blocked);
        assert_eq!(Failure::of(&io::Error::from(io::ErrorKind::ConnectionRefused)), Failure::Connect);
        assert_eq!(Failure::of(&io::Error::from(io::ErrorKind::TimedOut)), Failure::Timeout);
        assert_eq!(Failure::of(&io::Error::other("unheard of")), Failure::Other);
    }
}
