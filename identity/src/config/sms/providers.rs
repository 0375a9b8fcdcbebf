//! `[sms.<provider>]`: the endpoint and the credentials of each provider.
//!
//! Invariant: every key is optional when a table is loaded. The setup of a provider in use reports missing keys, so tables
//! of unused providers may be incomplete.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use shared::config::{ConfigError, OneOrMany, secret};
use shared::secret::Secret;

/// A provider that sends SMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderName {
    /// Writes SMS to a file, for development.
    Log,
    Twilio,
    /// Vonage, formerly Nexmo.
    Vonage,
    /// Amazon SNS.
    Sns,
    /// OpenMarket, or a service with its API.
    OpenMarket,
    Infobip,
    /// Any gateway with an HTTP API.
    Http,
    /// A program of the operator.
    Exec,
}

impl ProviderName {
    const ALL: [Self; 8] =
        [Self::Log, Self::Twilio, Self::Vonage, Self::Sns, Self::OpenMarket, Self::Infobip, Self::Http, Self::Exec];

    /// The name in the configuration, in metrics and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Twilio => "twilio",
            Self::Vonage => "vonage",
            Self::Sns => "sns",
            Self::OpenMarket => "openmarket",
            Self::Infobip => "infobip",
            Self::Http => "http",
            Self::Exec => "exec",
        }
    }
}

impl FromStr for ProviderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|name| name.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(|name| format!("\"{}\"", name.as_str())).join(", ");
            format!("expected one of {known}, found \"{text}\"")
        })
    }
}

impl<'de> Deserialize<'de> for ProviderName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// `[sms.log]`: the file of provider `log`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileLog {
    /// Default: `sms.log` in the data folder.
    pub file: Option<PathBuf>,
}

/// `[sms.twilio]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Twilio {
    /// The API's base URL.
    pub url: String,
    /// The account, `AC…`.
    pub account_sid: Option<String>,
    /// An API key, `SK…`. With it `auth_token` is the key's secret, else the account's token.
    pub api_key_sid: Option<String>,
    pub auth_token: Option<Secret<String>>,
    pub auth_token_file: Option<PathBuf>,
    /// A messaging service, `MG…`, which chooses the sender instead of `[sms.originators]`.
    pub messaging_service_sid: Option<String>,
}

/// `[sms.vonage]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vonage {
    /// The URL that SMS are posted to.
    pub url: String,
    pub api_key: Option<String>,
    pub api_secret: Option<Secret<String>>,
    pub api_secret_file: Option<PathBuf>,
}

/// `[sms.sns]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sns {
    /// The API's base URL. Default: Amazon's in `region`.
    pub url: Option<String>,
    /// Such as `eu-west-1`.
    pub region: Option<String>,
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<Secret<String>>,
    pub secret_access_key_file: Option<PathBuf>,
}

/// `[sms.openmarket]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenMarket {
    /// The URL that SMS are posted to.
    pub url: String,
    pub username: Option<String>,
    pub password: Option<Secret<String>>,
    pub password_file: Option<PathBuf>,
}

/// `[sms.infobip]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Infobip {
    /// The account's base URL, `https://xxxxx.api.infobip.com`.
    pub url: Option<String>,
    pub api_key: Option<Secret<String>>,
    pub api_key_file: Option<PathBuf>,
}

/// `[sms.http]`: any gateway that accepts an SMS in one HTTP request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTemplate {
    /// May hold `{to}` and the other placeholders.
    pub url: Option<Secret<String>>,
    /// GET, POST or PUT.
    pub method: String,
    /// Further header fields; they may hold `{secret}`.
    pub headers: BTreeMap<String, Secret<String>>,
    /// The type of `body`; values are escaped for it.
    pub content_type: String,
    /// May hold `{to}`, `{from}`, `{text}`, `{token}` and `{secret}`.
    pub body: Option<Secret<String>>,
    /// The value of `{secret}`.
    pub secret: Option<Secret<String>>,
    pub secret_file: Option<PathBuf>,
    /// Which responses mean that the gateway accepted the SMS.
    pub success: Success,
}

/// `[sms.http] success`: conditions that must all hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Success {
    /// Status codes such as `"200"`, or a whole class such as `"2xx"`.
    pub status: OneOrMany<String>,
    /// A text in the body.
    pub contains: Option<String>,
    /// Values in a JSON body by JSON Pointer (RFC 6901): `"/messages/0/status" = "0"`.
    pub json: BTreeMap<String, String>,
}

/// `[sms.exec]`: a program of the operator.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exec {
    pub command: Option<PathBuf>,
    pub args: OneOrMany<String>,
}

impl Default for Twilio {
    fn default() -> Self {
        Self {
            url: "https://api.twilio.com".to_owned(),
            account_sid: None,
            api_key_sid: None,
            auth_token: None,
            auth_token_file: None,
            messaging_service_sid: None,
        }
    }
}

impl Default for Vonage {
    fn default() -> Self {
        let url = "https://rest.nexmo.com/sms/json".to_owned();
        Self { url, api_key: None, api_secret: None, api_secret_file: None }
    }
}

impl Default for OpenMarket {
    fn default() -> Self {
        let url = "https://smsc.openmarket.com/sms/v4/mt".to_owned();
        Self { url, username: None, password: None, password_file: None }
    }
}

impl Default for HttpTemplate {
    fn default() -> Self {
        Self {
            url: None,
            method: "POST".to_owned(),
            headers: BTreeMap::new(),
            content_type: "application/json".to_owned(),
            body: None,
            secret: None,
            secret_file: None,
            success: Success::default(),
        }
    }
}

impl Default for Success {
    fn default() -> Self {
        Self { status: vec!["2xx".to_owned()].into(), contains: None, json: BTreeMap::new() }
    }
}

/// Replaces a secret's file with its content. A relative path starts at `base`.
pub(super) fn resolve_secret(
    key: &str,
    value: &mut Option<Secret<String>>,
    file: &mut Option<PathBuf>,
    base: &Path,
) -> Result<(), ConfigError> {
    let file = file.take().map(|file| base.join(file));
    *value = secret(key, value.as_ref(), file.as_deref())?;
    Ok(())
}
