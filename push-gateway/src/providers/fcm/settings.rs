//! The settings of an app of type `fcm`, and their checks.
//!
//! Invariant: nothing here is secret (the service account has its own file), so settings may be compared and shown.

mod check;
pub(super) mod default_credentials;

use std::any::Any;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use shared::config::{ConfigError, HumanDuration};
use shared::secret::Secret;
use shared::text_file::unquoted;

use self::default_credentials::DefaultCredentials;
use super::Fcm;
use crate::providers::app_table::read_table;
use crate::providers::delivery_settings::DeliverySettings;
use crate::providers::flat_data::{DataLayout, Flatten};
use crate::providers::transport::unencrypted_notice;
use crate::providers::{
    Provider, ProviderContext, ProviderSettings, SetupError, SharedSettings, UselessKeys, in_folder,
};

/// The keys of an app of type `fcm`, without `type` itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Google's credential file (JSON): a service account's key, or an external account.
    #[serde(alias = "credentials_file")]
    pub(crate) service_account_file: Option<PathBuf>,
    /// The same as text, for deployments without files; a secret.
    pub(crate) service_account: Option<Secret<String>>,
    /// The Firebase project; by default the service account's.
    pub(crate) project_id: Option<String>,
    /// The address of FCM; another one for tests and relays.
    pub(crate) base_url: String,
    /// The source of access tokens.
    pub(crate) credentials: Credentials,
    /// The URL of access tokens at the cloud's metadata server, for `credentials = "metadata"`.
    pub(crate) metadata_url: String,
    /// What the environment names, for `credentials = "adc"`.
    #[serde(skip)]
    pub(crate) default_credentials: Option<DefaultCredentials>,
    /// Parts of every message: `notification`, `android`, `apns`, `webpush`, `fcm_options`.
    pub(crate) fcm_options: Map<String, Value>,
    /// The values of `content` that become `content_…` in `data`.
    pub(crate) flatten: Flatten,
    /// The form of `data`.
    pub(crate) data_layout: DataLayout,
    /// The kind of pushkeys.
    pub(crate) target: Target,
    /// How long FCM stores a message for an offline device; by default four weeks.
    pub(crate) ttl: Option<HumanDuration>,
    /// Which messages replace earlier ones that are not delivered yet.
    pub(crate) collapse: Collapse,
    /// The settings of every type.
    #[serde(skip)]
    pub(crate) delivery: DeliverySettings,
    /// The key of the legacy API, which Google shut down: known, so that the error can name its replacement.
    pub(crate) api_key: Legacy,
}

/// The waits between attempts: Google asks for longer ones than others.
const RETRY_WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];

/// `credentials`: the source of access tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credentials {
    /// `service_account_file`.
    #[default]
    ServiceAccount,
    /// The metadata server of the cloud that the gateway runs in.
    Metadata,
    /// Application default credentials: what the environment of the process names, as Google's own libraries read it.
    Adc,
}

/// `target`: the kind of pushkeys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// Derived from the form of each pushkey.
    #[default]
    Auto,
    /// A registration token.
    Token,
    /// A Firebase installation ID.
    Fid,
}

/// `collapse`: which messages replace earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Collapse {
    #[default]
    None,
    /// Messages of the same room.
    Room,
}

/// Whether an obsolete key is present; drops its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legacy(bool);

impl<'de> Deserialize<'de> for Legacy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_account_file: None,
            service_account: None,
            project_id: None,
            base_url: String::from("https://fcm.googleapis.com"),
            credentials: Credentials::default(),
            metadata_url: String::from(
                "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
            ),
            default_credentials: None,
            fcm_options: Map::new(),
            flatten: Flatten::default(),
            data_layout: DataLayout::default(),
            target: Target::default(),
            ttl: None,
            collapse: Collapse::default(),
            delivery: DeliverySettings { retry_waits: RETRY_WAITS.to_vec(), ..DeliverySettings::default() },
            api_key: Legacy(false),
        }
    }
}

impl Settings {
    /// Reads the keys of a table.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub(super) fn of_table(path: &str, mut table: Value) -> Result<Self, ConfigError> {
        let delivery = DeliverySettings::take_with(&RETRY_WAITS, path, &mut table)?;
        Ok(Self { delivery, ..read_table(path, table)? })
    }

    /// The project that the settings or the environment name.
    pub(super) fn known_project_id(&self) -> Option<&str> {
        let of_environment = || self.default_credentials.as_ref().and_then(|found| found.project_id.as_deref());
        self.project_id.as_deref().or_else(of_environment)
    }

    /// The name of the circuit: the project and the account.
    pub(super) fn circuit_key(&self) -> String {
        let account = match (&self.service_account_file, &self.default_credentials) {
            (Some(file), _) => file.display().to_string(),
            (None, Some(found)) => found.describe(),
            (None, None) if self.service_account.is_some() => "service_account".to_owned(),
            (None, None) => "metadata".to_owned(),
        };
        format!("fcm {} {account}", self.known_project_id().unwrap_or("-"))
    }

    /// The project and the account, for the operator.
    pub(super) fn describe(&self) -> String {
        let credential = match (&self.service_account_file, &self.default_credentials) {
            (Some(file), _) => format!("credential file {}", file.display()),
            (None, Some(found)) => found.describe(),
            (None, None) if self.service_account.is_some() => "the service account in service_account".to_owned(),
            (None, None) => "the metadata server's account".to_owned(),
        };
        let project = self.known_project_id().map(|id| format!("project {id}, "));
        format!("FCM, {}{credential}", project.unwrap_or_default())
    }
}

/// Reads the table of an app; relative paths are relative to `folder`.
pub(in super::super) fn read(path: &str, table: Value, folder: &Path) -> Result<SharedSettings, ConfigError> {
    let mut settings = Settings::of_table(path, table)?;
    in_folder(folder, &mut settings.service_account_file);
    // Values from the environment or a form are often empty instead of absent, or have blanks around them.
    settings.service_account.take_if(|text| text.expose().trim().is_empty());
    settings.project_id = settings.project_id.as_deref().map(unquoted).filter(|id| !id.is_empty()).map(str::to_owned);
    let invalid = |problem: &dyn Display| ConfigError::Invalid(format!("[{path}] {problem}"));
    settings.check().map_err(|error| invalid(&error))?;
    if settings.credentials == Credentials::Adc {
        let found = DefaultCredentials::find(environment_variable, Path::is_file).map_err(|error| invalid(&error))?;
        settings.default_credentials = Some(found);
    }
    Ok(Arc::new(settings))
}

#[expect(clippy::disallowed_methods, reason = "the names are a convention of Google's libraries")]
fn environment_variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl ProviderSettings for Settings {
    fn type_name(&self) -> &'static str {
        "fcm"
    }

    fn delivery(&self) -> DeliverySettings {
        self.delivery.clone()
    }

    fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let default = self.default_credentials.as_ref().and_then(DefaultCredentials::file);
        let named = self.service_account_file.iter().map(|file| ("service_account_file", file.as_path()));
        named.chain(default.map(|file| ("credentials", file))).collect()
    }

    fn notices(&self) -> Vec<(&'static str, String)> {
        unencrypted_notice("base_url", &self.base_url).into_iter().collect()
    }

    fn useless_keys(&self) -> UselessKeys {
        let mut useless = UselessKeys::new();
        if self.credentials != Credentials::Metadata {
            useless.push((&["metadata_url"], "without credentials = \"metadata\""));
        }
        if self.data_layout == DataLayout::Json {
            useless.push((&["flatten"], "with data_layout = \"json\""));
        }
        useless
    }

    fn is_equal(&self, other: &dyn ProviderSettings) -> bool {
        (other as &dyn Any).downcast_ref::<Self>() == Some(self)
    }

    fn provider(&self, app: &str, context: &ProviderContext) -> Result<Box<dyn Provider>, SetupError> {
        Ok(Box::new(Fcm::new(app, self, context)?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::request::send_url;
    use super::{Collapse, Credentials, Settings, Target, in_folder};
    use crate::providers::flat_data::{DataLayout, Flatten};

    fn read(json: Value) -> Settings {
        Settings::of_table("apps.\"x\"", json).unwrap()
    }

    fn problem(mut json: Value) -> String {
        if json.get("credentials").is_none() && json.get("service_account_file").is_none() {
            json["service_account_file"] = json!("key.json");
        }
        read(json).check().unwrap_err().to_string()
    }

    #[test]
    fn a_key_file_is_the_only_required_setting() {
        let mut settings = read(json!({"service_account_file": "keys/sa.json"}));
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(settings.base_url, "https://fcm.googleapis.com");
        assert_eq!(
            (settings.delivery.max_concurrent, settings.delivery.send_badge_counts, settings.ttl),
            (4096, true, None)
        );
        assert_eq!(
            (settings.flatten, settings.data_layout, settings.target, settings.collapse),
            (Flatten::Strings, DataLayout::Flat, Target::Auto, Collapse::None)
        );
        in_folder(Path::new("/etc/gateway"), &mut settings.service_account_file);
        assert_eq!(settings.service_account_file.as_deref(), Some(Path::new("/etc/gateway/keys/sa.json")));
        in_folder(Path::new("/elsewhere"), &mut settings.service_account_file);
        assert_eq!(settings.service_account_file.as_deref(), Some(Path::new("/etc/gateway/keys/sa.json")));
    }

    #[test]
    fn every_key_is_read() {
        let settings = read(json!({
            "credentials": "metadata", "project_id": "chat-1", "base_url": "https://relay.example/fcm/",
            "metadata_url": "http://169.254.169.254/token", "fcm_options": {"android": {"ttl": "5s"}},
            "flatten": "scalars", "data_layout": "json", "target": "fid", "ttl": "28d", "collapse": "room",
            "send_badge_counts": false, "max_concurrent": 8, "retry_waits": ["1ms"], "call_types": ["x.call"],
        }));
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(settings.credentials, Credentials::Metadata);
        let url = send_url(&settings.base_url, "chat-1").unwrap();
        assert_eq!(url.as_str(), "https://relay.example/fcm/v1/projects/chat-1/messages:send");
        assert_eq!((settings.delivery.max_concurrent, settings.delivery.send_badge_counts), (8, false));
        assert!(serde_json::from_value::<Settings>(json!({"projectid": "x"})).is_err());
    }

    #[test]
    fn the_error_for_the_legacy_api_names_the_new_keys() {
        for value in [json!("AAAA:key"), json!(null), json!(5)] {
            let text = problem(json!({"api_key": value}));
            assert!(text.starts_with("api_key: ") && text.contains("service_account_file"), "{text}");
            assert!(text.contains("project_id") && !text.contains("AAAA"), "{text}");
        }
    }

    #[test]
    fn options_contain_only_known_parts_that_the_gateway_does_not_set() {
        for key in ["data", "token", "fid", "topic", "condition", "name"] {
            let text = problem(json!({"fcm_options": {key: {}}}));
            assert_eq!(text, format!("fcm_options.{key}: the gateway sets this itself"));
        }
        for (options, start) in [
            (json!({"andriod": {}}), "fcm_options.andriod: "),
            (json!({"android": "high"}), "fcm_options.android: "),
            (json!({"notification": []}), "fcm_options.notification: "),
            (json!({"apns": {"payload": 1}}), "fcm_options.apns.payload: "),
        ] {
            let text = problem(json!({"fcm_options": options}));
            assert!(text.starts_with(start), "{text}");
        }
    }

    #[test]
    fn each_mistake_names_its_key() {
        for (settings, start) in [
            (json!({"credentials": "metadata"}), "project_id: "),
            (
                json!({"credentials": "metadata", "project_id": "p", "service_account_file": "x"}),
                "service_account_file",
            ),
            (json!({"credentials": "adc", "service_account_file": "x"}), "service_account_file: has no use"),
            (json!({"project_id": ""}), "project_id: "),
            (json!({"project_id": "a/b"}), "project_id: "),
            (json!({"project_id": ".."}), "project_id: "),
            (json!({"ttl": "29d"}), "ttl: "),
            (json!({"base_url": "fcm.googleapis.com"}), "base_url: "),
            (json!({"base_url": "ftp://x"}), "base_url: "),
            (json!({"base_url": "https://x/?a"}), "base_url: "),
        ] {
            let text = problem(settings);
            assert!(text.starts_with(start), "{text}");
        }
        let missing = read(json!({})).check().unwrap_err().to_string();
        assert!(missing.starts_with("service_account_file: missing"), "{missing}");
    }
}
