//! `[apps."pattern"]`: an app and how its push service is reached.
//!
//! Invariant: `type` decides which keys there are; a type that this version does not have is refused by its name.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::config::{ConfigError, HumanDuration, section};

use super::in_folder;
use crate::providers::{apns, fcm};

/// The types that this version has.
const TYPES: [&str; 2] = ["apns", "fcm"];

/// The types that a later version will have.
const LATER_TYPES: [&str; 3] = ["webpush", "unifiedpush", "http"];

/// The settings of one app.
#[derive(Clone, Debug)]
pub(crate) enum AppSettings {
    /// `type = "apns"`
    Apns(Box<apns::settings::Settings>),
    /// `type = "fcm"`
    Fcm(Box<fcm::settings::Settings>),
}

/// What is the same for every type of app.
#[derive(Clone, Debug)]
pub(crate) struct Delivering {
    /// Whether payloads carry counts.
    pub(crate) send_badge_counts: bool,
    /// Deliveries at the same time.
    pub(crate) max_concurrent: usize,
    /// The waits between attempts.
    pub(crate) retry_waits: Vec<Duration>,
}

impl AppSettings {
    /// Reads the table of the app with this pattern; its relative paths are relative to `folder`.
    pub(super) fn read(pattern: &str, table: Value, folder: &Path) -> Result<Self, ConfigError> {
        let path = format!("apps.\"{pattern}\"");
        if pattern.is_empty() {
            return Err(ConfigError::Invalid(format!("[{path}]: expected an app_id, or a pattern with * or ?")));
        }
        let Value::Object(mut table) = table else {
            return Err(ConfigError::Invalid(format!("[{path}]: expected a table")));
        };
        let kind = table.remove("type");
        let table = Value::Object(table);
        match kind.as_ref().and_then(Value::as_str) {
            Some("apns") => {
                let mut settings: apns::settings::Settings = section(&path, table)?;
                for file in [&mut settings.key_file, &mut settings.cert_file, &mut settings.cert_password_file] {
                    in_folder(folder, file);
                }
                Ok(Self::Apns(Box::new(settings)))
            }
            Some("fcm") => {
                let mut settings: fcm::settings::Settings = section(&path, table)?;
                settings.resolve_paths(folder);
                settings.check().map_err(|error| ConfigError::Invalid(format!("[{path}] {error}")))?;
                Ok(Self::Fcm(Box::new(settings)))
            }
            other => Err(ConfigError::Invalid(format!("[{path}] type: {}", wrong_type(other)))),
        }
    }

    /// The name of the type.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Apns(_) => "apns",
            Self::Fcm(_) => "fcm",
        }
    }

    /// What stands and falls together: a credential at a push service. Told in logs and notes, so nothing secret.
    pub(crate) fn circuit(&self) -> String {
        match self {
            Self::Apns(settings) => {
                let place = settings.endpoint.clone().unwrap_or_else(|| format!("{:?}", settings.platform));
                let credential = match (&settings.cert_file, &settings.key_id, &settings.team_id) {
                    (Some(file), _, _) => file.display().to_string(),
                    (None, key, team) => {
                        format!("{}/{}", team.as_deref().unwrap_or("-"), key.as_deref().unwrap_or("-"))
                    }
                };
                format!("apns {place} {credential}")
            }
            Self::Fcm(settings) => {
                let file = settings.service_account_file.as_ref().map(|file| file.display().to_string());
                let account = file.unwrap_or_else(|| "metadata".to_owned());
                format!("fcm {} {account}", settings.project_id.as_deref().unwrap_or("-"))
            }
        }
    }

    /// What is the same for every type.
    pub(crate) fn delivering(&self) -> Delivering {
        let waits = |waits: &[HumanDuration]| waits.iter().map(|wait| wait.get()).collect();
        match self {
            Self::Apns(settings) => Delivering {
                send_badge_counts: settings.send_badge_counts,
                max_concurrent: settings.max_concurrent,
                retry_waits: waits(settings.retry_waits.as_slice()),
            },
            Self::Fcm(settings) => Delivering {
                send_badge_counts: settings.send_badge_counts,
                max_concurrent: settings.max_concurrent,
                retry_waits: waits(settings.retry_waits.as_slice()),
            },
        }
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> Vec<&Path> {
        let files = match self {
            Self::Apns(settings) => vec![&settings.key_file, &settings.cert_file, &settings.cert_password_file],
            Self::Fcm(settings) => vec![&settings.service_account_file],
        };
        files.into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// A digest of all of it, secrets and the contents of the files included: whether it is what it was.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        match self {
            Self::Apns(settings) => {
                hash.update(format!("{settings:?}"));
                for secret in [&settings.key, &settings.cert_password].into_iter().flatten() {
                    hash.update(Sha256::digest(secret.expose()));
                }
            }
            Self::Fcm(settings) => hash.update(format!("{settings:?}")),
        }
        for file in self.files() {
            hash.update(Sha256::digest(std::fs::read(file).unwrap_or_default()));
        }
        hash.finalize().into()
    }

    /// How the gateway proves to the push service that it may speak for the app; without anything secret.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Apns(settings) => {
                let platform = match settings.platform {
                    apns::settings::Platform::Production => "production",
                    apns::settings::Platform::Sandbox => "sandbox",
                };
                let place = settings.endpoint.as_deref().unwrap_or(platform);
                let credential = match (&settings.cert_file, &settings.key_id, &settings.team_id) {
                    (Some(file), _, _) => format!("certificate {}", file.display()),
                    (None, Some(key), Some(team)) => format!("key {key} of team {team}"),
                    (None, _, _) => "no credential".to_owned(),
                };
                format!("APNs ({place}), topic {}, {credential}", settings.full_topic())
            }
            Self::Fcm(settings) => {
                let credential = match &settings.service_account_file {
                    Some(file) => format!("service account {}", file.display()),
                    None => "the metadata server's account".to_owned(),
                };
                let project = settings.project_id.as_deref().map(|id| format!("project {id}, "));
                format!("FCM, {}{credential}", project.unwrap_or_default())
            }
        }
    }
}

fn wrong_type(name: Option<&str>) -> String {
    match name {
        Some(later) if LATER_TYPES.contains(&later) => {
            format!("\"{later}\" comes in a later version; this one has \"apns\" and \"fcm\"")
        }
        Some("gcm") => "\"gcm\" is \"fcm\" here, with service_account_file".to_owned(),
        Some(other) => {
            let nearest = TYPES.into_iter().min_by_key(|known| strsim::damerau_levenshtein(known, other));
            format!("unknown type \"{other}\": did you mean \"{}\"?", nearest.unwrap_or_default())
        }
        None => "missing; expected \"apns\" or \"fcm\"".to_owned(),
    }
}
