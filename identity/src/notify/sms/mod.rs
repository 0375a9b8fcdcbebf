//! Everything that leaves the server as an SMS: through whom, in which order, and what came of it.
//!
//! Invariant: a message is given to another provider, or again to the same one, only after everybody before has surely
//! not sent it. Nothing that is said from here names a number, a token or a provider's own words.

mod exec;
mod http;
mod infobip;
mod log;
mod openmarket;
mod over_http;
mod provider;
mod sns;
mod twilio;
mod vonage;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared::clock::Clock;
use shared::secret::Secret;
use url::Url;

use self::over_http::{Api, Carrier, OverHttp};
use self::provider::{Outcome, Provider, Sms};
use crate::config::sms::SmsConfig;
use crate::config::sms::providers::ProviderName;
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;
use crate::domain::sms_text::one_message;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// How long a provider comes last after it was in trouble. What is unclear is not sent again, so that it is the next
/// message that must not meet the same trouble.
const LAST_FOR: Duration = Duration::from_secs(60);

/// How long everybody is given before those are asked once more who may have been in trouble for a moment.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a provider may be asked for one message.
const ROUNDS: usize = 2;

/// The way out for SMS.
pub struct SmsSender {
    config: SmsConfig,
    providers: HashMap<ProviderName, Way>,
    clock: Clock,
}

struct Way {
    provider: Box<dyn Provider>,
    /// Until when it comes last, in Unix milliseconds.
    last_until: AtomicI64,
}

/// One message that wants to go out.
#[derive(Clone, Copy)]
pub struct TextMessage<'a> {
    /// To whom.
    pub number: &'a Msisdn,
    /// What; at most one SMS.
    pub text: &'a str,
    /// The token in it.
    pub token: &'a str,
}

/// Why SMS cannot be sent with these settings.
#[derive(Debug, thiserror::Error)]
pub enum SmsSetupError {
    /// A key that a provider cannot do without.
    #[error("{0}: set it, [sms] provider or routes name this provider")]
    Missing(&'static str),
    /// A value that cannot be.
    #[error("{0}")]
    Wrong(String),
    /// TLS, name servers or the HTTP client.
    #[error("cannot set up the way to SMS providers: {0}")]
    Setup(String),
}

/// Why a message did not go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// Nobody sent it.
    #[error("no provider has taken the message")]
    NotSent,
    /// Nobody sends to this number: it has opted out, or can have no messages.
    #[error("the number gets no messages")]
    NumberRefused,
    /// It may have been sent.
    #[error("it is not known whether the message was sent")]
    Unclear,
    /// It is empty or longer than one SMS.
    #[error("the message is not one SMS")]
    NotOne,
}

impl SmsSender {
    /// Sets up all providers that are used; nothing is connected, started or made yet. `extra_ca` is `[outbound]
    /// extra_ca_file`.
    ///
    /// # Errors
    /// [`SmsSetupError`] for settings that cannot work.
    pub fn new(config: &SmsConfig, extra_ca: Option<&Path>, clock: Clock) -> Result<Self, SmsSetupError> {
        let carrier = Carrier::new(config, extra_ca, clock.clone())?;
        let mut providers = HashMap::new();
        for name in config.providers() {
            let way = Way { provider: set_up(name, config, &carrier)?, last_until: AtomicI64::new(0) };
            providers.insert(name, way);
        }
        Ok(Self { config: config.clone(), providers, clock })
    }

    /// Where messages go, for the banner at start.
    pub fn describe(&self) -> String {
        if self.providers.is_empty() {
            return "no SMS: [sms] provider names nobody".to_owned();
        }
        if !self.config.sends() {
            return "no SMS: no country is allowed in [sms.rules]".to_owned();
        }
        let names: Vec<&str> = self.config.provider.as_slice().iter().map(|name| name.as_str()).collect();
        format!("SMS goes out through {}", names.join(", then "))
    }

    /// The longest that [`SmsSender::send`] may take.
    pub fn longest(&self) -> Duration {
        let attempts = u32::try_from(self.providers.len() * ROUNDS).unwrap_or(u32::MAX);
        (self.config.timeout.get() + PAUSE).saturating_mul(attempts)
    }

    /// Sends one message and waits until somebody has taken it; says who.
    ///
    /// # Errors
    /// [`SmsError`]; only with [`SmsError::Unclear`] it may have gone out.
    pub async fn send(&self, message: &TextMessage<'_>) -> Result<ProviderName, SmsError> {
        let number = message.number;
        let encoding = one_message(message.text).map_err(|_| SmsError::NotOne)?;
        let from = Originator::choose(self.config.originators.of(number), number.digits()).ok_or(SmsError::NotSent)?;
        let sms = Sms { to: number.digits(), from, text: message.text, encoding, token: message.token };
        let mut candidates = self.in_order(number);
        for round in 0..ROUNDS {
            if round > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let mut in_trouble = Vec::new();
            for name in candidates {
                match self.attempt(name, &sms).await {
                    Some(Outcome::Accepted) => return Ok(name),
                    Some(Outcome::NotSent { again: true, .. }) => in_trouble.push(name),
                    Some(Outcome::NotSent { again: false, .. }) | None => {}
                    Some(Outcome::NumberRefused(_)) => return Err(SmsError::NumberRefused),
                    Some(Outcome::Unclear(_)) => return Err(SmsError::Unclear),
                }
            }
            if in_trouble.is_empty() {
                break;
            }
            candidates = in_trouble;
        }
        Err(SmsError::NotSent)
    }

    /// The providers for a number, those that were in trouble lately at the end.
    fn in_order(&self, number: &Msisdn) -> Vec<ProviderName> {
        let now = self.clock.now().as_millis();
        let mut names = self.config.providers_of(number).to_vec();
        // Stable: among equals the operator's order holds.
        names.sort_by_key(|name| {
            self.providers.get(name).is_some_and(|way| now < way.last_until.load(Ordering::Relaxed))
        });
        names
    }

    /// One attempt, told to the log and the metrics; none if there is no such provider.
    async fn attempt(&self, name: ProviderName, sms: &Sms<'_>) -> Option<Outcome> {
        let way = self.providers.get(&name)?;
        let outcome = way.provider.send(sms).await;
        let provider = name.as_str();
        metrics::counter!("identity_sms_attempts_total", "provider" => provider, "result" => outcome.label())
            .increment(1);
        let last_until = match &outcome {
            Outcome::Accepted => 0,
            Outcome::NotSent { again: true, .. } | Outcome::Unclear(_) => self.clock.now().plus(LAST_FOR).as_millis(),
            Outcome::NotSent { again: false, .. } | Outcome::NumberRefused(_) => way.last_until.load(Ordering::Relaxed),
        };
        way.last_until.store(last_until, Ordering::Relaxed);
        match &outcome {
            Outcome::Accepted => tracing::debug!(provider, "a message was taken"),
            Outcome::NumberRefused(reason) => tracing::info!(provider, %reason, "a number gets no messages"),
            Outcome::NotSent { reason, .. } => tracing::error!(provider, %reason, "a message was not taken"),
            Outcome::Unclear(reason) => {
                tracing::error!(provider, %reason, "a message may have been sent or not; it is not sent again");
            }
        }
        Some(outcome)
    }
}

fn set_up(name: ProviderName, config: &SmsConfig, carrier: &Carrier) -> Result<Box<dyn Provider>, SmsSetupError> {
    fn over_http<A: Api + 'static>(api: A, carrier: &Carrier) -> Box<dyn Provider> {
        Box::new(OverHttp::new(api, carrier.clone()))
    }
    Ok(match name {
        ProviderName::Log => Box::new(log::FileLog::new(config.log_file.clone())),
        ProviderName::Exec => {
            Box::new(exec::Exec::new(needed("sms.exec", config.exec.as_ref())?, config.timeout.get())?)
        }
        ProviderName::Twilio => over_http(twilio::Twilio::new(needed("sms.twilio", config.twilio.as_ref())?)?, carrier),
        ProviderName::Vonage => over_http(vonage::Vonage::new(needed("sms.vonage", config.vonage.as_ref())?)?, carrier),
        ProviderName::Sns => over_http(sns::Sns::new(needed("sms.sns", config.sns.as_ref())?)?, carrier),
        ProviderName::OpenMarket => {
            over_http(openmarket::OpenMarket::new(needed("sms.openmarket", config.openmarket.as_ref())?)?, carrier)
        }
        ProviderName::Infobip => {
            over_http(infobip::Infobip::new(needed("sms.infobip", config.infobip.as_ref())?)?, carrier)
        }
        ProviderName::Http => over_http(http::Http::new(needed("sms.http", config.http.as_ref())?)?, carrier),
    })
}

/// A table, or a value in it, that a provider cannot do without.
fn needed<'a, T>(key: &'static str, value: Option<&'a T>) -> Result<&'a T, SmsSetupError> {
    value.ok_or(SmsSetupError::Missing(key))
}

/// A URL that a request can be sent to.
fn web_url<'a>(key: &str, text: &'a str) -> Result<&'a str, SmsSetupError> {
    let is_web = Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    if is_web { Ok(text) } else { Err(SmsSetupError::Wrong(format!("{key}: expected a URL such as \"https://…\""))) }
}

/// The value of `Authorization` by name and password (RFC 7617).
fn basic(name: &str, password: &Secret<String>) -> Secret<String> {
    let pair = Secret::new(format!("{name}:{}", password.expose()));
    Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}

#[cfg(test)]
mod tests;
