//! Outgoing SMS: selects providers, falls back and retries.
//!
//! Invariant: a message goes to another provider, or again to the same one, only after every earlier attempt certainly
//! sent nothing. No log line or error names a number, a token or a provider's text.

mod http_provider;
mod provider;
mod providers;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use shared::clock::Clock;

use self::http_provider::HttpClient;
use self::provider::{Outcome, Provider, Sms};
use crate::config::sms::SmsConfig;
use crate::config::sms::providers::ProviderName;
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;
use crate::domain::sms_text::one_message;

/// How long a failing provider is tried last. An unclear message is never sent again, so this protects the next message.
const DEMOTION: Duration = Duration::from_secs(60);

/// The pause before the retry of providers that failed temporarily.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Attempts per provider for one message.
const ATTEMPTS_PER_PROVIDER: usize = 2;

/// Sends SMS through the configured providers.
pub struct SmsSender {
    config: SmsConfig,
    providers: HashMap<ProviderName, Slot>,
    clock: Clock,
}

struct Slot {
    provider: Box<dyn Provider>,
    /// Until when the provider is tried last, in Unix milliseconds.
    demoted_until: AtomicI64,
}

/// One message to send.
#[derive(Clone, Copy)]
pub struct TextMessage<'a> {
    /// The recipient.
    pub number: &'a Msisdn,
    /// The text, at most one SMS.
    pub text: &'a str,
    /// The token in the text.
    pub token: &'a str,
}

/// An `[sms]` setting that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum SmsSetupError {
    /// A missing key or section of a provider.
    #[error("{0}: missing, but [sms] provider or routes use this provider; set it")]
    Missing(&'static str),
    /// A wrong value.
    #[error("{0}")]
    Invalid(String),
    /// TLS or the HTTP client.
    #[error("{0}")]
    Setup(String),
}

/// A message that was not, or not certainly, sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SmsError {
    /// Certainly not sent.
    #[error("no provider accepted the message")]
    NotSent,
    /// The number has opted out, or receives no SMS.
    #[error("the number receives no messages")]
    NumberRefused,
    /// A provider may have sent it.
    #[error("a provider may have sent the message")]
    Unclear,
    /// Empty, or longer than one SMS.
    #[error("the message does not fit into one SMS")]
    NotOne,
}

impl SmsSender {
    /// Sets up every provider that `[sms] provider` or `routes` names. Opens no connection and creates no file.
    /// `extra_ca` is `[outbound] extra_ca_file`.
    ///
    /// # Errors
    /// [`SmsSetupError`] for a setting that cannot work.
    pub fn new(config: &SmsConfig, extra_ca: Option<&Path>, clock: Clock) -> Result<Self, SmsSetupError> {
        let client = HttpClient::new(config, extra_ca)?;
        let mut providers = HashMap::new();
        for name in config.providers() {
            let provider = providers::set_up(name, config, &client, &clock)?;
            providers.insert(name, Slot { provider, demoted_until: AtomicI64::new(0) });
        }
        Ok(Self { config: config.clone(), providers, clock })
    }

    /// The providers, for the banner at start.
    pub fn describe(&self) -> String {
        if self.providers.is_empty() {
            return "SMS: disabled, [sms] provider is empty".to_owned();
        }
        if !self.config.sends() {
            return "SMS: disabled, no country is allowed in [sms.rules]".to_owned();
        }
        let names: Vec<&str> = self.config.provider.as_slice().iter().map(|name| name.as_str()).collect();
        format!("SMS: {}", names.join(", then "))
    }

    /// Checks the credential of each provider without a message; `None` for one without a request for that.
    pub async fn check_online(&self) -> Vec<(ProviderName, Option<Result<(), String>>)> {
        let mut results = Vec::new();
        for name in self.config.providers() {
            if let Some(slot) = self.providers.get(&name) {
                results.push((name, slot.provider.check_online().await));
            }
        }
        results
    }

    /// The longest that [`SmsSender::send`] can take.
    pub fn longest(&self) -> Duration {
        let attempts = u32::try_from(self.providers.len() * ATTEMPTS_PER_PROVIDER).unwrap_or(u32::MAX);
        (self.config.timeout.get() + RETRY_PAUSE).saturating_mul(attempts)
    }

    /// Sends one message and returns the provider that accepted it.
    ///
    /// # Errors
    /// [`SmsError`]. Only [`SmsError::Unclear`] leaves open whether the message was sent.
    ///
    /// Makes no further attempt once `is_stopping` returns true, so that a shutdown waits for one attempt at most.
    pub async fn send(
        &self,
        message: &TextMessage<'_>,
        is_stopping: impl Fn() -> bool,
    ) -> Result<ProviderName, SmsError> {
        let number = message.number;
        let encoding = one_message(message.text).map_err(|_| SmsError::NotOne)?;
        let from = Originator::choose(self.config.originators.of(number), number.digits()).ok_or(SmsError::NotSent)?;
        let sms = Sms { to: number.digits(), from, text: message.text, encoding, token: message.token };
        let (mut candidates, mut is_attempted) = (self.in_order(number), false);
        for round in 0..ATTEMPTS_PER_PROVIDER {
            if round > 0 {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            let mut can_retry = Vec::new();
            for name in candidates {
                if is_attempted && is_stopping() {
                    return Err(SmsError::NotSent);
                }
                is_attempted = true;
                match self.attempt(name, &sms).await {
                    Some(Outcome::Accepted) => return Ok(name),
                    Some(Outcome::NotSent { can_retry: true, .. }) => can_retry.push(name),
                    Some(Outcome::NotSent { can_retry: false, .. }) | None => {}
                    Some(Outcome::NumberRefused(_)) => return Err(SmsError::NumberRefused),
                    Some(Outcome::Unclear(_)) => return Err(SmsError::Unclear),
                }
            }
            if can_retry.is_empty() {
                break;
            }
            candidates = can_retry;
        }
        Err(SmsError::NotSent)
    }

    /// The providers for a number, the demoted ones last.
    fn in_order(&self, number: &Msisdn) -> Vec<ProviderName> {
        let now = self.clock.now().as_millis();
        let mut names = self.config.providers_of(number).to_vec();
        // The sort is stable: otherwise the operator's order holds.
        names.sort_by_key(|name| {
            self.providers.get(name).is_some_and(|slot| {
                let left = slot.demoted_until.load(Ordering::Relaxed).saturating_sub(now);
                // More than the whole is left after the clock was set back.
                u64::try_from(left).is_ok_and(|left| left > 0 && Duration::from_millis(left) <= DEMOTION)
            })
        });
        names
    }

    /// Makes one attempt, and logs and counts it; `None` if the provider is not set up.
    async fn attempt(&self, name: ProviderName, sms: &Sms<'_>) -> Option<Outcome> {
        let slot = self.providers.get(&name)?;
        let outcome = slot.provider.send(sms).await;
        let provider = name.as_str();
        metrics::counter!("identity_sms_attempts_total", "provider" => provider, "result" => outcome.label())
            .increment(1);
        let demoted_until = match &outcome {
            Outcome::Accepted => Some(0),
            Outcome::NotSent { can_retry: true, .. } | Outcome::Unclear(_) => {
                Some(self.clock.now().plus(DEMOTION).as_millis())
            }
            Outcome::NotSent { can_retry: false, .. } | Outcome::NumberRefused(_) => None,
        };
        if let Some(until) = demoted_until {
            slot.demoted_until.store(until, Ordering::Relaxed);
        }
        match &outcome {
            Outcome::Accepted => tracing::debug!(provider, "SMS accepted"),
            Outcome::NumberRefused(reason) => tracing::info!(provider, %reason, "SMS refused for this number"),
            Outcome::NotSent { reason, .. } => tracing::error!(provider, %reason, "SMS not sent"),
            Outcome::Unclear(reason) => {
                tracing::error!(provider, %reason, "SMS may have been sent; not sent again");
            }
        }
        Some(outcome)
    }
}

#[cfg(test)]
mod tests;
