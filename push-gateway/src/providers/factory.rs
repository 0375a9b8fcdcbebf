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
    /// The keys that have no effect, with the reason; of those in the table.
    useless: Vec<(&'static str, &'static str)>,
}

impl AppSettings {
    fn alone(own: Arc<dyn ProviderSettings>) -> Self {
        let useless = [own.useless_keys(), own.delivery().useless_keys()].concat();
        let mut settings =
            Self { own, unifiedpush: None, webpush: None, relay: AppRelay::default(), useless: Vec::new() };
        settings.add_useless(&useless);
        settings
    }

    fn add_useless(&mut self, keys: &[(&'static [&'static str], &'static str)]) {
        let each = keys.iter().flat_map(|(keys, reason)| keys.iter().map(move |key| (*key, *reason)));
        self.useless.extend(each);
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
        notices.extend(self.useless.iter().map(|(key, reason)| (*key, format!("has no effect {reason}; remove it"))));
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
    if !table.is_empty() && !pattern.contains('.') && table.values().all(Value::is_object) {
        let problem = "expected the app_id in quotes, such as [apps.\"com.example.app\"]";
        return Err(ConfigError::Invalid(format!("[{path}]: {problem}")));
    }
    let type_name = table.remove("type");
    let type_name = type_name.as_ref().and_then(Value::as_str);
    match TYPES.iter().find(|(name, _)| Some(*name) == type_name) {
        Some((name, read)) => {
            let written: Vec<String> = table.keys().cloned().collect();
            let settings = read(&path, Value::Object(table), folder);
            let mut settings = settings.map_err(|error| of_other_type(&path, name, error, folder))?;
            settings.useless.retain(|(key, _)| written.iter().any(|written| written == key));
            Ok(settings)
        }
        None => Err(ConfigError::Invalid(format!("[{path}] type: {}", wrong_type(type_name)))),
    }
}

/// The error for a key that apps of this type do not have; it says whether another type has it.
fn of_other_type(path: &str, type_name: &str, error: ConfigError, folder: &Path) -> ConfigError {
    fn unknown<'a>(path: &str, error: &'a str) -> Option<&'a str> {
        let (key, _) = error.strip_prefix('[')?.strip_prefix(path)?.strip_prefix("] ")?.split_once(": unknown key")?;
        Some(key)
    }
    let text = error.to_string();
    let Some(key) = unknown(path, &text) else { return error };
    let is_of_other = TYPES.iter().any(|(name, read)| {
        // A type that has the key calls it anything but unknown.
        let table = Value::Object(Map::from_iter([(key.to_owned(), Value::Object(Map::new()))]));
        let found = read(path, table, folder).map_err(|error| error.to_string());
        *name != type_name && found.err().is_none_or(|error| unknown(path, &error).is_none())
    });
    if is_of_other {
        ConfigError::Invalid(format!("[{path}] {key}: has no effect for type \"{type_name}\"; remove it"))
    } else {
        error
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
    let mut settings = AppSettings { relay, ..settings };
    if !settings.relay.relay {
        // All but the key itself.
        settings.add_useless(&[(&relay::KEYS[1..], "without relay = true")]);
    } else if settings.own.type_name() == "fcm" {
        settings.add_useless(&[(&["background_urgencies"], "for type \"fcm\"")]);
    }
    Ok(settings)
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
    let mut app = AppSettings::alone(own);
    (app.unifiedpush, app.webpush) = (urls.map(shared), subscriptions.map(shared));
    app.add_useless(&settings.useless_keys());
    Ok(app)
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{AppSettings, read_settings};

    /// The smallest table of each type.
    fn table(type_name: &str) -> Value {
        match type_name {
            "apns" => json!({ "topic": "a.b", "key_file": "x" }),
            "fcm" | "huawei" => json!({ "service_account_file": "x" }),
            "webpush" => json!({ "vapid_private_key_file": "x", "vapid_contact": "a@example.org" }),
            "http" => json!({ "url": "https://bridge.example/" }),
            _ => json!({}),
        }
    }

    fn read(type_name: &str, more: &Value) -> Result<AppSettings, String> {
        let mut table = table(type_name);
        let members = table.as_object_mut().unwrap();
        members.insert("type".to_owned(), type_name.into());
        members.extend(more.as_object().unwrap().clone());
        read_settings("x", table, Path::new("")).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_of_another_type_is_an_error_that_says_so() {
        for (type_name, key) in [
            ("webpush", "topic"),
            ("unifiedpush", "project_id"),
            ("apns", "vapid_contact"),
            ("apns", "up_ttl"),
            ("fcm", "cert_file"),
            ("huawei", "relay"),
            ("http", "ttl"),
        ] {
            let error = read(type_name, &json!({ key: "x" })).unwrap_err();
            assert_eq!(error, format!("[apps.\"x\"] {key}: has no effect for type \"{type_name}\"; remove it"));
        }
        let error = read("apns", &json!({ "topik": "x" })).unwrap_err();
        assert_eq!(error, "[apps.\"x\"] topik: unknown key; did you mean topic?");
    }

    #[test]
    fn a_key_without_effect_beside_the_others_is_noted() {
        for (type_name, more, expected) in [
            ("apns", json!({ "voip_events": "calls" }), "voip_events: has no effect without push_type"),
            ("apns", json!({ "fallback_endpoint": "https://x:1" }), "fallback_endpoint: has no effect without sandbox"),
            ("apns", json!({ "cert_password": "x" }), "cert_password: has no effect without cert_file"),
            ("apns", json!({ "relay_layout": "toot" }), "relay_layout: has no effect without relay = true"),
            ("apns", json!({ "nudge_interval": "1m" }), "nudge_interval: has no effect without badge_updates"),
            ("fcm", json!({ "metadata_url": "https://x/" }), "metadata_url: has no effect without credentials"),
            ("fcm", json!({ "flatten": "strings", "data_layout": "json" }), "flatten: has no effect with data_layout"),
            ("fcm", json!({ "unifiedpush": false, "up_ttl": "1h" }), "up_ttl: has no effect with unifiedpush = false"),
            ("fcm", json!({ "vapid_contact": "a@b.c" }), "vapid_contact: has no effect without vapid_private_key"),
            ("fcm", json!({ "unifiedpush": false, "allow_http": true }), "allow_http: has no effect with unifiedpush"),
            (
                "fcm",
                json!({ "relay": true, "background_urgencies": ["low"] }),
                "background_urgencies: has no effect for type",
            ),
            ("webpush", json!({ "title_fallback": "New" }), "title_fallback: has no effect without declarative = true"),
            ("webpush", json!({ "unifiedpush": false, "forward_device": true }), "forward_device: has no effect with"),
            ("huawei", json!({ "push_type": "voip", "category": "IM" }), "category: has no effect with push_type"),
            ("huawei", json!({ "push_type": "voip", "collapse_key": 1 }), "collapse_key: has no effect with this"),
            ("http", json!({ "nudge_interval": "1m" }), "nudge_interval: has no effect without"),
        ] {
            let notices = read(type_name, &more).unwrap().notices();
            let notices: Vec<String> = notices.into_iter().map(|(key, text)| format!("{key}: {text}")).collect();
            let found = notices.iter().filter(|notice| notice.starts_with(expected) && notice.ends_with("; remove it"));
            assert_eq!(found.count(), 1, "{type_name} {more}: {notices:?}");
        }
        for type_name in ["apns", "fcm", "webpush", "unifiedpush", "huawei", "http"] {
            assert_eq!(read(type_name, &json!({})).unwrap().notices(), [], "{type_name}");
        }
        for (type_name, more) in [
            ("apns", json!({ "push_type": "voip", "voip_events": "all" })),
            ("apns", json!({ "badge_updates": "nudge", "nudge_interval": "1m" })),
            ("apns", json!({ "relay": true, "relay_layout": "toot" })),
            ("fcm", json!({ "up_ttl": "1h", "forward_device": true })),
            ("webpush", json!({ "declarative": true, "navigate_template": "https://x.example/", "lang": "de" })),
            ("huawei", json!({ "notify_id": "room", "collapse_key": 1, "call_category": "VOIP" })),
        ] {
            assert_eq!(read(type_name, &more).unwrap().notices(), [], "{type_name} {more}");
        }
    }

    #[test]
    fn plain_http_beyond_the_own_host_is_noted() {
        for (type_name, more, keys) in [
            ("fcm", json!({ "base_url": "http://relay.example" }), vec!["base_url"]),
            ("fcm", json!({ "base_url": "http://127.0.0.1:1" }), vec![]),
            ("huawei", json!({ "base_url": "http://relay.example" }), vec!["base_url"]),
            ("http", json!({ "url": "http://bridge.example/" }), vec!["url"]),
            ("http", json!({ "url": "http://[::1]:8/" }), vec![]),
        ] {
            let notices = read(type_name, &more).unwrap().notices();
            assert_eq!(notices.iter().map(|(key, _)| *key).collect::<Vec<_>>(), keys, "{type_name} {more}");
        }
        let hms = json!({ "type": "huawei", "version": 1, "app_id_number": 1, "client_secret": "x",
            "token_url": "http://x.example", "base_url": "http://x.example" });
        let notices = read_settings("x", hms, Path::new("")).unwrap().notices();
        assert_eq!(notices.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ["base_url", "token_url"]);
    }
}
