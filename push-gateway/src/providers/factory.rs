//! The settings of an app by its `type`, with those of the endpoints that its pushkeys may name.
//!
//! Invariant: the only module that knows all providers.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};
use shared::config::ConfigError;

use super::app_table::read_table;
use super::webpush::settings::{Form, KEYS_IN_OTHER_TYPES, Settings as EndpointSettings};
use super::{ProviderSettings, apns, fcm, http, huawei};
use crate::notification::relayed::Layout;
use crate::relay::app::{self as relay, AppRelay};

/// The push services by the `type` of an app.
const TYPES: [(&str, ReadSettings); 6] = [
    ("apns", |path, table, folder| {
        with_relay(path, table, |table| apns::settings::read(path, table, folder).map(AppSettings::alone))
    }),
    ("fcm", |path, table, folder| with_relay(path, table, |table| read_fcm(path, table, folder))),
    ("webpush", read_webpush),
    ("unifiedpush", |path, table, folder| {
        Ok(AppSettings::alone(Arc::new(EndpointSettings::read(path, table, folder, Form::Url)?)))
    }),
    ("huawei", |path, table, folder| huawei::settings::read(path, table, folder).map(AppSettings::alone)),
    ("http", |path, table, folder| http::settings::read(path, table, folder).map(AppSettings::alone)),
];

/// Reads the table of an app; errors start with `path`, and relative paths are relative to the folder.
type ReadSettings = fn(path: &str, table: Value, folder: &Path) -> Result<AppSettings, ConfigError>;

/// The settings of one app: those of its own push service, and those of the endpoints that its pushkeys may name.
#[derive(Clone, Debug)]
pub(crate) struct AppSettings {
    /// By the `type` of the app.
    pub(crate) own: Arc<dyn ProviderSettings>,
    /// For pushkeys that are URLs.
    pub(crate) unifiedpush: Option<Arc<dyn ProviderSettings>>,
    /// For pushkeys that are subscriptions of browsers.
    pub(crate) webpush: Option<Arc<dyn ProviderSettings>>,
    /// For homeservers that send Web Push.
    pub(crate) relay: AppRelay,
}

impl AppSettings {
    fn alone(own: Arc<dyn ProviderSettings>) -> Self {
        Self { own, unifiedpush: None, webpush: None, relay: AppRelay::default() }
    }

    /// The settings of all push services, the app's own first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<dyn ProviderSettings>> {
        std::iter::once(&self.own).chain(&self.unifiedpush).chain(&self.webpush)
    }

    /// The files whose content the app uses, all of them secrets, with their keys.
    pub(crate) fn secret_files(&self) -> Vec<(&'static str, &Path)> {
        let mut files: Vec<_> = self.all().flat_map(|settings| settings.secret_files()).collect();
        files.sort_unstable();
        files.dedup();
        files
    }

    /// The same files without their keys.
    pub(crate) fn watched_files(&self) -> Vec<&Path> {
        self.secret_files().into_iter().map(|(_, file)| file).collect()
    }

    /// Warnings about values that work only in part, with their keys.
    pub(crate) fn notices(&self) -> Vec<(&'static str, String)> {
        let mut notices: Vec<_> = self.all().flat_map(|settings| settings.notices()).collect();
        notices.dedup();
        notices
    }

    /// Whether `other` has the same types and equal values.
    pub(crate) fn is_equal(&self, other: &Self) -> bool {
        if self.relay != other.relay {
            return false;
        }
        let (mut mine, mut others) = (self.all(), other.all());
        loop {
            match (mine.next(), others.next()) {
                (None, None) => return true,
                (Some(one), Some(other)) if one.is_equal(other.as_ref()) => {}
                _ => return false,
            }
        }
    }
}

/// Reads the table of the app with this pattern by its `type`.
///
/// # Errors
/// [`ConfigError`] names the key.
pub(crate) fn read_settings(pattern: &str, table: Value, folder: &Path) -> Result<AppSettings, ConfigError> {
    let path = format!("apps.\"{pattern}\"");
    if pattern.is_empty() {
        return Err(ConfigError::Invalid(format!("[{path}]: expected an app_id, or a pattern with * or ?")));
    }
    let Value::Object(mut table) = table else {
        return Err(ConfigError::Invalid(format!("[{path}]: expected a table")));
    };
    let type_name = table.remove("type");
    let type_name = type_name.as_ref().and_then(Value::as_str);
    match TYPES.iter().find(|(name, _)| Some(*name) == type_name) {
        Some((_, read)) => read(&path, Value::Object(table), folder),
        None => Err(ConfigError::Invalid(format!("[{path}] type: {}", wrong_type(type_name)))),
    }
}

/// An app whose devices are also reached through the relay.
fn with_relay(
    path: &str,
    mut table: Value,
    read: impl FnOnce(Value) -> Result<AppSettings, ConfigError>,
) -> Result<AppSettings, ConfigError> {
    let of_relay = match &mut table {
        Value::Object(table) => relay::KEYS.iter().filter_map(|key| table.remove_entry(*key)).collect(),
        _ => Map::new(),
    };
    let relay: AppRelay = read_table(path, Value::Object(of_relay))?;
    let is_voip = table.get("push_type").is_some_and(|push_type| push_type == "voip");
    let settings = read(table)?;
    let wrong = |problem: &str| Err(ConfigError::Invalid(format!("[{path}] {problem}")));
    if relay.relay && is_voip {
        return wrong(
            "relay: iOS terminates an app that gets a VoIP push without a call, and the relay cannot see calls; use the app \
             of ordinary notifications",
        );
    }
    if relay.relay_layout == Layout::Toot && settings.own.type_name() != "apns" {
        return wrong("relay_layout: \"toot\" is for apps of type \"apns\"; remove it");
    }
    Ok(AppSettings { relay, ..settings })
}

/// An app of FCM, whose pushkeys may also name endpoints.
fn read_fcm(path: &str, mut table: Value, folder: &Path) -> Result<AppSettings, ConfigError> {
    /// The keys that count for both.
    const COMMON: [&str; 2] = ["ttl", "call_types"];
    let mut of_endpoints = Map::new();
    if let Value::Object(table) = &mut table {
        let moved = KEYS_IN_OTHER_TYPES.iter().filter_map(|key| table.remove_entry(*key));
        of_endpoints.extend(moved);
        let common = COMMON.iter().filter_map(|key| Some(((*key).to_owned(), table.get(*key)?.clone())));
        of_endpoints.extend(common);
    }
    let own = fcm::settings::read(path, table, folder)?;
    let of_endpoints = Value::Object(of_endpoints);
    let settings = EndpointSettings::read_in_other_type(path, of_endpoints, folder, Form::Subscription)?;
    let (urls, subscriptions) = (settings.for_urls(), settings.for_subscriptions());
    let shared = |settings: EndpointSettings| -> Arc<dyn ProviderSettings> { Arc::new(settings) };
    Ok(AppSettings { unifiedpush: urls.map(shared), webpush: subscriptions.map(shared), ..AppSettings::alone(own) })
}

/// An app of Web Push, whose pushkeys may also be URLs.
fn read_webpush(path: &str, table: Value, folder: &Path) -> Result<AppSettings, ConfigError> {
    let own = EndpointSettings::read(path, table, folder, Form::Subscription)?;
    let urls = own.for_urls().map(|urls| -> Arc<dyn ProviderSettings> { Arc::new(urls) });
    Ok(AppSettings { unifiedpush: urls, ..AppSettings::alone(Arc::new(own)) })
}

fn wrong_type(name: Option<&str>) -> String {
    let known = || TYPES.map(|(name, _)| format!("\"{name}\"")).join(", ");
    match name {
        Some("gcm") => "\"gcm\" is \"fcm\" here, with service_account_file".to_owned(),
        Some(other) => {
            let nearest = TYPES.iter().min_by_key(|(known, _)| strsim::damerau_levenshtein(known, other));
            format!("unknown type \"{other}\": did you mean \"{}\"?", nearest.map_or("", |(name, _)| name))
        }
        None => format!("missing; expected one of {}", known()),
    }
}
