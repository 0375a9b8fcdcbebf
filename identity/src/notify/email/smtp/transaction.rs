//! One mail transaction, from MAIL to the final reply.

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail};
use lettre::transport::smtp::extension::{Extension, MailBodyParameter, MailParameter};
use lettre::transport::smtp::response::Severity;

use super::super::message::OutgoingMail;
use super::super::{Refusal, SendError, address, mime};
use super::{Greeting, failure};

/// Sends `mail`. It does not use lettre's `send`, which sends QUIT after a rejection and waits for the reply: a slow reply
/// would hide whether the rejection was permanent.
pub(super) async fn send(connection: &mut AsyncSmtpConnection, mail: &OutgoingMail) -> Result<(), SendError> {
    let knows = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    if !mail.to.is_ascii() || !mail.from.is_ascii() {
        if !knows(Extension::SmtpUtfEight) {
            return Err(SendError::ImpossibleAddress);
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let mut message = std::borrow::Cow::Borrowed(mail.message.as_str());
    if !message.is_ascii() && !knows(Extension::EightBitMime) && parameters.is_empty() {
        message = mime::transportable(&message, false).into();
    }
    if !message.is_ascii() {
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    let (from, to) = (envelope_address(&mail.from)?, envelope_address(&mail.to)?);
    connection.command(Mail::new(Some(from), parameters)).await.map_err(broken)?;
    connection.command(format!("RCPT TO:<{to}>\r\n")).await.map_err(broken)?;
    let go_ahead = connection.command(Data).await.map_err(broken)?;
    if !go_ahead.has_code(354) {
        return Err(SendError::Refused(Refusal::Broken));
    }
    // lettre appends a line end to the message.
    let text = message.strip_suffix("\r\n").unwrap_or(&message);
    let taken = connection.message(text.as_bytes()).await.map_err(broken)?;
    if taken.code().severity == Severity::PositiveCompletion {
        Ok(())
    } else {
        Err(SendError::Refused(Refusal::Broken))
    }
}

fn broken(error: SmtpError) -> SendError {
    failure(&Greeting::Smtp(error), |_, reply| reply.map_or(Refusal::Broken, Refusal::Reply))
}

fn envelope_address(address: &str) -> Result<Address, SendError> {
    // A queued mail is checked again: another process, maybe of another version, checked its parts.
    let address = address::sendable(address).ok_or(SendError::ImpossibleAddress)?;
    let (local, domain) = address.rsplit_once('@').ok_or(SendError::ImpossibleAddress)?;
    Ok(Address::new_dangerous(address::quoted(local), domain))
}
