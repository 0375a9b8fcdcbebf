//! The SMS providers. A new provider is a file here, a line in [`set_up`] and its section in `config/sms/providers.rs`.

mod exec;
mod http;
mod infobip;
mod log;
mod openmarket;
mod sns;
mod twilio;
mod vonage;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use shared::clock::Clock;
use shared::secret::Secret;
use url::Url;

use super::SmsSetupError;
use super::http_provider::{HttpApi, HttpClient, HttpProvider};
use super::provider::Provider;
use crate::config::sms::SmsConfig;
use crate::config::sms::providers::ProviderName;

/// Sets up one provider from its section of the configuration.
pub(super) fn set_up(
    name: ProviderName,
    config: &SmsConfig,
    client: &HttpClient,
    clock: &Clock,
) -> Result<Box<dyn Provider>, SmsSetupError> {
    fn over_http<A: HttpApi + 'static>(api: A, client: &HttpClient) -> Box<dyn Provider> {
        Box::new(HttpProvider::new(api, client.clone()))
    }
    Ok(match name {
        ProviderName::Log => Box::new(log::Log::new(config.log_file.clone())),
        ProviderName::Exec => Box::new(exec::Exec::new(needed("[sms.exec]", &config.exec)?, config.timeout.get())?),
        ProviderName::Twilio => over_http(twilio::Twilio::new(needed("[sms.twilio]", &config.twilio)?)?, client),
        ProviderName::Vonage => over_http(vonage::Vonage::new(needed("[sms.vonage]", &config.vonage)?)?, client),
        ProviderName::Sns => over_http(sns::Sns::new(needed("[sms.sns]", &config.sns)?, clock.clone())?, client),
        ProviderName::OpenMarket => {
            over_http(openmarket::OpenMarket::new(needed("[sms.openmarket]", &config.openmarket)?)?, client)
        }
        ProviderName::Infobip => over_http(infobip::Infobip::new(needed("[sms.infobip]", &config.infobip)?)?, client),
        ProviderName::Http => over_http(http::Http::new(needed("[sms.http]", &config.http)?)?, client),
    })
}

/// A required section or value.
fn needed<'a, T>(key: &'static str, value: &'a Option<T>) -> Result<&'a T, SmsSetupError> {
    value.as_ref().ok_or(SmsSetupError::Missing(key))
}

/// Checks that `text` is an `http` or `https` URL.
fn web_url<'a>(key: &str, text: &'a str) -> Result<&'a str, SmsSetupError> {
    let is_web = Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    if is_web {
        Ok(text)
    } else {
        Err(SmsSetupError::Invalid(format!("{key}: expected a URL such as \"https://…\"")))
    }
}

/// The value of `Authorization` for a user name and a password (RFC 7617).
fn basic(name: &str, password: &Secret<String>) -> Secret<String> {
    let pair = Secret::new(format!("{name}:{}", password.expose()));
    Secret::new(format!("Basic {}", STANDARD.encode(pair.expose())))
}
