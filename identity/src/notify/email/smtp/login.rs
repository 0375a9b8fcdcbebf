//! Authentication at the relay: by password (PLAIN, LOGIN) or by an OAuth 2.0 access token (XOAUTH2, OAUTHBEARER).
//!
//! Invariant: an access token is read again for each connection and never kept.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use shared::secret::Secret;
use tokio::process::Command;
use tokio::time::timeout;

use super::super::{Refusal, SendError};
use super::reply::ReplyCode;
use super::{Greeting, failure};
use crate::config::ENVIRONMENT_PREFIX;
use crate::config::email::{Login, Proof, TokenSource};

/// The largest output of a token command that is read.
const MAX_TOKEN: usize = 16 * 1024;

/// Authenticates `connection`. `offered` holds the mechanisms in the relay's EHLO reply.
pub(super) async fn log_in(
    connection: &mut AsyncSmtpConnection,
    login: &Login,
    relay: (&str, u16),
    offered: &[String],
    limit: Duration,
) -> Result<(), SendError> {
    let refused =
        |error: lettre::transport::smtp::Error| failure(&Greeting::Smtp(error), |_, reply| Refusal::Login(reply));
    let offers = |mechanism: &str| offered.iter().any(|name| name == mechanism);
    match &login.proof {
        Proof::Password(password) => {
            let known = [Mechanism::Plain, Mechanism::Login];
            if connection.server_info().get_auth_mechanism(&known).is_none() {
                return Err(no_mechanism("PLAIN, LOGIN", offered));
            }
            let credentials = Credentials::new(login.username.clone(), password.expose().clone());
            connection.auth(&known, &credentials).await.map(drop).map_err(refused)
        }
        Proof::Token(source) => {
            let (mechanism, end) = match () {
                () if offers("XOAUTH2") => ("XOAUTH2", ""),
                // RFC 7628 section 3.2.3: the client answers the error with a %x01.
                () if offers("OAUTHBEARER") => ("OAUTHBEARER", "AQ=="),
                () => return Err(no_mechanism("XOAUTH2, OAUTHBEARER", offered)),
            };
            let token = read_token(source, limit).await.map_err(|reason| SendError::Refused(Refusal::Token(reason)))?;
            let (user, token) = (&login.username, token.expose());
            let response = match mechanism {
                "XOAUTH2" => format!("user={user}\x01auth=Bearer {token}\x01\x01"),
                _ => format!("n,a={user},\x01host={}\x01port={}\x01auth=Bearer {token}\x01\x01", relay.0, relay.1),
            };
            let command = format!("AUTH {mechanism} {}\r\n", STANDARD.encode(response));
            let reply = connection.command(command).await.map_err(refused)?;
            if reply.has_code(334) {
                // The challenge holds the error; the reply to the client's answer holds the code.
                connection.command(format!("{end}\r\n")).await.map_err(refused)?;
                return Err(SendError::Refused(Refusal::Login(Some(ReplyCode::from(334)))));
            }
            Ok(())
        }
    }
}

fn no_mechanism(supported: &'static str, offered: &[String]) -> SendError {
    let offered = if offered.is_empty() { "no mechanism".to_owned() } else { offered.join(", ") };
    SendError::Refused(Refusal::NoMechanism { supported, offered })
}

/// Reads the access token. An error contains nothing of the file or the program's output.
async fn read_token(source: &TokenSource, limit: Duration) -> Result<Secret<String>, String> {
    let bytes = match source {
        TokenSource::File(path) => tokio::fs::read(path)
            .await
            .map_err(|error| format!("[email] token_file: cannot read {}: {error}", path.display()))?,
        TokenSource::Command { program, args } => {
            let wrong = |problem: &str| format!("[email] token_command: {} {problem}", program.display());
            let mut command = Command::new(program);
            // The server's settings may contain other passwords.
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with(ENVIRONMENT_PREFIX) {
                    command.env_remove(name);
                }
            }
            command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
            let output = timeout(limit, command.output()).await.map_err(|_| wrong("timed out"))?;
            let output = output.map_err(|error| wrong(&format!("does not start: {error}")))?;
            if !output.status.success() {
                return Err(wrong(&format!("failed: {}", output.status)));
            }
            output.stdout
        }
    };
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let token = text.strip_prefix('\u{feff}').unwrap_or(text).trim();
    // RFC 6750 section 2.1: a bearer token has no white space and no control character.
    if token.is_empty() || bytes.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(String::from("[email] token_file or token_command: expected one access token"));
    }
    Ok(Secret::new(token.to_owned()))
}
