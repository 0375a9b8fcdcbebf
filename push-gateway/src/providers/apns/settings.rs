//! What an app of type `apns` is configured with.
//!
//! Invariant: each key has one meaning and one default, and a key that is not here is refused.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::config::HumanDuration;
use shared::secret::Secret;

/// The table of an app of type `apns`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The app's bundle id, or, for special push types, the full topic. `.voip` is added for VoIP if it is missing.
    pub(crate) topic: String,
    /// The provider key (`.p8`, PEM) as text.
    pub(crate) key: Option<Secret<String>>,
    /// A file with the provider key.
    pub(crate) key_file: Option<PathBuf>,
    /// The 10 characters that name the provider key.
    pub(crate) key_id: Option<String>,
    /// The 10 characters that name the developer's team.
    pub(crate) team_id: Option<String>,
    /// A client certificate with its key, PEM or PKCS#12, in place of a provider key.
    pub(crate) cert_file: Option<PathBuf>,
    /// The password of a PKCS#12 file.
    pub(crate) cert_password: Option<Secret<String>>,
    /// A file with that password.
    pub(crate) cert_password_file: Option<PathBuf>,
    /// Which of Apple's two worlds the app's builds are signed for.
    pub(crate) platform: Platform,
    /// Where to connect, `https://host:port`, in place of the platform's address.
    pub(crate) endpoint: Option<String>,
    /// Whether a device that the platform does not know is tried once on the other one.
    pub(crate) sandbox_fallback: bool,
    /// Where the other platform is, in place of its address.
    pub(crate) fallback_endpoint: Option<String>,
    /// How many connections there may be at once.
    pub(crate) max_connections: usize,
    /// `apns-push-type`; derived from the payload if absent.
    pub(crate) push_type: Option<PushType>,
    /// How pushkeys are written.
    pub(crate) token_encoding: TokenEncoding,
    /// How long Apple keeps a notification for a device that is off; 0 for not at all.
    pub(crate) expiration: HumanDuration,
    /// Which notifications replace one another.
    pub(crate) collapse: Collapse,
    /// Whether notifications are grouped by room.
    pub(crate) thread_id: bool,
    /// Whether the sound that the push rules ask for is passed on.
    pub(crate) tweak_sound: bool,
    /// `interruption-level` of what the push rules highlight.
    pub(crate) highlight_level: Option<InterruptionLevel>,
    /// Whether notifications without content carry a badge.
    pub(crate) event_id_only_badge: bool,
    /// What a VoIP app is woken for.
    pub(crate) voip_events: VoipEvents,
    /// What every payload holds, under the device's `default_payload`.
    pub(crate) payload: Map<String, Value>,
    /// Whether unread counts are sent at all.
    pub(crate) send_badge_counts: bool,
    /// How many deliveries of this app may be under way at once.
    pub(crate) max_concurrent: usize,
    /// How long to wait before the second, third, … attempt.
    pub(crate) retry_waits: Vec<HumanDuration>,
    /// Event types that are calls.
    pub(crate) call_types: Vec<String>,
}

/// Apple's two worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Platform {
    /// Apps from the App Store and TestFlight.
    Production,
    /// Apps that a developer installed.
    Sandbox,
}

/// `apns-push-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PushType {
    Alert,
    Background,
    Voip,
    Complication,
    Fileprovider,
    Mdm,
    Location,
    Liveactivity,
    Pushtotalk,
    Widgets,
    Controls,
}

/// How pushkeys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TokenEncoding {
    /// Hexadecimal if it can be read so, else base64.
    Auto,
    /// Hexadecimal.
    Hex,
    /// base64 or base64url, padded or not.
    Base64,
}

/// Which notifications replace one another on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Collapse {
    /// None.
    None,
    /// Those of one room.
    Room,
    /// Those of one event.
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

/// What a VoIP app is woken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VoipEvents {
    /// Calls. iOS ends an app that gets a VoIP push and reports no call.
    Calls,
    /// Everything, as older gateways did.
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
            send_badge_counts: true,
            max_concurrent: 512,
            retry_waits: vec![HumanDuration::from_millis(500), HumanDuration::from_secs(3)],
            call_types: [
                "m.call.invite",
                "m.rtc.notification",
                "org.matrix.msc4075.rtc.notification",
                "org.matrix.msc3401.call.member",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}

impl Platform {
    /// Apple's address of it.
    pub(crate) fn endpoint(self) -> &'static str {
        match self {
            Self::Production => "https://api.push.apple.com:443",
            Self::Sandbox => "https://api.sandbox.push.apple.com:443",
        }
    }

    /// The one that it is not.
    #[must_use]
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Production => Self::Sandbox,
            Self::Sandbox => Self::Production,
        }
    }
}

impl PushType {
    /// As the header says it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "alert",
            Self::Background => "background",
            Self::Voip => "voip",
            Self::Complication => "complication",
            Self::Fileprovider => "fileprovider",
            Self::Mdm => "mdm",
            Self::Location => "location",
            Self::Liveactivity => "liveactivity",
            Self::Pushtotalk => "pushtotalk",
            Self::Widgets => "widgets",
            Self::Controls => "controls",
        }
    }
}

impl InterruptionLevel {
    /// As the payload says it.
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
    /// The topic as the header says it.
    pub(crate) fn full_topic(&self) -> String {
        let voip = self.push_type == Some(PushType::Voip) && !self.topic.ends_with(".voip");
        format!("{}{}", self.topic, if voip { ".voip" } else { "" })
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
    fn every_choice_is_written_as_apple_writes_it() {
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
    fn only_the_topic_of_a_voip_app_gets_a_suffix_and_only_once() {
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
}
