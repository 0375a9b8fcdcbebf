//! The checks of an app's settings that need no file and no connection.

use serde_json::{Map, Value};

use super::super::request::send_url;
use super::{Credentials, Settings};
use crate::providers::transport::plain_url;

/// The longest time that FCM stores a message, in seconds: four weeks.
const MAX_TTL: u64 = 2_419_200;

/// The parts of a message that `fcm_options` may set.
const OPTION_KEYS: [&str; 5] = ["notification", "android", "apns", "webpush", "fcm_options"];

/// A problem with the settings; the text starts with the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingsError(String);

impl Settings {
    /// Checks everything that needs no file and no connection.
    ///
    /// # Errors
    /// [`SettingsError`] for the first problem.
    pub(in super::super) fn check(&self) -> Result<(), SettingsError> {
        let wrong = |text: String| Err(SettingsError(text));
        if self.api_key.0 {
            return wrong(String::from(
                "api_key: Google has shut down the API that took it; the HTTP v1 API needs service_account_file (and \
                 project_id, if it is not the service account's)",
            ));
        }
        let has_account = self.service_account.is_some() || self.service_account_file.is_some();
        match (self.credentials, has_account, &self.project_id) {
            (Credentials::ServiceAccount, false, _) => {
                return wrong(String::from(
                    "service_account_file: missing (or set credentials = \"metadata\", or \"adc\")",
                ));
            }
            (Credentials::Metadata, true, _) => {
                return wrong(String::from("service_account_file: has no use with credentials = \"metadata\""));
            }
            (Credentials::Adc, true, _) => {
                return wrong(String::from("service_account_file: has no use with credentials = \"adc\""));
            }
            (Credentials::Metadata, false, None) => {
                return wrong(String::from("project_id: missing, and credentials = \"metadata\" does not tell it"));
            }
            (Credentials::ServiceAccount, true, _)
            | (Credentials::Metadata, false, Some(_))
            | (Credentials::Adc, false, _) => {}
        }
        if let Some(ttl) = self.ttl
            && ttl.get().as_secs() > MAX_TTL
        {
            return wrong(String::from("ttl: Google keeps nothing for longer than 28d"));
        }
        plain_url("metadata_url", &self.metadata_url).map_err(SettingsError)?;
        send_url(&self.base_url, self.project_id.as_deref().unwrap_or("any")).map_err(SettingsError)?;
        check_options(&self.fcm_options)
    }
}

fn check_options(options: &Map<String, Value>) -> Result<(), SettingsError> {
    for (key, value) in options {
        let reason = match key.as_str() {
            key if OPTION_KEYS.contains(&key) => {
                if value.is_object() {
                    continue;
                }
                "expected a table"
            }
            "data" | "token" | "fid" | "topic" | "condition" | "name" => "the gateway sets this itself",
            _ => "Google knows no such part of a message",
        };
        return Err(SettingsError(format!("fcm_options.{key}: {reason}")));
    }
    let payload = options.get("apns").and_then(|apns| apns.get("payload"));
    if payload.is_some_and(|payload| !payload.is_object()) {
        return Err(SettingsError(String::from("fcm_options.apns.payload: expected a table")));
    }
    Ok(())
}
