//! The settings of an app of type `apns`.
//!
//! Invariant: each key has one meaning and one default, and an unknown key is refused.

mod push_type;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::config::{ConfigError, HumanDuration};
use shared::secret::Secret;

pub(crate) use self::push_type::PushType;
use super::{Apns, identifiers};
use crate::providers::app_table::read_table;
use crate::providers::delivery_settings::DeliverySettings;
use crate::providers::{
    Provider, ProviderContext, ProviderSettings, SetupError, SharedSettings, UselessKeys, in_folder,
};

/// The table of an app of type `apns`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The app's bundle ID, or the full topic for special push types. The gateway adds a missing `.voip` for VoIP.
    pub(crate) topic: String,
    /// The provider key (`.p8`, PEM).
    pub(crate) key: Option<Secret<String>>,
    /// A file with the provider key.
    pub(crate) key_file: Option<PathBuf>,
    /// The 10 characters of the provider key's ID.
    pub(crate) key_id: Option<String>,
    /// The 10 characters of the team's ID.
    pub(crate) team_id: Option<String>,
    /// A client certificate with its key, PEM or PKCS#12, instead of a provider key.
    pub(crate) cert_file: Option<PathBuf>,
    /// The password of a PKCS#12 file.
    pub(crate) cert_password: Option<Secret<String>>,
    /// A file with that password.
    pub(crate) cert_password_file: Option<PathBuf>,
    /// The environment that the app's builds are signed for.
    pub(crate) platform: Platform,
    /// `https://host:port`, instead of the address of the platform.
    pub(crate) endpoint: Option<String>,
    /// Whether a push for an unknown device is resent once to the other platform.
    pub(crate) sandbox_fallback: bool,
    /// `https://host:port`, instead of the address of the other platform.
    pub(crate) fallback_endpoint: Option<String>,
    /// The most connections at once.
    pub(crate) max_connections: usize,
    /// `apns-push-type`; derived from the payload if absent.
    pub(crate) push_type: Option<PushType>,
    /// The encoding of pushkeys.
    pub(crate) token_encoding: TokenEncoding,
    /// How long APNs stores a notification for an offline device; 0 for not at all.
    pub(crate) expiration: HumanDuration,
    /// Which notifications replace earlier ones.
    pub(crate) collapse: Collapse,
    /// Whether notifications are grouped by room.
    pub(crate) thread_id: bool,
    /// Whether payloads carry the sound of the push rules.
    pub(crate) tweak_sound: bool,
    /// The `interruption-level` of highlighted notifications.
    pub(crate) highlight_level: Option<InterruptionLevel>,
    /// Whether notifications without content carry a badge.
    pub(crate) event_id_only_badge: bool,
    /// The events that wake a VoIP app.
    pub(crate) voip_events: VoipEvents,
    /// Members of every payload; the device's `default_payload` overrides them.
    pub(crate) payload: Map<String, Value>,
    /// The settings of every type.
    #[serde(skip)]
    pub(crate) delivery: DeliverySettings,
}

/// The two environments of APNs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Platform {
    /// Apps from the App Store and TestFlight.
    Production,
    /// Apps that a developer installed.
    Sandbox,
}

/// The encoding of pushkeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenEncoding {
    /// Hexadecimal if the pushkey is, else base64.
    Auto,
    Hex,
    /// base64 or base64url, padded or not.
    Base64,
}

/// Which notifications replace earlier ones on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Collapse {
    None,
    /// Notifications of the same room.
    Room,
    /// Notifications of the same event.
    Event,
}

/// `interruption-level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum InterruptionLevel {
    Passive,
    Active,
    TimeSensitive,
    Critical,
}

/// The events that wake a VoIP app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VoipEvents {
    /// Calls. iOS terminates an app that gets a VoIP push and reports no call.
    Calls,
    /// All events, as in older gateways.
    All,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            topic: String::new(),
            key: None,
            key_file: None,
            key_id: None,
            team_id: None,
            cert_file: None,
            cert_password: None,
            cert_password_file: None,
            platform: Platform::Production,
            endpoint: None,
            sandbox_fallback: false,
            fallback_endpoint: None,
            max_connections: 4,
            push_type: None,
            token_encoding: TokenEncoding::Auto,
            expiration: HumanDuration::from_secs(24 * 60 * 60),
            collapse: Collapse::None,
            thread_id: false,
            tweak_sound: true,
            highlight_level: None,
            event_id_only_badge: false,
            voip_events: VoipEvents::Calls,
            payload: Map::new(),
            delivery: DeliverySettings::default(),
        }
    }
}

impl Platform {
    /// Its address.
    pub(crate) fn endpoint(self) -> &'static str {
        match self {
            Self::Production => "https://api.push.apple.com:443",
            Self::Sandbox => "https://api.sandbox.push.apple.com:443",
        }
    }

    #[must_use]
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Production => Self::Sandbox,
            Self::Sandbox => Self::Production,
        }
    }
}

impl InterruptionLevel {
    /// The value in the payload.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Passive => "passive",
            Self::Active => "active",
            Self::TimeSensitive => "time-sensitive",
            Self::Critical => "critical",
        }
    }
}

impl Settings {
    /// Reads the keys of a table.
    ///
    /// # Errors
    /// [`ConfigError`] names the key.
    pub(super) fn of_table(path: &str, mut table: Value) -> Result<Self, ConfigError> {
        let delivery = DeliverySettings::take(path, &mut table)?;
        Ok(Self { delivery, ..read_table(path, table)? })
    }

    /// The value of `apns-topic`.
    pub(crate) fn full_topic(&self) -> String {
        let voip = self.push_type == Some(PushType::Voip) && !self.topic.ends_with(".voip");
        format!("{}{}", self.topic, if voip { ".voip" } else { "" })
    }

    /// The name of the circuit: the environment and the credential.
    pub(super) fn circuit_key(&self) -> String {
        let place = self.endpoint.clone().unwrap_or_else(|| format!("{:?}", self.platform));
        let credential = match (&self.cert_file, &self.key_id, &self.team_id) {
            (Some(file), _, _) => file.display().to_string(),
            (None, key, team) => format!("{}/{}", team.as_deref().unwrap_or("-"), key.as_deref().unwrap_or("-")),
        };
        format!("apns {place} {credential}")
    }

    /// The environment, the topic and the credential, for the operator.
    pub(super) fn describe(&self) -> String {
        let platform = if self.platform == Platform::Production { "production" } else { "sandbox" };
        let place = self.endpoint.as_deref().unwrap_or(platform);
        let credential = match (&self.cert_file, &self.key_id, &self.team_id) {
            (Some(file), _, _) => format!("certificate {}", file.display()),
            (None, Some(key), Some(team)) => format!("key {key} of team {team}"),
            (None, _, _) => "no credential".to_owned(),
        };
        format!("APNs ({place}), topic {}, {credential}", self.full_topic())
    }
}

/// Reads the table of an app; relative paths are relative to `folder`.
pub(in super::super) fn read(path: &str, table: Value, folder: &Path) -> Result<SharedSettings, ConfigError> {
    let mut settings = Settings::of_table(path, table)?;
    for file in [&mut settings.key_file, &mut settings.cert_file, &mut settings.cert_password_file] {
        in_folder(folder, file);
    }
    identifiers::check(&mut settings.key_id, &mut settings.team_id, &mut settings.topic)
        .map_err(|problem| ConfigError::Invalid(format!("[{path}] {problem}")))?;
    if settings.max_connections == 0 {
        return Err(ConfigError::Invalid(format!("[{path}] max_connections: expected at least 1")));
    }
    settings.key.take_if(|key| key.expose().trim().is_empty());
    Ok(Arc::new(settings))
}

impl ProviderSettings for Settings {
    fn type_name(&self) -> &'static str {
        "apns"
    }

    fn delivery(&self) -> DeliverySettings {
        self.delivery.clone()
    }

    fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let keys = ["key_file", "cert_file", "cert_password_file"];
        let files = [&self.key_file, &self.cert_file, &self.cert_password_file];
        keys.into_iter().zip(files).filter_map(|(key, file)| Some((key, file.as_deref()?))).collect()
    }

    fn notices(&self) -> Vec<(&'static str, String)> {
        let is_same = self.key_id.is_some() && self.key_id == self.team_id;
        let problem =
            "is the same as key_id; copy the ID of the team from the membership page of Apple's developer account";
        is_same.then(|| ("team_id", problem.to_owned())).into_iter().collect()
    }

    fn useless_keys(&self) -> UselessKeys {
        let mut useless = UselessKeys::new();
        if self.push_type != Some(PushType::Voip) {
            useless.push((&["voip_events"], "without push_type = \"voip\""));
        }
        if !self.sandbox_fallback {
            useless.push((&["fallback_endpoint"], "without sandbox_fallback = true"));
        }
        useless.push(match self.cert_file {
            Some(_) => (&["key_id", "team_id"], "with cert_file"),
            None => (&["cert_password", "cert_password_file"], "without cert_file"),
        });
        useless
    }

    fn is_equal(&self, other: &dyn ProviderSettings) -> bool {
        (other as &dyn Any).downcast_ref::<Self>() == Some(self)
    }

    fn provider(&self, app: &str, context: &ProviderContext) -> Result<Box<dyn Provider>, SetupError> {
        Ok(Box::new(Apns::new(app, self, context)?))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Collapse, InterruptionLevel, Platform, PushType, Settings, TokenEncoding};

    fn read(table: serde_json::Value) -> Result<Settings, serde_json::Error> {
        serde_json::from_value(table)
    }

    #[test]
    fn choices_have_the_spelling_of_apns() {
        for name in [
            "alert",
            "background",
            "voip",
            "complication",
            "fileprovider",
            "mdm",
            "location",
            "liveactivity",
            "pushtotalk",
            "widgets",
            "controls",
        ] {
            let settings = read(json!({"topic": "org.example.app", "push_type": name})).unwrap();
            assert_eq!(settings.push_type.map(PushType::as_str), Some(name));
        }
        for name in ["passive", "active", "time-sensitive", "critical"] {
            let settings = read(json!({"highlight_level": name})).unwrap();
            assert_eq!(settings.highlight_level.map(InterruptionLevel::as_str), Some(name));
        }
        let settings = read(json!({"platform": "sandbox", "token_encoding": "base64", "collapse": "room"})).unwrap();
        assert_eq!(
            (settings.platform, settings.token_encoding, settings.collapse),
            (Platform::Sandbox, TokenEncoding::Base64, Collapse::Room)
        );
        assert_eq!(settings.platform.other().endpoint(), "https://api.push.apple.com:443");
        for wrong in [json!({"push_type": "Alert"}), json!({"platform": "prod"}), json!({"topik": "x"})] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_connection_is_refused_and_a_team_with_the_id_of_the_key_is_a_notice() {
        let read = |table| super::read("apps.\"x\"", table, std::path::Path::new(""));
        let table = |connections: usize, team: &str| json!({"topic": "a.b", "key_id": "ABC1234567", "team_id": team, "max_connections": connections});
        let error = read(table(0, "DEF1234567")).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), Some("[apps.\"x\"] max_connections: expected at least 1"));
        let notices = |team: &str| read(table(1, team)).unwrap().notices().len();
        assert_eq!([notices("DEF1234567"), notices("ABC1234567")], [0, 1]);
    }

    #[test]
    fn only_the_topic_of_a_voip_app_gets_a_suffix_once() {
        for (topic, push_type, expected) in [
            ("org.example.app", "voip", "org.example.app.voip"),
            ("org.example.app.voip", "voip", "org.example.app.voip"),
            ("org.example.app", "alert", "org.example.app"),
            ("org.example.app.pushkit.fileprovider", "fileprovider", "org.example.app.pushkit.fileprovider"),
        ] {
            let settings = read(json!({"topic": topic, "push_type": push_type})).unwrap();
            assert_eq!(settings.full_topic(), expected);
        }
    }

    #[test]
    fn the_description_names_the_environment_the_topic_and_the_credential() {
        let settings = read(json!({"topic": "a.b", "key_id": "K", "team_id": "T"})).unwrap();
        assert_eq!(settings.describe(), "APNs (production), topic a.b, key K of team T");
        assert_eq!(settings.circuit_key(), "apns Production T/K");
    }
}
