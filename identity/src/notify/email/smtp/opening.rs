//! Opens a connection to the relay: TCP, STARTTLS or TLS, EHLO or HELO.
//!
//! Invariant: STARTTLS happens before lettre's client sees the connection, so the same verifier checks the certificate as
//! for every other TLS connection, and no reply from before TLS is used after it.

use std::sync::Arc;

use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use shared::outbound::connector::{Connector, Target};
use shared::outbound::failure::{ConnectError, Failure};
use shared::outbound::stream::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::reply::ReplyCode;
use super::stream::{Hello, Observed, SmtpStream};

/// The longest reply before STARTTLS.
const MAX_REPLY: usize = 16 * 1024;

/// How a connection begins.
pub(super) struct Opening {
    /// `None` if the host is not a host name.
    pub(super) target: Option<Target>,
    pub(super) connector: Connector,
    /// The name in the certificate after STARTTLS; without it the connection has TLS from its start, or none.
    pub(super) starttls: Option<ServerName<'static>>,
    pub(super) hello_name: ClientId,
}

/// Why a connection failed before the first mail.
#[derive(Debug, thiserror::Error)]
pub(super) enum Greeting {
    #[error("{0}")]
    Network(#[from] ConnectError),
    #[error("{0}")]
    Smtp(#[from] lettre::transport::smtp::Error),
    #[error("reply {0}")]
    Reply(ReplyCode),
    #[error("{0}")]
    Plain(&'static str),
}

impl Opening {
    /// Opens a connection and sends EHLO or HELO, under TLS if the configuration requires it.
    pub(super) async fn open(&self, hello: Hello) -> Result<(AsyncSmtpConnection, Arc<Observed>), Greeting> {
        let target = self.target.as_ref().ok_or(ConnectError::from(Failure::Dns))?;
        let mut stream = self.connector.connect(target).await?;
        let mut greeting = &b""[..];
        if let Some(name) = &self.starttls {
            self.ask_for_tls(&mut stream).await?;
            stream = self.connector.start_tls(stream, name.clone()).await?;
            // The relay greets once, before STARTTLS, and lettre expects a greeting.
            greeting = b"220 \r\n";
        }
        let observed = Arc::new(Observed::default());
        let stream = Box::new(SmtpStream::new(stream, hello, greeting, Arc::clone(&observed)));
        let connection = AsyncSmtpConnection::connect_with_transport(stream, &self.hello_name).await?;
        Ok((connection, observed))
    }

    /// Reads the greeting, sends EHLO and STARTTLS (RFC 3207).
    async fn ask_for_tls(&self, stream: &mut Stream) -> Result<(), Greeting> {
        positive(read_reply(stream).await?)?;
        write(stream, &format!("EHLO {}\r\n", self.hello_name)).await?;
        let extensions = positive(read_reply(stream).await?)?;
        let offers_tls = extensions.iter().skip(1).any(|line| line.trim_end().eq_ignore_ascii_case("STARTTLS"));
        if !offers_tls {
            return Err(Greeting::Plain("the relay does not offer STARTTLS"));
        }
        write(stream, "STARTTLS\r\n").await?;
        positive(read_reply(stream).await?).map(drop)
    }
}

/// The lines of a positive reply, without their codes.
fn positive((code, lines): (u16, Vec<String>)) -> Result<Vec<String>, Greeting> {
    if code / 100 == 2 {
        return Ok(lines);
    }
    let text = lines.first().map_or("", String::as_str);
    if matches!(code / 100, 4 | 5) {
        Err(Greeting::Reply(ReplyCode::new(code, text)))
    } else {
        Err(Greeting::Plain("the server does not speak SMTP"))
    }
}

async fn write(stream: &mut Stream, line: &str) -> Result<(), Greeting> {
    let written = async { stream.write_all(line.as_bytes()).await.and(stream.flush().await) }.await;
    written.map_err(|error| ConnectError::new(Failure::Connect, &error).into())
}

/// Reads one reply and not one byte beyond it.
async fn read_reply(stream: &mut Stream) -> Result<(u16, Vec<String>), Greeting> {
    let (mut lines, mut line, mut length) = (Vec::new(), Vec::new(), 0);
    loop {
        let byte = stream.read_u8().await.map_err(|error| ConnectError::new(Failure::Connect, &error))?;
        length += 1;
        if length > MAX_REPLY {
            return Err(Greeting::Plain("the server does not speak SMTP"));
        }
        if byte != b'\n' {
            line.push(byte);
            continue;
        }
        let text = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        line.clear();
        let code = text.get(..3).and_then(|code| code.parse::<u16>().ok());
        let Some(code) = code.filter(|code| (200..600).contains(code)) else {
            return Err(Greeting::Plain("the server does not speak SMTP"));
        };
        let goes_on = text.as_bytes().get(3) == Some(&b'-');
        lines.push(text.get(4..).unwrap_or_default().to_owned());
        if !goes_on {
            return Ok((code, lines));
        }
    }
}
