//! Everything that leaves the server as a mail or an SMS, or is shown as a page.
//!
//! Invariant: an error from here names a kind and a reply code, never an address, a token or a server's words about them.

pub mod invitation;
pub mod message;
pub mod page;
pub mod sms;
pub mod templates;

mod file;
mod mime;
mod smtp;

use std::io;
use std::path::{Path, PathBuf};

use shared::clock::Clock;
use shared::config::ConfigError;
use shared::random::Random;

use self::file::Folder;
use self::message::OutgoingMail;
use self::smtp::Smtp;
use crate::config::email::{EmailConfig, Transport};

/// The way out for mail.
pub struct Mailer(Route);

enum Route {
    Closed,
    Smtp(Box<Smtp>),
    Folder(Folder),
}

/// Why mail cannot be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum MailerError {
    /// SMTP without a relay.
    #[error("email.transport is \"smtp\", but email.host is not set")]
    NoHost,
    /// A name without a password, or the other way round.
    #[error("email.username and email.password belong together: set both or neither")]
    HalfALogin,
    /// Not a name that can be said in EHLO.
    #[error("email.helo_name is not a host name")]
    HelloName,
    /// A secret that cannot be had.
    #[error(transparent)]
    Secret(#[from] ConfigError),
    /// A file or folder that cannot be used.
    #[error("cannot use {path}: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There are no root certificates, or the extra ones are not certificates.
    #[error("cannot set up TLS for mail: {0}")]
    Tls(String),
}

/// Why a mail was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// `[email] enabled = false`: `M_EMAIL_SEND_ERROR`.
    #[error("mail is disabled")]
    Disabled,
    /// For good: `M_EMAIL_SEND_ERROR`.
    #[error("mail refused: {0}")]
    Refused(Refusal),
    /// For now (SMTP 4xx, or all connections busy): the caller queues the mail.
    #[error("mail put off{}", .code.map(|code| format!(" with reply {code}")).unwrap_or_default())]
    TryLater {
        /// The reply code, if a reply was the reason.
        code: Option<u16>,
    },
    /// The relay cannot carry this address, or no relay can: `M_INVALID_EMAIL`.
    #[error("the relay cannot carry such an address")]
    ImpossibleAddress,
}

/// What made a refusal final.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A reply 5xx to the mail itself.
    #[error("reply {0}")]
    Reply(u16),
    /// No conversation came about: name, connection, greeting, TLS, certificate. Nothing was said about the mail.
    #[error("no connection: {0}")]
    Connect(String),
    /// The relay refused name and password (with this reply), offers no way to log in that we know, or broke off there.
    #[error("login failed{}", .0.map(|code| format!(" with reply {code}")).unwrap_or_default())]
    Login(Option<u16>),
    /// The conversation broke off or took too long; the mail may or may not have arrived.
    #[error("the conversation broke off")]
    Broken,
    /// The file could not be written.
    #[error("cannot write the file: {0}")]
    File(io::ErrorKind),
}

impl Mailer {
    /// Sets the way out up; nothing is connected yet. `extra_ca` is `[federation] extra_ca_file`, and a relative
    /// `file_dir` lies in `data_dir`.
    ///
    /// # Errors
    /// [`MailerError`] for settings that cannot work.
    pub fn new(
        config: &EmailConfig,
        extra_ca: Option<&Path>,
        data_dir: &Path,
        clock: Clock,
        random: Random,
    ) -> Result<Self, MailerError> {
        if !config.enabled {
            return Ok(Self(Route::Closed));
        }
        Ok(Self(match config.transport() {
            Transport::Smtp => Route::Smtp(Box::new(Smtp::new(config, extra_ca)?)),
            Transport::File => {
                let folder = config.file_dir.as_deref().unwrap_or(Path::new("mail"));
                Route::Folder(Folder::new(data_dir.join(folder), clock, random)?)
            }
        }))
    }

    /// Where mail goes, for the banner at start.
    pub fn describe(&self) -> String {
        match &self.0 {
            Route::Closed => String::from("mail is disabled"),
            Route::Smtp(smtp) => format!("mail goes out {}", smtp.describe()),
            Route::Folder(folder) => format!("mail goes {}", folder.describe()),
        }
    }

    /// Sends one mail and waits until it is taken. Must run on a tokio runtime that outlives the request, for the
    /// connection is kept.
    ///
    /// # Errors
    /// [`SendError`] says what the caller has to answer or to queue.
    pub async fn send(&self, mail: &OutgoingMail) -> Result<(), SendError> {
        let sent = match &self.0 {
            Route::Closed => Err(SendError::Disabled),
            Route::Smtp(smtp) => smtp.send(mail).await,
            Route::Folder(folder) => folder.send(mail).await,
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
