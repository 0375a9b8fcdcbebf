//! Login: AUTH PLAIN (RFC 4616) and AUTH LOGIN, in one line or with challenges.
//!
//! Invariant: a server with TLS accepts no password without TLS.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Over, Session, Stage, Step, Tls};

impl Session {
    /// Whether the server may request a password: not in clear text if it has TLS.
    pub(super) fn may_authenticate(&self) -> bool {
        self.offer.tls == Tls::None || self.tls
    }

    pub(super) async fn authenticate(&mut self, argument: &str) -> Step {
        if self.scripted(Stage::Auth).await? {
            return Ok(());
        }
        let Some((user, password)) = self.offer.credentials.clone().filter(|_| self.extended) else {
            return self.say("503 5.5.1 AUTH was not offered").await;
        };
        if !self.may_authenticate() {
            return self.say("538 5.7.11 not without TLS").await;
        }
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let given = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let response = if initial.is_empty() { self.challenge("").await? } else { decode(initial) };
                // RFC 4616: authorization identity, NUL, user, NUL, password.
                response.and_then(|text| {
                    let mut fields = text.splitn(3, '\0').skip(1).map(str::to_owned);
                    Some((fields.next()?, fields.next()?))
                })
            }
            "LOGIN" => {
                let name = if initial.is_empty() { self.challenge("Username:").await? } else { decode(initial) };
                name.zip(self.challenge("Password:").await?)
            }
            _ => return self.say("504 5.5.4 PLAIN or LOGIN").await,
        };
        match given {
            None => self.say("501 5.5.2 that is not base64, or not what the mechanism says").await,
            Some(given) if given == (user.clone(), password) => {
                self.user = Some(user);
                self.say("235 2.7.0 welcome").await
            }
            Some(_) => self.say("535 5.7.8 wrong user or password").await,
        }
    }

    async fn challenge(&mut self, text: &str) -> Result<Option<String>, Over> {
        self.say(&format!("334 {}", STANDARD.encode(text))).await?;
        let line = self.line().await?;
        Ok(std::str::from_utf8(&line).ok().and_then(decode))
    }
}

fn decode(text: &str) -> Option<String> {
    STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}
