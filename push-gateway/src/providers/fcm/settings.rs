//! The settings of an app of type `fcm`, as the operator writes them, and what is wrong with them.
//!
//! Invariant: nothing here is secret (the service account is a file of its own), so settings may be compared and shown.

use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use shared::config::{HumanDuration, OneOrMany};
use url::Url;

/// The longest time for which Google stores a message: four weeks.
const LONGEST_TTL: u64 = 2_419_200;

/// What `fcm_options` may set of a message.
const OPTION_KEYS: [&str; 5] = ["notification", "android", "apns", "webpush", "fcm_options"];

/// The keys of an app of type `fcm`, without `type` itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The service account's key file (JSON), as Google hands it out.
    pub(crate) service_account_file: Option<PathBuf>,
    /// The Firebase project; the service account's own if absent.
    pub(crate) project_id: Option<String>,
    /// Where Google is. Another one serves tests and relays.
    pub(crate) base_url: String,
    /// Where access tokens come from.
    pub(crate) credentials: Credentials,
    /// Where the cloud's metadata server hands out access tokens, for `credentials = "metadata"`.
    pub(crate) metadata_url: String,
    /// Goes into every message: `notification`, `android`, `apns`, `webpush`, `fcm_options`.
    pub(crate) fcm_options: Map<String, Value>,
    /// Which values of `content` become `content_…` in `data`.
    pub(crate) flatten: Flatten,
    /// The form of `data`.
    pub(crate) data_layout: DataLayout,
    /// What a pushkey is.
    pub(crate) target: Target,
    /// How long Google keeps a message for a device that is offline; Google's own four weeks if absent.
    pub(crate) ttl: Option<HumanDuration>,
    /// Which messages replace earlier ones that were not delivered yet.
    pub(crate) collapse: Collapse,
    /// Whether payloads carry counts.
    pub(crate) send_badge_counts: bool,
    /// Deliveries at the same time.
    pub(crate) max_concurrent: usize,
    /// The waits between the attempts of one request.
    pub(crate) retry_waits: OneOrMany<HumanDuration>,
    /// Event types that are calls.
    pub(crate) call_types: OneOrMany<String>,
    /// The key of the API that Google has shut down: named, so that the refusal can say what takes its place.
    pub(crate) api_key: Legacy,
}

/// `credentials`: where access tokens come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Credentials {
    /// From `service_account_file`.
    #[default]
    ServiceAccount,
    /// From the metadata server of the cloud that the gateway runs in.
    Metadata,
}

/// `flatten`: which values of `content` become `content_…` in `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flatten {
    /// Strings.
    #[default]
    Strings,
    /// Strings, and numbers and booleans as text.
    Scalars,
}

/// `data_layout`: the form of `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataLayout {
    /// One key for each fact.
    #[default]
    Flat,
    /// `counts`, `content` and `devices` as JSON text, as apps on the Matrix Dart SDK read them.
    Json,
}

/// `target`: what a pushkey is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// What it looks like.
    #[default]
    Auto,
    /// A registration token.
    Token,
    /// A Firebase installation id.
    Fid,
}

/// `collapse`: which messages replace earlier ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Collapse {
    /// None.
    #[default]
    None,
    /// Those of the same room.
    Room,
}

/// Whether a key that has no meaning any more is there; its value is not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Legacy(bool);

impl<'de> Deserialize<'de> for Legacy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// What is wrong with the settings; the text begins with the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SettingsError(String);

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_account_file: None,
            project_id: None,
            base_url: String::from("https://fcm.googleapis.com"),
            credentials: Credentials::default(),
            metadata_url: String::from(
                "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token",
            ),
            fcm_options: Map::new(),
            flatten: Flatten::default(),
            data_layout: DataLayout::default(),
            target: Target::default(),
            ttl: None,
            collapse: Collapse::default(),
            send_badge_counts: true,
            max_concurrent: 512,
            retry_waits: vec![HumanDuration::from_secs(1), HumanDuration::from_secs(10)].into(),
            call_types: CALL_TYPES.map(str::to_owned).to_vec().into(),
            api_key: Legacy(false),
        }
    }
}

/// The event types that are calls if nobody says otherwise.
const CALL_TYPES: [&str; 4] =
    ["m.call.invite", "m.rtc.notification", "org.matrix.msc4075.rtc.notification", "org.matrix.msc3401.call.member"];

impl Settings {
    /// Takes relative paths as relative to `folder`, the one with the configuration file.
    pub(crate) fn resolve_paths(&mut self, folder: &Path) {
        if let Some(file) = &mut self.service_account_file {
            *file = folder.join(&*file);
        }
    }

    /// What can be said without reading a file or asking anyone.
    ///
    /// # Errors
    /// [`SettingsError`] for the first thing that is wrong.
    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        let wrong = |text: String| Err(SettingsError(text));
        if self.api_key.0 {
            return wrong(String::from(
                "api_key: Google has shut down the API that took it; the HTTP v1 API needs service_account_file (and \
                 project_id, if it is not the service account's)",
            ));
        }
        match (self.credentials, &self.service_account_file, &self.project_id) {
            (Credentials::ServiceAccount, None, _) => {
                return wrong(String::from("service_account_file: missing (or set credentials = \"metadata\")"));
            }
            (Credentials::Metadata, Some(_), _) => {
                return wrong(String::from("service_account_file: has no use with credentials = \"metadata\""));
            }
            (Credentials::Metadata, None, None) => {
                return wrong(String::from("project_id: missing, and credentials = \"metadata\" does not tell it"));
            }
            (Credentials::ServiceAccount, Some(_), _) | (Credentials::Metadata, None, Some(_)) => {}
        }
        if let Some(ttl) = self.ttl
            && ttl.get().as_secs() > LONGEST_TTL
        {
            return wrong(String::from("ttl: Google keeps nothing for longer than 28d"));
        }
        if self.max_concurrent == 0 {
            return wrong(String::from("max_concurrent: nothing would ever be delivered"));
        }
        self.metadata_url()?;
        self.send_url(self.project_id.as_deref().unwrap_or("any"))?;
        check_options(&self.fcm_options)
    }

    /// Where messages of `project_id` go.
    ///
    /// # Errors
    /// [`SettingsError`] if `base_url` is no `https` or `http` URL, or the project's id could not stand in a path.
    pub(super) fn send_url(&self, project_id: &str) -> Result<Url, SettingsError> {
        check_project_id(project_id)?;
        let base = plain_url("base_url", &self.base_url)?;
        plain_url(
            "base_url",
            &format!("{}/v1/projects/{project_id}/messages:send", base.as_str().trim_end_matches('/')),
        )
    }

    /// `metadata_url`.
    ///
    /// # Errors
    /// [`SettingsError`] if it is no URL.
    pub(super) fn metadata_url(&self) -> Result<Url, SettingsError> {
        plain_url("metadata_url", &self.metadata_url)
    }
}

fn plain_url(key: &str, text: &str) -> Result<Url, SettingsError> {
    let is_plain = |url: &Url| {
        matches!(url.scheme(), "https" | "http") && url.has_host() && url.query().is_none() && url.fragment().is_none()
    };
    let url = Url::parse(text).ok().filter(is_plain);
    url.ok_or_else(|| SettingsError(format!("{key}: expected an https URL without a query")))
}

/// A project id is a part of a path: nothing else is let through.
fn check_project_id(id: &str) -> Result<(), SettingsError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !id.is_empty() && id.chars().all(fine) && id.chars().any(|c| c.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(SettingsError(String::from("project_id: expected letters, digits and - _ . :")))
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{Collapse, Credentials, DataLayout, Flatten, Settings, Target};

    fn read(json: Value) -> Settings {
        serde_json::from_value(json).unwrap()
    }

    fn problem(mut json: Value) -> String {
        if json.get("credentials").is_none() && json.get("service_account_file").is_none() {
            json["service_account_file"] = json!("key.json");
        }
        read(json).check().unwrap_err().to_string()
    }

    #[test]
    fn a_key_file_is_all_it_needs() {
        let mut settings = read(json!({"service_account_file": "keys/sa.json"}));
        assert_eq!(settings.check(), Ok(()));
        assert_eq!(settings.base_url, "https://fcm.googleapis.com");
        assert_eq!((settings.max_concurrent, settings.send_badge_counts, settings.ttl), (512, true, None));
        assert_eq!(
            (settings.flatten, settings.data_layout, settings.target, settings.collapse),
            (Flatten::Strings, DataLayout::Flat, Target::Auto, Collapse::None)
        );
        settings.resolve_paths(Path::new("/etc/gateway"));
        assert_eq!(settings.service_account_file.as_deref(), Some(Path::new("/etc/gateway/keys/sa.json")));
        settings.resolve_paths(Path::new("/elsewhere"));
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
        let url = settings.send_url("chat-1").unwrap();
        assert_eq!(url.as_str(), "https://relay.example/fcm/v1/projects/chat-1/messages:send");
        assert!(serde_json::from_value::<Settings>(json!({"projectid": "x"})).is_err());
    }

    #[test]
    fn the_legacy_api_is_refused_with_the_keys_that_take_its_place() {
        for value in [json!("AAAA:key"), json!(null), json!(5)] {
            let text = problem(json!({"api_key": value}));
            assert!(text.starts_with("api_key: ") && text.contains("service_account_file"), "{text}");
            assert!(text.contains("project_id") && !text.contains("AAAA"), "{text}");
        }
    }

    #[test]
    fn options_hold_what_google_knows_and_the_gateway_does_not_set() {
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
            (json!({"project_id": ""}), "project_id: "),
            (json!({"project_id": "a/b"}), "project_id: "),
            (json!({"project_id": ".."}), "project_id: "),
            (json!({"ttl": "29d"}), "ttl: "),
            (json!({"max_concurrent": 0}), "max_concurrent: "),
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
