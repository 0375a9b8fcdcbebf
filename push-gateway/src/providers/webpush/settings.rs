//! The settings of apps whose devices name their own push service: types `webpush` and `unifiedpush`, and the same keys in an app
//! of type `fcm`.
//!
//! Invariant: a key that has no effect in its app is an error.

mod contact;
pub(super) mod declarative;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use shared::config::{ConfigError, HumanDuration, OneOrMany, secret_content};
use shared::secret::Secret;
use shared::text_file;

use super::WebPush;
use super::credentials::VapidKey;
use super::endpoint::is_entry;
use crate::providers::app_table::read_table;
use crate::providers::delivery_settings::DeliverySettings;
use crate::providers::{Provider, ProviderContext, ProviderSettings, SetupError, UselessKeys, in_folder};

/// How long a browser's push service keeps a message by default.
const WEB_TTL: HumanDuration = HumanDuration::from_secs(900);
/// The same for UnifiedPush.
const UNIFIED_TTL: HumanDuration = HumanDuration::from_secs(86_400);

/// The keys of these settings that an app of another type may have too.
pub(in super::super) const KEYS_IN_OTHER_TYPES: [&str; 9] = [
    "unifiedpush",
    "up_ttl",
    "vapid_private_key",
    "vapid_private_key_file",
    "vapid_contact",
    "allowed_endpoints",
    "allow_http",
    "label_encrypted",
    "forward_device",
];

/// The keys of an app of type `webpush` or `unifiedpush`, without `type` itself.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The key that identifies the gateway to push services: PEM, or 32 bytes in base64url; a secret.
    pub(crate) vapid_private_key: Option<Secret<String>>,
    /// A file with that key.
    pub(crate) vapid_private_key_file: Option<PathBuf>,
    /// How push services reach the operator: a mail address or an `https` URL.
    pub(crate) vapid_contact: Option<String>,
    /// How long a push service keeps a message for a device that is offline.
    pub(crate) ttl: Option<HumanDuration>,
    /// Whether pushkeys that are URLs are delivered by UnifiedPush.
    pub(crate) unifiedpush: bool,
    /// `ttl` for these.
    pub(crate) up_ttl: HumanDuration,
    /// Hosts that are sent to, as `host` or `host:port` with `*`; empty for any.
    pub(crate) allowed_endpoints: OneOrMany<String>,
    /// Whether endpoints may have `http` URLs.
    pub(crate) allow_http: bool,
    /// Whether plain messages for UnifiedPush are labelled as encrypted.
    pub(crate) label_encrypted: bool,
    /// Whether messages for UnifiedPush contain the device.
    pub(crate) forward_device: bool,
    /// Whether browsers may show messages without a service worker.
    pub(crate) declarative: bool,
    /// The page that such a message opens.
    pub(crate) navigate_template: Option<String>,
    /// Its texts.
    pub(crate) title_template: String,
    pub(crate) title_fallback: String,
    pub(crate) body_template: String,
    pub(crate) body_fallback: String,
    /// Their language.
    pub(crate) lang: String,
    /// The URL of its icon.
    pub(crate) icon: Option<String>,
    /// The settings of every type.
    #[serde(skip)]
    pub(crate) delivery: DeliverySettings,
    /// What pushkeys are.
    #[serde(skip)]
    pub(crate) form: Form,
}

/// What pushkeys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// Subscriptions of browsers.
    #[default]
    Subscription,
    /// Endpoints of UnifiedPush.
    Url,
}

/// A problem with the settings; the text starts with the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct SettingsError(String);

impl Default for Settings {
    fn default() -> Self {
        Self {
            vapid_private_key: None,
            vapid_private_key_file: None,
            vapid_contact: None,
            ttl: None,
            unifiedpush: true,
            up_ttl: UNIFIED_TTL,
            allowed_endpoints: Vec::new().into(),
            allow_http: false,
            label_encrypted: true,
            forward_device: false,
            declarative: false,
            navigate_template: None,
            title_template: String::from("{sender} ({room})"),
            title_fallback: String::from("New message"),
            body_template: String::from("{body}"),
            body_fallback: String::from("Open the app to read it"),
            lang: String::from("en"),
            icon: None,
            delivery: DeliverySettings::default(),
            form: Form::default(),
        }
    }
}

impl Settings {
    /// Reads the table of an app; relative paths are relative to `folder`.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub(in super::super) fn read(path: &str, table: Value, folder: &Path, form: Form) -> Result<Self, ConfigError> {
        let settings = Self::read_in_other_type(path, table, folder, form)?;
        if form == Form::Subscription && !settings.has_key() {
            let problem = "missing; push-gateway generate-vapid-key prints a key";
            return Err(ConfigError::Invalid(format!("[{path}] vapid_private_key_file: {problem}")));
        }
        Ok(settings)
    }

    /// Reads the keys that an app of another type has; none is required.
    ///
    /// # Errors
    /// As [`Settings::read`].
    pub(in super::super) fn read_in_other_type(
        path: &str,
        mut table: Value,
        folder: &Path,
        form: Form,
    ) -> Result<Self, ConfigError> {
        if form == Form::Url {
            for key in ["unifiedpush", "up_ttl"].iter().chain(declarative::KEYS) {
                if table.get(key).is_some() {
                    let problem = "has no use in an app of type \"unifiedpush\", whose pushkeys are URLs; remove it";
                    return Err(ConfigError::Invalid(format!("[{path}] {key}: {problem}")));
                }
            }
        }
        let delivery = DeliverySettings::take(path, &mut table)?;
        let mut settings = Self { delivery, form, ..read_table(path, table)? };
        in_folder(folder, &mut settings.vapid_private_key_file);
        // Values from the environment or a form are often empty instead of absent.
        settings.vapid_private_key.take_if(|text| text.expose().trim().is_empty());
        settings.vapid_contact.take_if(|text| text.trim().is_empty());
        settings.check().map_err(|error| ConfigError::Invalid(format!("[{path}] {error}")))?;
        Ok(settings)
    }

    /// The same for pushkeys that are URLs, in an app of another type.
    pub(in super::super) fn for_urls(&self) -> Option<Self> {
        let settings = Self { form: Form::Url, ttl: Some(self.up_ttl), ..self.clone() };
        self.unifiedpush.then_some(settings)
    }

    /// The same for subscriptions of browsers, in an app of another type.
    pub(in super::super) fn for_subscriptions(&self) -> Option<Self> {
        self.has_key().then(|| Self { form: Form::Subscription, ..self.clone() })
    }

    /// How long a push service keeps a message.
    pub(super) fn ttl(&self) -> Duration {
        let default = if self.form == Form::Url { UNIFIED_TTL } else { WEB_TTL };
        self.ttl.unwrap_or(default).get()
    }

    /// `sub` of VAPID.
    pub(super) fn contact(&self) -> Option<String> {
        self.vapid_contact.as_deref().map(contact::uri)
    }

    /// The key; `None` if there is none.
    ///
    /// # Errors
    /// The problem, with its key.
    pub(super) fn key(&self) -> Result<Option<VapidKey>, SetupError> {
        let (text, file) = (self.vapid_private_key.as_ref(), self.vapid_private_key_file.as_deref());
        let name = if file.is_some() { "vapid_private_key_file" } else { "vapid_private_key" };
        let wrong = |problem: &dyn std::fmt::Display| SetupError::from(format!("{name}: {problem}"));
        // `check` has refused both at once.
        let content = secret_content("", text, file).map_err(|_| match file {
            Some(file) => wrong(&format!("cannot read {}", file.display())),
            None => wrong(&"cannot be read"),
        })?;
        let Some(content) = content else { return Ok(None) };
        let text = text_file::decode(&content).map_err(|error| wrong(&error))?;
        VapidKey::parse(text).map(Some).map_err(|error| wrong(&error))
    }

    fn has_key(&self) -> bool {
        self.vapid_private_key.is_some() || self.vapid_private_key_file.is_some()
    }

    fn check(&self) -> Result<(), SettingsError> {
        let wrong = |text: &str| Err(SettingsError(text.to_owned()));
        if self.vapid_private_key.is_some() && self.vapid_private_key_file.is_some() {
            return wrong("vapid_private_key: is also in vapid_private_key_file; keep one of them");
        }
        if self.contact().is_some_and(|contact| !contact::is_valid(&contact)) {
            return wrong("vapid_contact: expected a mail address such as ops@example.com, or an https URL");
        }
        if self.ttl.is_some_and(|ttl| ttl.get() < Duration::from_secs(1)) {
            return wrong("ttl: expected at least 1s; push services refuse messages that they may not keep");
        }
        if self.up_ttl.get() < Duration::from_secs(1) {
            return wrong("up_ttl: expected at least 1s; push services refuse messages that they may not keep");
        }
        if let Some(entry) = self.allowed_endpoints.as_slice().iter().find(|entry| !is_entry(entry)) {
            return Err(SettingsError(format!(
                "allowed_endpoints: expected hosts such as \"ntfy.sh\", \"*.example.org\" or \"host:8443\", without a scheme \
                 or path, found \"{entry}\""
            )));
        }
        self.declarative().map(drop).map_err(SettingsError)
    }

    /// Whether Apple refuses messages with this contact.
    fn is_refused_by_apple(&self) -> bool {
        self.contact().map_or_else(|| self.has_key(), |contact| contact::is_refused_by_apple(&contact))
    }
}

impl ProviderSettings for Settings {
    fn type_name(&self) -> &'static str {
        match self.form {
            Form::Subscription => "webpush",
            Form::Url => "unifiedpush",
        }
    }

    fn delivery(&self) -> DeliverySettings {
        self.delivery.clone()
    }

    fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        self.vapid_private_key_file.iter().map(|file| ("vapid_private_key_file", file.as_path())).collect()
    }

    fn notices(&self) -> Vec<(&'static str, String)> {
        let problem =
            "Apple's push service refuses messages without the address of a public domain, or a URL there; add one";
        self.is_refused_by_apple().then(|| ("vapid_contact", problem.to_owned())).into_iter().collect()
    }

    fn useless_keys(&self) -> UselessKeys {
        let mut useless = UselessKeys::new();
        if !self.declarative {
            // All but the key itself.
            useless.push((&declarative::KEYS[1..], "without declarative = true"));
        }
        if !self.unifiedpush {
            useless.push((&["up_ttl", "label_encrypted", "forward_device"], "with unifiedpush = false"));
        }
        if !self.has_key() {
            useless.push((&["vapid_contact"], "without vapid_private_key"));
        }
        if !self.has_key() && !self.unifiedpush {
            let reason = "with unifiedpush = false and without vapid_private_key";
            useless.push((&["allowed_endpoints", "allow_http"], reason));
        }
        useless
    }

    fn is_equal(&self, other: &dyn ProviderSettings) -> bool {
        (other as &dyn Any).downcast_ref::<Self>() == Some(self)
    }

    fn provider(&self, app: &str, context: &ProviderContext) -> Result<Box<dyn Provider>, SetupError> {
        Ok(Box::new(WebPush::new(app, self, context)?))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{Form, Settings};
    use crate::providers::ProviderSettings;

    fn read(table: Value, form: Form) -> Result<Settings, String> {
        Settings::read("apps.\"x\"", table, Path::new(""), form).map_err(|error| error.to_string())
    }

    fn with_contact(contact: &str) -> Result<Settings, String> {
        read(json!({ "vapid_private_key": "x", "vapid_contact": contact }), Form::Subscription)
    }

    #[test]
    fn wrong_settings_are_named_with_an_action() {
        for (table, form, expected) in [
            (json!({}), Form::Subscription, "vapid_private_key_file: missing"),
            (json!({ "vapid_private_key": "x", "vapid_private_key_file": "y" }), Form::Url, "also in"),
            (json!({ "ttl": "0s" }), Form::Url, "ttl: expected at least 1s"),
            (
                json!({ "allowed_endpoints": ["ntfy.sh", "https://a.b"] }),
                Form::Url,
                "allowed_endpoints: expected hosts",
            ),
            (json!({ "allowed_endpoints": ["a.b/c"] }), Form::Url, "found \"a.b/c\""),
            (json!({ "allowed_endpoints": [""] }), Form::Url, "allowed_endpoints: expected hosts"),
            (json!({ "up_ttl": "1s" }), Form::Url, "up_ttl: has no use"),
            (json!({ "unifiedpush": false }), Form::Url, "unifiedpush: has no use"),
            (json!({ "declarative": true }), Form::Url, "declarative: has no use"),
            (json!({ "max_concurrent": 0 }), Form::Url, "max_concurrent"),
            (json!({ "nonsense": 0 }), Form::Url, "nonsense"),
        ] {
            let error = read(table.clone(), form).unwrap_err();
            assert!(error.contains(expected) && error.contains("apps.\"x\""), "{table}: {error}");
        }
        assert!(read(json!({}), Form::Url).is_ok());
    }

    #[test]
    fn a_contact_is_an_address_or_a_url_and_apple_wants_a_public_one() {
        for (contact, sub, warned) in [
            ("ops@example.com", "mailto:ops@example.com", false),
            ("mailto:ops@example.com", "mailto:ops@example.com", false),
            ("https://example.com/contact", "https://example.com/contact", false),
            ("ops@localhost", "mailto:ops@localhost", true),
            ("https://192.0.2.1/", "https://192.0.2.1/", true),
            ("https://intranet/", "https://intranet/", true),
        ] {
            let settings = with_contact(contact).unwrap();
            assert_eq!(
                (settings.contact().as_deref(), !settings.notices().is_empty()),
                (Some(sub), warned),
                "{contact}"
            );
        }
        for wrong in ["ops", "http://example.com", "mailto: <a@b.c>", "mailto:a b@c.d", "@x.y", "a@", "a@b@c"] {
            assert!(with_contact(wrong).unwrap_err().contains("vapid_contact: expected"), "{wrong}");
        }
    }

    #[test]
    fn urls_and_subscriptions_of_one_app_have_their_own_lifetimes() {
        let settings = with_contact("a@example.com").unwrap();
        assert_eq!(settings.ttl().as_secs(), 900);
        assert_eq!(settings.for_urls().unwrap().ttl().as_secs(), 86_400);
        assert_eq!(settings.for_urls().unwrap().type_name(), "unifiedpush");
        let without = read(json!({}), Form::Url).unwrap();
        assert!(without.for_subscriptions().is_none() && without.ttl().as_secs() == 86_400);
    }
}
