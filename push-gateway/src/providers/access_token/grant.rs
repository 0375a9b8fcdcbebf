//! What a token endpoint answers (RFC 6749 §5).
//!
//! Invariant: no reason of a failure contains a token.

use std::time::Duration;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shared::secret::Secret;

use crate::providers::log_throttle::escaped;

/// The longest time that a token is used for.
const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A new access token.
pub(crate) struct Grant {
    pub(crate) access_token: Secret<String>,
    pub(crate) lifetime: Duration,
    /// Google's project, if the source was asked for it.
    pub(crate) project_id: Option<String>,
}

/// The response of a token endpoint (RFC 6749 §5.1).
#[derive(Deserialize)]
struct TokenResponse {
    access_token: Secret<String>,
    #[serde(deserialize_with = "seconds")]
    expires_in: u64,
}

/// A number, or its text, as some token services write it.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    match Seconds::deserialize(deserializer)? {
        Seconds::Number(seconds) => Ok(seconds),
        Seconds::Text(text) => text.trim().parse().map_err(serde::de::Error::custom),
    }
}

/// The error response of a token endpoint (RFC 6749 §5.2).
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenError {
    /// A word, or a number of Huawei.
    error: Value,
    error_description: String,
}

/// Reads the response of a token endpoint.
///
/// # Errors
/// The reason, for a log.
pub(crate) fn read_grant(status: u16, body: &[u8]) -> Result<Grant, String> {
    if status != 200 {
        let TokenError { error, error_description } = serde_json::from_slice(body).unwrap_or_default();
        let error = match error {
            Value::String(word) => word,
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        return Err(format!("status {status} {} {}", escaped(&error), escaped(&error_description))
            .trim_end()
            .to_owned());
    }
    let TokenResponse { access_token, expires_in } =
        serde_json::from_slice(body).map_err(|_| String::from("the token endpoint sent an unreadable response"))?;
    grant(access_token, Duration::from_secs(expires_in))
}

/// A token for this time.
///
/// # Errors
/// The reason, for a log, if the time is over.
pub(crate) fn grant(access_token: Secret<String>, lifetime: Duration) -> Result<Grant, String> {
    if lifetime.is_zero() {
        return Err(String::from("the token endpoint sent an expired token"));
    }
    Ok(Grant { access_token, lifetime: lifetime.min(MAX_LIFETIME), project_id: None })
}

pub(crate) fn invalid_url(error: &http::Error) -> String {
    format!("invalid URL of the token endpoint: {error}")
}
