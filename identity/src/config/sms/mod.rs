//! `[sms]`: whether, where to, through whom and in whose name messages to telephones leave.
//!
//! Invariant: without a word of the operator no country gets any, because strangers choose the numbers and he pays.

pub mod providers;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration, OneOrMany};
use shared::outbound::proxy::Proxy;

use self::providers::{Exec, FileLog, HttpTemplate, Infobip, OpenMarket, ProviderName, Sns, Twilio, Vonage, read};
use crate::domain::by_country::ByCountry;
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;
use crate::domain::sms_text::one_message;

/// The section `[sms]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SmsConfig {
    /// Through whom, tried in this order; none: no message is sent.
    pub provider: OneOrMany<ProviderName>,
    /// Another order for some countries.
    pub routes: ByCountry<OneOrMany<ProviderName>>,
    /// Whether a country gets messages.
    pub rules: ByCountry<Rule>,
    /// Where no rule says something.
    pub default_rule: Rule,
    /// In whose name, by country and for all others (`default`).
    pub originators: Originators,
    /// The text, with `{token}`, for brands and languages that have no template.
    pub body_template: String,
    /// The digits of a token.
    pub token_digits: usize,
    /// Messages of one day (UTC), all processes on one database together.
    pub max_per_day: u32,
    /// The same to one calling code.
    pub max_per_day_per_country: u32,
    /// How long one provider may take for one message.
    pub timeout: HumanDuration,
    /// An HTTP proxy for all providers.
    pub proxy: Option<Proxy>,
    /// `[sms.log]`
    pub log: Option<FileLog>,
    /// `[sms.twilio]`
    pub twilio: Option<Twilio>,
    /// `[sms.vonage]`
    pub vonage: Option<Vonage>,
    /// `[sms.sns]`
    pub sns: Option<Sns>,
    /// `[sms.openmarket]`
    pub openmarket: Option<OpenMarket>,
    /// `[sms.infobip]`
    pub infobip: Option<Infobip>,
    /// `[sms.http]`
    pub http: Option<HttpTemplate>,
    /// `[sms.exec]`
    pub exec: Option<Exec>,
}

/// Whether a country gets messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Rule {
    /// It does.
    Allow,
    /// It does not: `M_DESTINATION_REJECTED`.
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

/// In whose name messages go to a country.
#[derive(Clone, Deserialize)]
#[serde(try_from = "BTreeMap<String, OneOrMany<Originator>>")]
pub struct Originators {
    default: OneOrMany<Originator>,
    by_country: ByCountry<OneOrMany<Originator>>,
}

impl Originators {
    /// The candidates for a number.
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

impl Default for SmsConfig {
    fn default() -> Self {
        Self {
            provider: vec![ProviderName::Log].into(),
            routes: ByCountry::default(),
            rules: ByCountry::default(),
            default_rule: Rule::Reject,
            originators: Originators::default(),
            body_template: "{token} is your Matrix code".to_owned(),
            token_digits: 6,
            max_per_day: 1000,
            max_per_day_per_country: 200,
            timeout: HumanDuration::from_secs(10),
            proxy: None,
            log: None,
            twilio: None,
            vonage: None,
            sns: None,
            openmarket: None,
            infobip: None,
            http: None,
            exec: None,
        }
    }
}

impl SmsConfig {
    /// Whether a number gets messages at all.
    pub fn permits(&self, number: &Msisdn) -> bool {
        let rule = self.rules.find(number).copied().unwrap_or(self.default_rule);
        rule == Rule::Allow && !self.providers_of(number).is_empty()
    }

    /// Through whom a message to the number goes, in this order.
    pub fn providers_of(&self, number: &Msisdn) -> &[ProviderName] {
        self.routes.find(number).unwrap_or(&self.provider).as_slice()
    }

    /// Everybody through whom a message may go, once.
    pub fn providers(&self) -> Vec<ProviderName> {
        let mut names = Vec::new();
        for name in self.routes.values().chain([&self.provider]).flat_map(OneOrMany::as_slice) {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    /// Whether there is any number that gets messages.
    pub fn sends(&self) -> bool {
        let allows = self.default_rule == Rule::Allow || self.rules.values().any(|rule| *rule == Rule::Allow);
        allows && !self.providers().is_empty()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key: &str, problem: String| Err(ConfigError::invalid(&format!("sms.{key}"), problem));
        if !(6..=8).contains(&self.token_digits) {
            return invalid("token_digits", "expected 6, 7 or 8".to_owned());
        }
        if !self.body_template.contains("{token}") {
            return invalid("body_template", "expected {token} in the text".to_owned());
        }
        let text = self.text(&"0".repeat(self.token_digits));
        if let Err((encoding, units)) = one_message(&text) {
            let capacity = encoding.capacity();
            return invalid(
                "body_template",
                format!("the text takes {units} characters, but one SMS holds {capacity} of its alphabet; shorten it"),
            );
        }
        if self.timeout < HumanDuration::from_secs(1) {
            return invalid("timeout", "expected at least \"1s\"".to_owned());
        }
        Ok(())
    }

    /// The text with this token, where there is no template.
    pub fn text(&self, token: &str) -> String {
        self.body_template.replace("{token}", token)
    }

    /// What an operator should know of these settings; a line each.
    pub(super) fn notices(&self) -> Vec<String> {
        let mut notices = Vec::new();
        if self.sends() && self.providers().contains(&ProviderName::Log) {
            notices
                .push("development only: SMS is written to a file, nobody receives it; set [sms] provider".to_owned());
        }
        if self.default_rule == Rule::Allow {
            notices.push(
                "INSECURE: [sms] default_rule is \"allow\": strangers choose among all numbers of the world, and some earn by what you send; allow countries in [sms.rules] instead".to_owned(),
            );
        }
        notices
    }

    /// Takes secrets from their files and puts paths where they belong: below `folder`, that of the settings, or `data`.
    pub(super) fn place(&mut self, folder: &Path, data: &Path) -> Result<(), ConfigError> {
        let log = self.log.get_or_insert_default();
        log.file = Some(log.file.as_ref().map_or_else(|| data.join("sms.log"), |file| folder.join(file)));
        // A name without a folder is looked for in PATH.
        if let Some(command) = self.exec.as_mut().and_then(|exec| exec.command.as_mut())
            && command.components().count() > 1
        {
            *command = folder.join(&*command);
        }
        if let Some(it) = &mut self.twilio {
            read("sms.twilio.auth_token", &mut it.auth_token, &mut it.auth_token_file, folder)?;
        }
        if let Some(it) = &mut self.vonage {
            read("sms.vonage.api_secret", &mut it.api_secret, &mut it.api_secret_file, folder)?;
        }
        if let Some(it) = &mut self.sns {
            read("sms.sns.secret_access_key", &mut it.secret_access_key, &mut it.secret_access_key_file, folder)?;
        }
        if let Some(it) = &mut self.openmarket {
            read("sms.openmarket.password", &mut it.password, &mut it.password_file, folder)?;
        }
        if let Some(it) = &mut self.infobip {
            read("sms.infobip.api_key", &mut it.api_key, &mut it.api_key_file, folder)?;
        }
        if let Some(it) = &mut self.http {
            read("sms.http.secret", &mut it.secret, &mut it.secret_file, folder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
