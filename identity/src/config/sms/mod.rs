//! `[sms]`: which numbers receive SMS, through which providers and from which sender.
//!
//! Invariant: no country receives SMS by default, because anyone may enter a number and the operator pays.

pub mod providers;
mod raw;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration, OneOrMany};
use shared::outbound::proxy::Proxy;

use self::providers::{Exec, HttpTemplate, Infobip, OpenMarket, ProviderName, Sns, Twilio, Vonage};
pub use self::raw::RawSms;
use super::placeholders::placeholders_are_known;
use crate::domain::by_country::ByCountry;
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;
use crate::domain::sms_text::one_message;

/// The section `[sms]`, complete.
#[derive(Clone, Debug)]
pub struct SmsConfig {
    /// The providers in the order of attempts; empty: no SMS is sent.
    pub provider: OneOrMany<ProviderName>,
    /// Overrides `provider` for some countries.
    pub routes: ByCountry<OneOrMany<ProviderName>>,
    /// Which countries receive SMS.
    pub rules: ByCountry<Rule>,
    /// The rule of countries without one.
    pub default_rule: Rule,
    /// The senders by country, and for all others (`default`).
    pub originators: Originators,
    /// The text, with `{token}`, for brands and languages without a template; default: the built-in text in the language
    /// of the request.
    pub body_template: Option<String>,
    /// The number of digits in a token.
    pub token_digits: usize,
    /// SMS a day (UTC), counted over all processes on one database.
    pub max_per_day: u32,
    /// The same limit for one calling code.
    pub max_per_day_per_country: u32,
    /// How long one provider may take for one SMS.
    pub timeout: HumanDuration,
    /// An HTTP proxy for all providers.
    pub proxy: Option<Proxy>,
    /// The file of provider `log`.
    pub log_file: PathBuf,
    pub twilio: Option<Twilio>,
    pub vonage: Option<Vonage>,
    pub sns: Option<Sns>,
    pub openmarket: Option<OpenMarket>,
    pub infobip: Option<Infobip>,
    pub http: Option<HttpTemplate>,
    pub exec: Option<Exec>,
}

/// Whether a country receives SMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Rule {
    Allow,
    /// `M_DESTINATION_REJECTED`.
    Reject,
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        match word.as_str() {
            "allow" => Ok(Self::Allow),
            "reject" => Ok(Self::Reject),
            _ => Err(format!("expected \"allow\" or \"reject\", found \"{word}\"")),
        }
    }
}

/// The senders by country.
#[derive(Clone, Deserialize)]
#[serde(try_from = "BTreeMap<String, OneOrMany<Originator>>")]
pub struct Originators {
    default: OneOrMany<Originator>,
    by_country: ByCountry<OneOrMany<Originator>>,
}

impl Originators {
    /// The senders for a number.
    pub fn of(&self, number: &Msisdn) -> &[Originator] {
        self.by_country.find(number).unwrap_or(&self.default).as_slice()
    }
}

impl Default for Originators {
    fn default() -> Self {
        let name = Originator::Alpha("Matrix".to_owned());
        Self { default: vec![name].into(), by_country: ByCountry::default() }
    }
}

impl TryFrom<BTreeMap<String, OneOrMany<Originator>>> for Originators {
    type Error = String;

    fn try_from(mut written: BTreeMap<String, OneOrMany<Originator>>) -> Result<Self, String> {
        let default = written.remove("default").unwrap_or_else(|| Self::default().default);
        if default.is_empty() || written.values().any(OneOrMany::is_empty) {
            return Err("expected at least one sender, such as \"alpha:Matrix\"".to_owned());
        }
        Ok(Self { default, by_country: written.try_into().map_err(|error| format!("{error}, or \"default\""))? })
    }
}

impl fmt::Debug for Originators {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entry(&"default", &self.default).entries(self.by_country.iter()).finish()
    }
}

impl SmsConfig {
    /// Whether a number may receive SMS.
    pub fn permits(&self, number: &Msisdn) -> bool {
        let rule = self.rules.find(number).copied().unwrap_or(self.default_rule);
        rule == Rule::Allow && !self.providers_of(number).is_empty()
    }

    /// The providers for a number, in the order of attempts.
    pub fn providers_of(&self, number: &Msisdn) -> &[ProviderName] {
        self.routes.find(number).unwrap_or(&self.provider).as_slice()
    }

    /// All providers in use, without duplicates.
    pub fn providers(&self) -> Vec<ProviderName> {
        let mut names = Vec::new();
        for name in self.routes.values().chain([&self.provider]).flat_map(OneOrMany::as_slice) {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    /// Whether any number may receive SMS.
    pub fn sends(&self) -> bool {
        let allows = self.default_rule == Rule::Allow || self.rules.values().any(|rule| *rule == Rule::Allow);
        allows && !self.providers().is_empty()
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: &str, problem: String| Err(ConfigError::invalid(&format!("sms.{key}"), problem));
        if !(6..=8).contains(&self.token_digits) {
            return invalid("token_digits", "expected 6, 7 or 8".to_owned());
        }
        for (key, list) in self
            .routes
            .iter()
            .map(|(key, list)| (format!("routes.{key}"), list))
            .chain([("provider".to_owned(), &self.provider)])
        {
            let mut names: Vec<_> = list.as_slice().to_vec();
            while let Some(name) = names.pop() {
                if names.contains(&name) {
                    return invalid(&key, format!("\"{}\" is listed twice; remove one of them", name.as_str()));
                }
            }
        }
        if let Some(template) = &self.body_template {
            if !template.contains("{token}") {
                return invalid("body_template", "expected {token} in the text".to_owned());
            }
            placeholders_are_known("sms.body_template", template, &["token"])?;
            if let Err((encoding, units)) = one_message(&template.replace("{token}", &"0".repeat(self.token_digits))) {
                let capacity = encoding.capacity();
                return invalid(
                    "body_template",
                    format!(
                        "the text takes {units} characters, but one SMS holds {capacity} of its alphabet; shorten it"
                    ),
                );
            }
        }
        if self.timeout < HumanDuration::from_secs(1) {
            return invalid("timeout", "expected at least \"1s\"".to_owned());
        }
        Ok(())
    }

    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.sends() && self.providers().contains(&ProviderName::Log) {
            notices.push("development only: SMS is written to a file and not sent; set [sms] provider".to_owned());
        }
        if self.default_rule == Rule::Allow {
            notices.push(
                "INSECURE: [sms] default_rule is \"allow\": clients may request SMS to every number in the world, and fraudsters \
                 earn by each one; allow single countries in [sms.rules] instead"
                    .to_owned(),
            );
        }
        notices
    }
}

#[cfg(test)]
mod tests;
