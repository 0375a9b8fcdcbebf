//! The settings of an app of type `huawei`.
//!
//! Invariant: a key that has no effect with the version or the push type is an error.

mod check;
mod digits;
mod notify_id;

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use shared::config::{ConfigError, HumanDuration};
use shared::secret::Secret;
use url::Url;

use self::check::SHOWN;
pub(crate) use self::digits::Digits;
pub(crate) use self::notify_id::NotifyId;
use super::Huawei;
use super::request::send_url;
use crate::notification::call::Occasion;
use crate::providers::app_table::read_table;
use crate::providers::delivery_settings::DeliverySettings;
use crate::providers::transport::unencrypted_notice;
use crate::providers::{
    Provider, ProviderContext, ProviderSettings, SetupError, SharedSettings, UselessKeys, in_folder,
};

/// The keys of an app of type `huawei`, without `type` itself and those of every type.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The interface of Push Kit.
    pub(crate) version: Version,
    /// The file of the service account (version 3).
    pub(crate) service_account_file: Option<PathBuf>,
    /// The same as text; a secret.
    pub(crate) service_account: Option<Secret<String>>,
    /// The app's number (version 1).
    pub(crate) app_id_number: Option<Digits>,
    /// The OAuth client (version 1); by default the app's number.
    pub(crate) client_id: Option<Digits>,
    /// Its secret.
    pub(crate) client_secret: Option<Secret<String>>,
    /// A file with that secret.
    pub(crate) client_secret_file: Option<PathBuf>,
    /// The address of Push Kit.
    pub(crate) base_url: String,
    /// The address of access tokens (version 1).
    pub(crate) token_url: Option<String>,
    /// The kind of messages.
    pub(crate) push_type: Option<PushType>,
    /// The category of messages.
    pub(crate) category: Option<String>,
    /// The category of calls that ring, and of missed ones.
    pub(crate) call_category: Option<String>,
    pub(crate) missed_call_category: Option<String>,
    /// The texts of notifications.
    pub(crate) title_template: String,
    pub(crate) title_fallback: String,
    pub(crate) body_template: String,
    pub(crate) body_fallback: String,
    /// The launcher activity whose icon gets the badge (version 1).
    #[serde(alias = "class")]
    pub(crate) badge_class: Option<String>,
    /// The inner page that a notification opens (version 3).
    pub(crate) click_action: Option<String>,
    pub(crate) click_uri: Option<String>,
    /// Whether a notification shows while the app is in the foreground (version 3).
    pub(crate) foreground_show: Option<bool>,
    /// Which notifications replace an earlier one on the device (version 3).
    pub(crate) notify_id: Option<NotifyId>,
    /// Whether messages carry their event's ID, by which a device shows each once (version 3).
    pub(crate) app_message_id: Option<bool>,
    /// The member of the pusher's `data` with `profileId`, the profile that sees the notification (version 3).
    pub(crate) profile_id: Option<String>,
    /// How long Push Kit stores a message for an offline device.
    pub(crate) ttl: HumanDuration,
    /// The group of messages that replace each other; -1 for none.
    pub(crate) collapse_key: i32,
    /// The settings of every type.
    #[serde(skip)]
    pub(crate) delivery: DeliverySettings,
}

/// `version`: the interface of Push Kit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(crate) enum Version {
    /// For HMS Core on Android.
    V1,
    /// For HarmonyOS 5 and later.
    #[default]
    V3,
}

/// `push_type`: the kind of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PushType {
    /// The app gets the data, and shows a notification itself.
    Data,
    /// The system shows a notification.
    Notification,
    /// Calls alone.
    Voip,
    /// An extension of the app gets the data, and the system shows a notification.
    Extension,
}

impl TryFrom<u8> for Version {
    type Error = &'static str;

    fn try_from(number: u8) -> Result<Self, Self::Error> {
        match number {
            1 => Ok(Self::V1),
            3 => Ok(Self::V3),
            _ => Err("expected 3 (HarmonyOS 5 and later) or 1 (HMS Core on Android)"),
        }
    }
}

impl Version {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V3 => 3,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            version: Version::default(),
            service_account_file: None,
            service_account: None,
            app_id_number: None,
            client_id: None,
            client_secret: None,
            client_secret_file: None,
            base_url: String::from("https://push-api.cloud.huawei.com"),
            token_url: None,
            push_type: None,
            category: None,
            call_category: None,
            missed_call_category: None,
            title_template: String::from("{sender} ({room})"),
            title_fallback: String::from("New message"),
            body_template: String::from("{body}"),
            body_fallback: String::from("Open the app to read it"),
            badge_class: None,
            click_action: None,
            click_uri: None,
            foreground_show: None,
            notify_id: None,
            app_message_id: None,
            profile_id: None,
            ttl: HumanDuration::from_secs(86_400),
            collapse_key: -1,
            delivery: DeliverySettings::default(),
        }
    }
}

impl Settings {
    pub(super) fn push_type(&self) -> PushType {
        self.push_type.unwrap_or(match self.version {
            Version::V1 => PushType::Data,
            Version::V3 => PushType::Notification,
        })
    }

    /// The category of a message (version 3).
    pub(super) fn category_of(&self, occasion: Occasion) -> &str {
        let (category, default) = match occasion {
            _ if self.push_type() == PushType::Extension => (&self.category, "PLAY_VOICE"),
            Occasion::Ring(_) => (&self.call_category, "VOIP"),
            Occasion::ExpiredCall => (&self.missed_call_category, "MISS_CALL"),
            Occasion::Ordinary | Occasion::Nudge => (&self.category, "IM"),
        };
        category.as_deref().unwrap_or(default)
    }

    /// The URL for messages of this project (version 3) or app (version 1).
    ///
    /// # Errors
    /// The problem, with its key.
    pub(super) fn send_url(&self, id: &str) -> Result<Url, String> {
        let key = match self.version {
            Version::V1 => "app_id_number",
            Version::V3 => "service_account_file: project_id",
        };
        send_url(&self.base_url, self.version.number(), key, id)
    }

    pub(super) fn token_url(&self) -> &str {
        self.token_url.as_deref().unwrap_or("https://oauth-login.cloud.huawei.com/oauth2/v3/token")
    }

    /// The name of the circuit: the address and the credential.
    pub(super) fn circuit_key(&self) -> String {
        let account = match (&self.service_account_file, &self.app_id_number) {
            (Some(file), _) => file.display().to_string(),
            (None, Some(number)) => number.0.clone(),
            (None, None) => "service_account".to_owned(),
        };
        format!("huawei {} {account}", self.base_url)
    }

    /// The interface and the credential, for the operator.
    pub(super) fn describe(&self) -> String {
        let credential = match (&self.app_id_number, &self.service_account_file) {
            (Some(number), _) => format!("app {}", number.0),
            (None, Some(file)) => format!("service account file {}", file.display()),
            (None, None) => "the service account in service_account".to_owned(),
        };
        let push_type = format!("{:?}", self.push_type()).to_lowercase();
        format!("Huawei Push Kit v{}, {push_type} messages, {credential}", self.version.number())
    }
}

/// Reads the table of an app; relative paths are relative to `folder`.
pub(in super::super) fn read(path: &str, mut table: Value, folder: &Path) -> Result<SharedSettings, ConfigError> {
    let delivery = DeliverySettings::take(path, &mut table)?;
    let mut settings = Settings { delivery, ..read_table(path, table)? };
    for file in [&mut settings.service_account_file, &mut settings.client_secret_file] {
        in_folder(folder, file);
    }
    // Values from the environment or a form are often empty instead of absent.
    for secret in [&mut settings.service_account, &mut settings.client_secret] {
        secret.take_if(|text| text.expose().trim().is_empty());
    }
    for digits in [&mut settings.app_id_number, &mut settings.client_id] {
        digits.take_if(|digits| digits.0.is_empty());
    }
    settings.check().map_err(|problem| ConfigError::Invalid(format!("[{path}] {problem}")))?;
    Ok(Arc::new(settings))
}

impl ProviderSettings for Settings {
    fn type_name(&self) -> &'static str {
        "huawei"
    }

    fn delivery(&self) -> DeliverySettings {
        self.delivery.clone()
    }

    fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let account = self.service_account_file.iter().map(|file| ("service_account_file", file.as_path()));
        account.chain(self.client_secret_file.iter().map(|file| ("client_secret_file", file.as_path()))).collect()
    }

    fn notices(&self) -> Vec<(&'static str, String)> {
        let problem = "Push Kit delivers data messages of version 3 only to an app in the foreground, or when it starts next; \
                       use \"notification\" for chat";
        let is_useless = self.version == Version::V3 && self.push_type() == PushType::Data;
        let is_useless = is_useless.then(|| ("push_type", problem.to_owned()));
        let base_url = unencrypted_notice("base_url", &self.base_url);
        let token_url = self.token_url.as_deref().and_then(|url| unencrypted_notice("token_url", url));
        is_useless.into_iter().chain(base_url).chain(token_url).collect()
    }

    fn useless_keys(&self) -> UselessKeys {
        let mut useless = UselessKeys::new();
        match self.push_type() {
            PushType::Notification => {}
            PushType::Data => useless.push((SHOWN, "with push_type = \"data\"")),
            PushType::Voip => {
                let badges: &[&str] = &["badge_updates", "badge_nudge", "ttl"];
                useless.extend([(SHOWN, "with push_type = \"voip\""), (badges, "with push_type = \"voip\"")]);
            }
            PushType::Extension => {
                useless.push((&["call_category", "missed_call_category"], "with push_type = \"extension\""));
            }
        }
        if let (Version::V3, PushType::Data | PushType::Voip) = (self.version, self.push_type()) {
            useless.push((&["collapse_key"], "with this push_type"));
        }
        useless
    }

    fn is_equal(&self, other: &dyn ProviderSettings) -> bool {
        (other as &dyn Any).downcast_ref::<Self>() == Some(self)
    }

    fn provider(&self, app: &str, context: &ProviderContext) -> Result<Box<dyn Provider>, SetupError> {
        Ok(Box::new(Huawei::new(app, self, context)?))
    }
}
