//! `[sms]` as written, and how it becomes complete.

use std::path::Path;

use serde::Deserialize;
use shared::config::{ConfigError, HumanDuration, OneOrMany};
use shared::outbound::proxy::Proxy;

use super::providers::{
    Exec, FileLog, HttpTemplate, Infobip, OpenMarket, ProviderName, Sns, Twilio, Vonage, resolve_secret,
};
use super::{Originators, Rule, SmsConfig};
use crate::domain::by_country::ByCountry;

/// The section `[sms]` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawSms {
    provider: OneOrMany<ProviderName>,
    routes: ByCountry<OneOrMany<ProviderName>>,
    rules: ByCountry<Rule>,
    default_rule: Rule,
    originators: Originators,
    body_template: Option<String>,
    token_digits: usize,
    max_per_day: u32,
    max_per_day_per_country: u32,
    timeout: HumanDuration,
    proxy: Option<Proxy>,
    log: Option<FileLog>,
    twilio: Option<Twilio>,
    vonage: Option<Vonage>,
    sns: Option<Sns>,
    openmarket: Option<OpenMarket>,
    infobip: Option<Infobip>,
    http: Option<HttpTemplate>,
    exec: Option<Exec>,
}

impl Default for RawSms {
    fn default() -> Self {
        Self {
            provider: vec![ProviderName::Log].into(),
            routes: ByCountry::default(),
            rules: ByCountry::default(),
            default_rule: Rule::Reject,
            originators: Originators::default(),
            body_template: None,
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

impl RawSms {
    /// Reads the files of secrets, resolves paths from `base` (the folder of the configuration) or in `data_dir`, and
    /// checks the keys against each other.
    pub(crate) fn complete(mut self, base: &Path, data_dir: &Path) -> Result<SmsConfig, ConfigError> {
        // The system looks up a name without a folder in PATH.
        if let Some(command) = self.exec.as_mut().and_then(|exec| exec.command.as_mut())
            && command.components().count() > 1
        {
            *command = base.join(&*command);
        }
        self.resolve_secrets(base)?;
        let log_file = match self.log.and_then(|log| log.file) {
            Some(file) => base.join(file),
            None => data_dir.join("sms.log"),
        };
        let config = SmsConfig {
            provider: self.provider,
            routes: self.routes,
            rules: self.rules,
            default_rule: self.default_rule,
            originators: self.originators,
            body_template: self.body_template,
            token_digits: self.token_digits,
            max_per_day: self.max_per_day,
            max_per_day_per_country: self.max_per_day_per_country,
            timeout: self.timeout,
            proxy: self.proxy,
            log_file,
            twilio: self.twilio,
            vonage: self.vonage,
            sns: self.sns,
            openmarket: self.openmarket,
            infobip: self.infobip,
            http: self.http,
            exec: self.exec,
        };
        config.check()?;
        Ok(config)
    }

    fn resolve_secrets(&mut self, base: &Path) -> Result<(), ConfigError> {
        if let Some(it) = &mut self.twilio {
            resolve_secret("sms.twilio.auth_token", &mut it.auth_token, &mut it.auth_token_file, base)?;
        }
        if let Some(it) = &mut self.vonage {
            resolve_secret("sms.vonage.api_secret", &mut it.api_secret, &mut it.api_secret_file, base)?;
        }
        if let Some(it) = &mut self.sns {
            let file = &mut it.secret_access_key_file;
            resolve_secret("sms.sns.secret_access_key", &mut it.secret_access_key, file, base)?;
        }
        if let Some(it) = &mut self.openmarket {
            resolve_secret("sms.openmarket.password", &mut it.password, &mut it.password_file, base)?;
        }
        if let Some(it) = &mut self.infobip {
            resolve_secret("sms.infobip.api_key", &mut it.api_key, &mut it.api_key_file, base)?;
        }
        if let Some(it) = &mut self.http {
            resolve_secret("sms.http.secret", &mut it.secret, &mut it.secret_file, base)?;
        }
        Ok(())
    }
}
