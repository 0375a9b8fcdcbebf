//! Outgoing email: composes a mail and sends it through the configured transport.

mod address;
pub mod invitation;
pub mod message;
pub mod migration;
mod sender;
pub mod verification;

mod compose;
mod file;
mod mime;
mod smtp;

#[cfg(test)]
mod injection_tests;

use std::io;
use std::path::{Path, PathBuf};

use shared::clock::Clock;
use shared::random::Random;

pub use self::compose::{ComposeError, MailContent, Subject};
use self::file::Folder;
use self::message::OutgoingMail;
use self::sender::{Sender, SenderError};
use self::smtp::Smtp;
pub use self::smtp::reply::ReplyCode;
use crate::config::email::{EmailConfig, Transport};

/// Composes and sends mail from one sender.
pub struct Mailer {
    sender: Sender,
    backend: Backend,
    clock: Clock,
    random: Random,
}

enum Backend {
    Disabled,
    Smtp(Box<Smtp>),
    Folder(Folder),
}

/// An `[email]` setting that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// A wrong `[email] from`.
    #[error(transparent)]
    Sender(#[from] SenderError),
    /// A file or folder that cannot be read or created.
    #[error("cannot use {path}: {source}")]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// No root certificates, or an extra CA file without certificates.
    #[error("cannot set up TLS for SMTP: {0}")]
    Tls(String),
}

/// A mail that was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// `[email] enabled = false`. Answered with `M_EMAIL_SEND_ERROR`.
    #[error("email is disabled")]
    Disabled,
    /// Permanent. Answered with `M_EMAIL_SEND_ERROR`.
    #[error("mail refused: {0}")]
    Refused(Refusal),
    /// Temporary: SMTP 4xx, or every connection busy. The caller queues the mail.
    #[error("mail deferred{}", .reply.map(|reply| format!(" with reply {reply}")).unwrap_or_default())]
    TryLater {
        /// The SMTP reply, if one was the reason.
        reply: Option<ReplyCode>,
    },
    /// The relay lacks SMTPUTF8, or no envelope can carry the address. Answered with `M_INVALID_EMAIL`.
    #[error("the relay does not support this kind of address")]
    ImpossibleAddress,
}

/// The step that failed for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A 5xx reply to the mail itself.
    #[error("reply {0}")]
    Reply(ReplyCode),
    /// No SMTP session: DNS, TCP, greeting, TLS or certificate. Says nothing about the mail.
    #[error("no session with the relay: {0}")]
    Connect(String),
    /// Authentication failed with this reply, or the relay closed the connection.
    #[error("login failed{}", .0.map(|reply| format!(" with reply {reply}")).unwrap_or_default())]
    Login(Option<ReplyCode>),
    /// The relay offers no login mechanism that this server supports.
    #[error("login failed: the relay offers {offered}; [email] auth supports {supported}")]
    NoMechanism {
        /// The mechanisms of `[email] auth`.
        supported: &'static str,
        /// The mechanisms in the relay's EHLO reply.
        offered: String,
    },
    /// The access token for the login cannot be read.
    #[error("no access token: {0}")]
    Token(String),
    /// The connection closed or timed out during the mail; the relay may have accepted it.
    #[error("the connection broke during the mail")]
    Broken,
    /// Writing the `.eml` file failed.
    #[error("cannot write the file: {0}")]
    File(io::ErrorKind),
}

impl Mailer {
    /// Opens no connection and creates no file. `extra_ca` is `[outbound] extra_ca_file`. Without `[email] from` the
    /// sender is derived from `server_name`.
    ///
    /// # Errors
    /// [`MailerError`] for a setting that cannot work.
    pub fn new(
        config: &EmailConfig,
        server_name: &str,
        extra_ca: Option<&Path>,
        clock: Clock,
        random: Random,
    ) -> Result<Self, MailerError> {
        let backend = match &config.transport {
            Transport::Disabled => Backend::Disabled,
            Transport::Smtp(relay) => Backend::Smtp(Box::new(Smtp::new(relay, config.timeout.get(), extra_ca)?)),
            Transport::File(folder) => Backend::Folder(Folder::new(folder.clone(), clock.clone(), random)),
        };
        Ok(Self { sender: Sender::new(config.from.as_deref(), server_name)?, backend, clock, random })
    }

    /// Creates the folder of `transport = "file"`, so that a server without access to it fails at start.
    ///
    /// # Errors
    /// [`MailerError::Unreadable`] if the folder cannot be created.
    pub fn prepare(&self) -> Result<(), MailerError> {
        match &self.backend {
            Backend::Folder(folder) => folder.create(),
            Backend::Disabled | Backend::Smtp(_) => Ok(()),
        }
    }

    /// The transport, for the banner at start.
    pub fn describe(&self) -> String {
        match &self.backend {
            Backend::Disabled => String::from("email: disabled"),
            Backend::Smtp(smtp) => format!("email: {}", smtp.describe()),
            Backend::Folder(folder) => format!("email: {}", folder.describe()),
        }
    }

    /// Connects to the relay and logs in; sends no mail. `None` without a relay.
    ///
    /// # Errors
    /// The failure of the connection, TLS or the login.
    pub async fn check_online(&self) -> Option<Result<(), SendError>> {
        match &self.backend {
            Backend::Smtp(smtp) => Some(smtp.check().await),
            Backend::Disabled | Backend::Folder(_) => None,
        }
    }

    /// Sends one mail and waits for the relay's answer. Needs a tokio runtime that outlives the request, because the
    /// connection is kept.
    ///
    /// # Errors
    /// [`SendError`] decides whether the caller answers with an error or queues the mail.
    pub async fn send(&self, mail: &OutgoingMail) -> Result<(), SendError> {
        let sent = match &self.backend {
            Backend::Disabled => Err(SendError::Disabled),
            Backend::Smtp(smtp) => smtp.send(mail).await,
            Backend::Folder(folder) => folder.send(mail).await,
        };
        let result = match &sent {
            Ok(()) => "sent",
            Err(SendError::Disabled) => "disabled",
            Err(SendError::Refused(_)) => "refused",
            Err(SendError::TryLater { .. }) => "try_later",
            Err(SendError::ImpossibleAddress) => "impossible_address",
        };
        metrics::counter!(
            "identity_messages_total", "medium" => "email", "kind" => mail.kind().as_str(), "result" => result
        )
        .increment(1);
        sent
    }
}

impl std::fmt::Debug for Mailer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}
