//! The settings of an app of type `http`.
//!
//! Invariant: a key that has no effect is an error.

use std::any::Any;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use shared::config::ConfigError;
use shared::secret::Secret;
use url::{Position, Url};

use super::Bridge;
use super::request::Headers;
use crate::notification::badge_update::BadgeUpdates;
use crate::providers::app_table::read_table;
use crate::providers::delivery_settings::DeliverySettings;
use crate::providers::transport::unencrypted_notice;
use crate::providers::{Provider, ProviderContext, ProviderSettings, SetupError, SharedSettings, in_folder};

/// The keys of an app of type `http`, without `type` itself and those of every type.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where notifications are posted to.
    pub(crate) url: String,
    /// Further header fields, such as `Authorization`; secrets.
    #[serde(deserialize_with = "headers")]
    pub(crate) headers: BTreeMap<String, Secret<String>>,
    /// The secret that signs requests.
    pub(crate) secret: Option<Secret<String>>,
    /// A file with that secret.
    pub(crate) secret_file: Option<PathBuf>,
    /// The former secret, which signs too while receivers change.
    pub(crate) secret_previous: Option<Secret<String>>,
    /// A file with that secret.
    pub(crate) secret_previous_file: Option<PathBuf>,
    /// The settings of every type.
    #[serde(skip)]
    pub(crate) delivery: DeliverySettings,
}

/// Reads a table of secrets; the library's error would have the value.
fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Secret<String>>, D::Error> {
    let read = BTreeMap::deserialize(deserializer);
    read.map_err(|_| D::Error::custom("expected a table of texts, such as { Authorization = \"Bearer …\" }"))
}

impl Settings {
    /// The address of the receiver.
    ///
    /// # Errors
    /// The problem, with its key.
    pub(super) fn url(&self) -> Result<Url, String> {
        let is_usable = |url: &Url| {
            let is_plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
            matches!(url.scheme(), "https" | "http") && url.has_host() && is_plain
        };
        let url = Url::parse(&self.url).ok().filter(is_usable);
        url.ok_or_else(|| String::from("url: expected an https URL; a password belongs into headers"))
    }

    /// The name of the circuit: the receiver.
    pub(super) fn circuit_key(&self) -> String {
        format!("http {}", self.origin())
    }

    /// The receiver, for the operator; a path or query may be a secret.
    pub(super) fn describe(&self) -> String {
        let has_secret = self.secret.is_some() || self.secret_file.is_some();
        format!("HTTP to {}, {}", self.origin(), if has_secret { "signed" } else { "without a signature" })
    }

    fn origin(&self) -> String {
        self.url().map_or_else(|_| String::from("-"), |url| url[..Position::BeforePath].to_owned())
    }

    fn check(&self) -> Result<(), String> {
        if self.url.is_empty() {
            return Err(String::from("url: missing; it is the address of the other gateway or webhook"));
        }
        self.url()?;
        Headers::new(&self.headers)?;
        if self.delivery.badge_updates == BadgeUpdates::Nudge || self.delivery.badge_nudge {
            let problem = "the receiver decides how badge updates reach a device; set it there";
            return Err(format!("badge_updates: nudges have no use in an app of type \"http\": {problem}"));
        }
        Ok(())
    }
}

/// Reads the table of an app; relative paths are relative to `folder`.
pub(in super::super) fn read(path: &str, mut table: Value, folder: &Path) -> Result<SharedSettings, ConfigError> {
    let delivery = DeliverySettings::take(path, &mut table)?;
    let mut settings = Settings { delivery, ..read_table(path, table)? };
    for file in [&mut settings.secret_file, &mut settings.secret_previous_file] {
        in_folder(folder, file);
    }
    // Values from the environment or a form are often empty instead of absent.
    for secret in [&mut settings.secret, &mut settings.secret_previous] {
        secret.take_if(|text| text.expose().is_empty());
    }
    settings.check().map_err(|problem| ConfigError::Invalid(format!("[{path}] {problem}")))?;
    Ok(Arc::new(settings))
}

impl ProviderSettings for Settings {
    fn type_name(&self) -> &'static str {
        "http"
    }

    fn delivery(&self) -> DeliverySettings {
        self.delivery.clone()
    }

    fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let files = [("secret_file", &self.secret_file), ("secret_previous_file", &self.secret_previous_file)];
        files.into_iter().filter_map(|(key, file)| Some((key, file.as_deref()?))).collect()
    }

    fn notices(&self) -> Vec<(&'static str, String)> {
        unencrypted_notice("url", &self.url).into_iter().collect()
    }

    fn is_equal(&self, other: &dyn ProviderSettings) -> bool {
        (other as &dyn Any).downcast_ref::<Self>() == Some(self)
    }

    fn provider(&self, app: &str, context: &ProviderContext) -> Result<Box<dyn Provider>, SetupError> {
        Ok(Box::new(Bridge::new(app, self, context)?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::read;

    fn problem(table: Value) -> String {
        match read("apps.\"x\"", table, Path::new("")) {
            Ok(settings) => panic!("{settings:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_mistake_names_its_key_and_shows_no_secret() {
        let with = |key: &str, value: Value| {
            let mut table = json!({ "url": "https://bridge.example/notify" });
            table[key] = value;
            table
        };
        for (table, expected) in [
            (json!({}), "url: missing"),
            (with("url", json!("bridge.example")), "url: expected"),
            (with("url", json!("https://u:s3cret@bridge.example/")), "url: expected"),
            (with("url", json!("https://bridge.example/#s3cret")), "url: expected"),
            (with("url", json!("unix:/x")), "url: expected"),
            (with("headers", json!({ "Host": "s3cret" })), "headers.Host: the gateway sets this itself"),
            (with("headers", json!({ "a b": "s3cret" })), "headers.a b: is not the name"),
            (with("headers", json!({ "x-a": "s3cret\n" })), "headers.x-a: has a value"),
            (with("badge_updates", json!("nudge")), "badge_updates: nudges have no use"),
            (with("nonsense", json!(0)), "nonsense: unknown key"),
        ] {
            let error = problem(table.clone());
            assert!(error.starts_with("[apps.\"x\"] ") && error.contains(expected), "{table}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn an_unencrypted_receiver_elsewhere_is_noticed() {
        for (url, notices) in [
            ("https://bridge.example/a?token=x", 0),
            ("http://127.0.0.1:5000/_matrix/push/v1/notify", 0),
            ("http://[::1]/", 0),
            ("http://bridge.example/", 1),
        ] {
            let settings = read("apps.\"x\"", json!({ "url": url }), Path::new("")).unwrap();
            assert_eq!(settings.notices().len(), notices, "{url}");
        }
    }
}
