//! `[sms.<provider>]`: how each provider is reached, and what it knows us by.
//!
//! Invariant: every table loads with whatever is left out; what a provider cannot do without is asked for when it is
//! set up, so that tables of providers that are not used may be half written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use shared::config::{ConfigError, OneOrMany, secret};
use shared::secret::Secret;

/// Who can carry a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProviderName {
    /// Nobody: it is written to a file. For development.
    Log,
    /// Twilio.
    Twilio,
    /// Vonage, formerly Nexmo.
    Vonage,
    /// Amazon SNS.
    Sns,
    /// OpenMarket, or who speaks like it.
    OpenMarket,
    /// Infobip.
    Infobip,
    /// Any gateway that speaks HTTP.
    Http,
    /// A program of the operator's.
    Exec,
}

impl ProviderName {
    const ALL: [Self; 8] =
        [Self::Log, Self::Twilio, Self::Vonage, Self::Sns, Self::OpenMarket, Self::Infobip, Self::Http, Self::Exec];

    /// The name in the settings, in metrics and in the log.
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

/// `[sms.log]`: a file that messages are written to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileLog {
    /// The file; `sms.log` in the data folder by default.
    pub file: Option<PathBuf>,
}

/// `[sms.twilio]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Twilio {
    /// Where the API is, without its path.
    pub url: String,
    /// The account, `AC…`.
    pub account_sid: Option<String>,
    /// An API key, `SK…`, whose secret is `auth_token`; without it, that is the account's own token.
    pub api_key_sid: Option<String>,
    /// The account's token, or the API key's secret.
    pub auth_token: Option<Secret<String>>,
    /// A file with it.
    pub auth_token_file: Option<PathBuf>,
    /// A messaging service, `MG…`, that chooses the sender instead of `[sms.originators]`.
    pub messaging_service_sid: Option<String>,
}

/// `[sms.vonage]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vonage {
    /// Where messages are posted to.
    pub url: String,
    /// The account's key.
    pub api_key: Option<String>,
    /// Its secret.
    pub api_secret: Option<Secret<String>>,
    /// A file with it.
    pub api_secret_file: Option<PathBuf>,
}

/// `[sms.sns]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sns {
    /// Where the API is; Amazon's, in `region`, by default.
    pub url: Option<String>,
    /// The region, `eu-west-1`.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key_id: Option<String>,
    /// The access key's secret.
    pub secret_access_key: Option<Secret<String>>,
    /// A file with it.
    pub secret_access_key_file: Option<PathBuf>,
}

/// `[sms.openmarket]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OpenMarket {
    /// Where messages are posted to.
    pub url: String,
    /// The account's name.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret<String>>,
    /// A file with it.
    pub password_file: Option<PathBuf>,
}

/// `[sms.infobip]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Infobip {
    /// The account's base URL, `https://xxxxx.api.infobip.com`.
    pub url: Option<String>,
    /// The API key.
    pub api_key: Option<Secret<String>>,
    /// A file with it.
    pub api_key_file: Option<PathBuf>,
}

/// `[sms.http]`: any gateway that takes a message in one HTTP request.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpTemplate {
    /// Where to, with `{to}` and the like if the gateway wants them there.
    pub url: Option<Secret<String>>,
    /// GET, POST or PUT.
    pub method: String,
    /// Further header fields; `{secret}` may stand in them.
    pub headers: BTreeMap<String, Secret<String>>,
    /// The type of `body`; what is put into it is escaped accordingly.
    pub content_type: String,
    /// The body, with `{to}`, `{from}`, `{text}`, `{token}` and `{secret}`.
    pub body: Option<Secret<String>>,
    /// What stands for `{secret}`.
    pub secret: Option<Secret<String>>,
    /// A file with it.
    pub secret_file: Option<PathBuf>,
    /// Which replies mean that the message was taken.
    pub success: Success,
}

/// `[sms.http] success`: all of these have to hold.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Success {
    /// The status codes, such as `"200"`, or all of a class, `"2xx"`.
    pub status: OneOrMany<String>,
    /// A text within the body.
    pub contains: Option<String>,
    /// Values within a body of JSON, by their place (RFC 6901): `"/messages/0/status" = "0"`.
    pub json: BTreeMap<String, String>,
}

/// `[sms.exec]`: a program of the operator's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Exec {
    /// The program.
    pub command: Option<PathBuf>,
    /// Its arguments.
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

/// Takes a secret from its file, if it has one; `folder` is that of the settings.
pub(super) fn read(
    key: &str,
    value: &mut Option<Secret<String>>,
    file: &mut Option<PathBuf>,
    folder: &Path,
) -> Result<(), ConfigError> {
    let file = file.take().map(|file| folder.join(file));
    *value = secret(key, value.as_ref(), file.as_deref())?;
    Ok(())
}
