//! The sender of every mail: `[email] from`, or an address at the server's own host.

use lettre::Address;
use lettre::message::header::{From as FromField, Headers};
use lettre::message::{Mailbox, Mailboxes};

use super::address::sendable;

/// The mailbox in the envelope and in the From field.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    mailbox: Mailbox,
}

/// `[email] from` is not a mailbox.
#[derive(Debug, thiserror::Error)]
#[error("[email] from: \"{0}\" is not a mailbox; write \"address\" or \"Name <address>\"")]
pub struct SenderError(String);

impl Sender {
    /// Parses `from`, or takes `noreply` at the host of `server_name`.
    ///
    /// # Errors
    /// [`SenderError`] if `from` is not a mailbox.
    pub(super) fn new(from: Option<&str>, server_name: &str) -> Result<Self, SenderError> {
        let Some(text) = from else {
            let address = Address::new_dangerous("noreply", mail_host(server_name));
            return Ok(Self { mailbox: Mailbox::new(Some(String::from("Matrix")), address) });
        };
        let wrong = || SenderError(text.to_owned());
        let mailbox: Mailbox = text.parse().map_err(|_| wrong())?;
        if text.chars().any(char::is_control) {
            return Err(wrong());
        }
        let address = sendable(mailbox.email.as_ref()).ok_or_else(wrong)?;
        let (user, domain) = address.rsplit_once('@').ok_or_else(wrong)?;
        Ok(Self { mailbox: Mailbox::new(mailbox.name, Address::new_dangerous(user, domain)) })
    }

    pub(super) fn address(&self) -> &str {
        self.mailbox.email.as_ref()
    }

    pub(super) fn domain(&self) -> &str {
        self.mailbox.email.domain()
    }

    /// The encoded value of the From field.
    pub(super) fn field(&self) -> String {
        let mut headers = Headers::new();
        headers.set(FromField::from(Mailboxes::from(self.mailbox.clone())));
        let line = headers.to_string();
        line.strip_prefix("From: ").unwrap_or(&line).trim_end().to_owned()
    }
}

/// The host of a Matrix server name as the domain of a mail address.
fn mail_host(server_name: &str) -> String {
    if let Some((literal, _)) = server_name.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        // RFC 5321 section 4.1.3
        return format!("[IPv6:{literal}]");
    }
    let host = server_name.rsplit_once(':').map_or(server_name, |(host, _)| host);
    if host.parse::<std::net::Ipv4Addr>().is_ok() { format!("[{host}]") } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::Sender;

    #[test]
    fn a_server_without_settings_has_a_sender() {
        for (name, address) in [
            ("id.example.org", "noreply@id.example.org"),
            ("localhost:8090", "noreply@localhost"),
            ("127.0.0.1:8090", "noreply@[127.0.0.1]"),
            ("[::1]:8090", "noreply@[IPv6:::1]"),
        ] {
            assert_eq!(Sender::new(None, name).unwrap().address(), address);
        }
        for wrong in ["", "no-address", "a@x\r\nBcc: b@y", "Name <a@x>\nBcc: <b@y>"] {
            assert!(Sender::new(Some(wrong), "x").is_err(), "{wrong:?}");
        }
        let sender = Sender::new(Some("noreply@bücher.example"), "x").unwrap();
        assert_eq!(sender.address(), "noreply@xn--bcher-kva.example");
    }
}
