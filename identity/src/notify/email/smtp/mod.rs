//! Sends mail to a relay by SMTP (RFC 5321) over pooled connections.
//!
//! Invariant: a connection returns to the pool only after a complete mail transaction. lettre's own pool keeps a
//! connection whose transaction timed out, and then matches each late reply to the next command. So this module uses
//! lettre's connection without its pool.

mod login;
mod opening;
pub(super) mod reply;
#[cfg(test)]
mod silent_connections_tests;
mod stream;
#[cfg(test)]
mod tests;
mod transaction;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use parking_lot::{Mutex, MutexGuard};
use shared::outbound::connector::{Connector, Target};
use shared::outbound::proxy::ProxyRule;
use shared::outbound::resolver::Resolver;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use self::opening::{Greeting, Opening};
use self::reply::ReplyCode;
use self::stream::{Hello, Observed};
use super::message::OutgoingMail;
use super::{MailerError, Refusal, SendError};
use crate::config::email::{Login, Relay, TlsMode};

/// The maximum number of open connections to the relay.
const MAX_CONNECTIONS: usize = 10;
/// An idle connection is not used again after this time; relays close idle connections after minutes.
const MAX_IDLE: Duration = Duration::from_secs(60);
/// How long the relay may take to answer the NOOPs before a mail.
const PROBE: Duration = Duration::from_secs(2);

/// The client of one relay.
pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: TlsMode,
    opening: Opening,
    login: Option<Login>,
    timeout: Duration,
    idle: Mutex<Vec<(Connection, Instant)>>,
    slots: Semaphore,
}

/// A connection after EHLO and login.
struct Connection {
    smtp: AsyncSmtpConnection,
    observed: Arc<Observed>,
}

impl Smtp {
    pub(super) fn new(relay: &Relay, timeout: Duration, extra_ca: Option<&Path>) -> Result<Self, MailerError> {
        let with_tls = || {
            let tls = shared::outbound::tls::client_config(extra_ca, true);
            let tls = tls.map_err(|error| MailerError::Tls(error.to_string()))?;
            Ok::<_, MailerError>(Connector::new(Resolver::System, ProxyRule::default(), tls, timeout))
        };
        let (target, secured) = (Target::tcp(&relay.host, relay.port), Target::tls(&relay.host, relay.port));
        let (target, starttls, connector) = match relay.tls {
            TlsMode::None => (target, None, Connector::plain(timeout)),
            TlsMode::Starttls => {
                let name = secured.and_then(|target| target.tls);
                (target.filter(|_| name.is_some()), name, with_tls()?)
            }
            TlsMode::Tls => (secured, None, with_tls()?),
        };
        let hello_name = relay.helo_name.clone().map_or_else(ClientId::default, ClientId::Domain);
        Ok(Self {
            host: relay.host.clone(),
            port: relay.port,
            tls: relay.tls,
            opening: Opening { target, connector, starttls, hello_name },
            login: relay.login.clone(),
            timeout,
            idle: Mutex::default(),
            slots: Semaphore::new(MAX_CONNECTIONS),
        })
    }

    pub(super) fn describe(&self) -> String {
        let protection = match self.tls {
            TlsMode::None => "without TLS",
            TlsMode::Starttls => "with STARTTLS",
            TlsMode::Tls => "with TLS",
        };
        format!("SMTP through {}:{} {protection}", self.host, self.port)
    }

    /// Sends one mail to the relay.
    ///
    /// A relay may end a kept connection at any time, with 421 or without a word. Until the end of the message is sent, a
    /// new connection is then used at once.
    pub(super) async fn send(&self, mail: &OutgoingMail) -> Result<(), SendError> {
        // If all connections stay busy, the relay is slow; the mail is not at fault.
        let Ok(Ok(_slot)) = timeout(self.timeout, self.slots.acquire()).await else {
            return Err(SendError::TryLater { reply: None });
        };
        if let Some(kept) = self.kept().await {
            let observed = Arc::clone(&kept.observed);
            match self.send_over(kept, mail).await {
                Err(Ended::ByRelay(_)) if !observed.has_sent_end() => {
                    tracing::info!("the relay ended a kept connection; the mail is sent over a new one");
                }
                sent => return sent.map_err(Ended::into_error),
            }
        }
        let connection = timeout(self.timeout, self.connect())
            .await
            .unwrap_or_else(|_| Err(SendError::Refused(Refusal::Connect(String::from("timed out")))))?;
        self.send_over(connection, mail).await.map_err(Ended::into_error)
    }

    /// Opens a connection with the login, and closes it. Sends no mail.
    ///
    /// # Errors
    /// Those of [`Smtp::send`] before a mail.
    pub(super) async fn check(&self) -> Result<(), SendError> {
        let timed_out = || SendError::Refused(Refusal::Connect(String::from("timed out")));
        let mut connection = timeout(self.timeout, self.connect()).await.map_err(|_| timed_out())??;
        // The reply does not matter.
        let _ = timeout(PROBE, connection.smtp.quit()).await;
        Ok(())
    }

    async fn send_over(&self, mut connection: Connection, mail: &OutgoingMail) -> Result<(), Ended> {
        connection.observed.begin();
        match timeout(self.timeout, transaction::send(&mut connection.smtp, mail)).await {
            Ok(Ok(())) => {
                self.idle().push((connection, Instant::now()));
                Ok(())
            }
            Ok(Err(error)) => {
                // Sends QUIT without waiting for the reply.
                tokio::spawn(timeout(PROBE, async move { connection.smtp.abort().await }));
                Err(Ended::by(error))
            }
            Err(_) => Err(Ended::Otherwise(SendError::Refused(Refusal::Broken))),
        }
    }

    /// An idle connection that still answers a NOOP. The first one without an answer stands for all of them: a path that
    /// has died keeps them all silent, and each would cost the mail another wait.
    async fn kept(&self) -> Option<Connection> {
        let started = Instant::now();
        let answering = async {
            loop {
                let (mut connection, since) = self.idle().pop()?;
                if since.elapsed() < MAX_IDLE && connection.smtp.test_connected().await {
                    return Some(connection);
                }
            }
        };
        timeout(PROBE, answering).await.unwrap_or_else(|_| {
            // Those that delivered a mail meanwhile stay.
            self.idle().retain(|(_, since)| *since >= started);
            None
        })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock()
    }

    async fn connect(&self) -> Result<Connection, SendError> {
        let (mut smtp, observed) = match self.opening.open(Hello::Ehlo).await {
            // RFC 5321 section 3.2: after a rejected EHLO the client sends HELO. Such a relay supports neither STARTTLS
            // nor AUTH, so this applies only if the configuration requires neither.
            Err(error) if does_not_know_ehlo(&error) && self.tls == TlsMode::None && self.login.is_none() => {
                self.opening.open(Hello::Helo).await
            }
            greeted => greeted,
        }
        .map_err(|error| failure(&error, |error, reply| Refusal::Connect(connect_detail(error, reply))))?;
        if let Some(login) = &self.login {
            let relay = (self.host.as_str(), self.port);
            login::log_in(&mut smtp, login, relay, &observed.mechanisms(), self.timeout).await?;
        }
        Ok(Connection { smtp, observed })
    }
}

/// Why a mail was not sent over a connection.
enum Ended {
    /// The relay closed the connection, or announced that it does (421).
    ByRelay(SendError),
    Otherwise(SendError),
}

impl Ended {
    fn by(error: SendError) -> Self {
        match &error {
            SendError::TryLater { reply: Some(reply) } if reply.code() == 421 => Self::ByRelay(error),
            SendError::Refused(Refusal::Broken) => Self::ByRelay(error),
            _ => Self::Otherwise(error),
        }
    }

    fn into_error(self) -> SendError {
        match self {
            Self::ByRelay(error) | Self::Otherwise(error) => error,
        }
    }
}

/// Converts a failure: 4xx is temporary, every other failure permanent. The relay's text may contain the address, so it
/// is discarded; `refusal` makes the kind of rejection from the failure and its reply code.
fn failure(error: &Greeting, refusal: impl FnOnce(&Greeting, Option<ReplyCode>) -> Refusal) -> SendError {
    let reply = match error {
        Greeting::Smtp(smtp) => ReplyCode::of(smtp),
        Greeting::Reply(reply) => Some(*reply),
        Greeting::Network(_) | Greeting::Plain(_) => None,
    };
    match reply {
        Some(reply) if reply.is_temporary() => SendError::TryLater { reply: Some(reply) },
        reply => SendError::Refused(refusal(error, reply)),
    }
}

/// The detail for the operator. Before MAIL no reply can contain an address.
fn connect_detail(error: &Greeting, reply: Option<ReplyCode>) -> String {
    match (error, reply) {
        (_, Some(reply)) => format!("reply {reply}"),
        (Greeting::Smtp(smtp), None) if smtp.is_response() => String::from("the server does not speak SMTP"),
        (error, None) => error.to_string(),
    }
}

fn does_not_know_ehlo(error: &Greeting) -> bool {
    // RFC 5321 section 4.1.4 lists these codes.
    let Greeting::Smtp(smtp) = error else { return false };
    smtp.status().is_some_and(|code| matches!(u16::from(code), 500 | 501 | 502 | 504 | 550))
}
