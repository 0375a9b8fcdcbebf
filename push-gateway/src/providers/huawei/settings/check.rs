//! The checks of an app's settings that need no file and no connection.

use super::{PushType, Settings, Version};
use crate::providers::text_template::{TextTemplate, Texts};
use crate::providers::transport::plain_url;

/// The longest time that Push Kit stores a message, in seconds: 15 days.
const MAX_TTL: u64 = 1_296_000;

/// What a notification that Push Kit shows is made from.
pub(super) const SHOWN: &[&str] = &[
    "title_template",
    "title_fallback",
    "body_template",
    "body_fallback",
    "badge_class",
    "class",
    "category",
    "call_category",
    "missed_call_category",
    "click_action",
    "click_uri",
    "foreground_show",
    "notify_id",
    "app_message_id",
    "profile_id",
];

impl Settings {
    /// Checks everything that needs no file and no connection.
    ///
    /// # Errors
    /// The first problem; the text starts with the key.
    pub(in super::super) fn check(&self) -> Result<(), String> {
        match self.version {
            Version::V1 => self.check_v1()?,
            Version::V3 => self.check_v3()?,
        }
        if !(1..=MAX_TTL).contains(&self.ttl.get().as_secs()) {
            return Err(String::from("ttl: expected 1s to 15d; Push Kit stores nothing for longer"));
        }
        if !(-1..=100).contains(&self.collapse_key) {
            return Err(String::from("collapse_key: expected -1 (all messages stay) to 100"));
        }
        self.texts().map(drop)
    }

    /// The templates.
    ///
    /// # Errors
    /// The problem with its key.
    pub(in super::super) fn texts(&self) -> Result<Texts, String> {
        let template = |key: &str, text: &str| TextTemplate::parse(text).map_err(|problem| format!("{key}: {problem}"));
        for (key, text) in [("title_fallback", &self.title_fallback), ("body_fallback", &self.body_fallback)] {
            if text.trim().is_empty() {
                return Err(format!("{key}: is empty; Push Kit shows no notification without it"));
            }
        }
        Ok(Texts {
            title: template("title_template", &self.title_template)?,
            body: template("body_template", &self.body_template)?,
            title_fallback: self.title_fallback.clone(),
            body_fallback: self.body_fallback.clone(),
        })
    }

    fn check_v1(&self) -> Result<(), String> {
        let useless = [
            ("service_account_file", self.service_account_file.is_some()),
            ("service_account", self.service_account.is_some()),
            ("click_action", self.click_action.is_some()),
            ("click_uri", self.click_uri.is_some()),
            ("foreground_show", self.foreground_show.is_some()),
            ("notify_id", self.notify_id.is_some()),
            ("app_message_id", self.app_message_id.is_some()),
            ("profile_id", self.profile_id.is_some()),
            ("category", self.category.is_some()),
            ("call_category", self.call_category.is_some()),
            ("missed_call_category", self.missed_call_category.is_some()),
        ];
        if let Some((key, _)) = useless.iter().find(|(_, is_set)| *is_set) {
            return Err(format!("{key}: has no use with version = 1; remove it"));
        }
        if let PushType::Voip | PushType::Extension = self.push_type() {
            return Err(String::from("push_type: version = 1 has \"data\" and \"notification\" alone"));
        }
        let Some(number) = &self.app_id_number else {
            return Err(String::from("app_id_number: missing; it is the App ID in AppGallery Connect"));
        };
        if self.client_id.as_ref().is_some_and(|id| id.0.chars().any(char::is_whitespace)) {
            return Err(String::from("client_id: contains white space"));
        }
        if self.client_secret.is_none() && self.client_secret_file.is_none() {
            return Err(String::from("client_secret_file: missing; it is the App secret"));
        }
        plain_url("token_url", self.token_url())?;
        self.send_url(&number.0).map(drop)
    }

    fn check_v3(&self) -> Result<(), String> {
        let useless = [
            ("app_id_number", self.app_id_number.is_some()),
            ("client_id", self.client_id.is_some()),
            ("client_secret", self.client_secret.is_some()),
            ("client_secret_file", self.client_secret_file.is_some()),
            ("token_url", self.token_url.is_some()),
            ("badge_class", self.badge_class.is_some()),
        ];
        if let Some((key, _)) = useless.iter().find(|(_, is_set)| *is_set) {
            return Err(format!("{key}: has no use with version = 3; set version = 1, or remove it"));
        }
        if self.click_action.is_some() && self.click_uri.is_some() {
            return Err(String::from("click_action: has no use beside click_uri; keep one of them"));
        }
        if self.service_account.is_none() && self.service_account_file.is_none() {
            let problem = "missing; it is the JSON file of a service account of Push Kit (or set version = 1)";
            return Err(format!("service_account_file: {problem}"));
        }
        self.send_url("any").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::read;

    fn problem(table: Value) -> String {
        match read("apps.\"x\"", table, Path::new("")) {
            Ok(settings) => panic!("{settings:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn each_version_has_its_credential() {
        for table in [
            json!({ "service_account_file": "x" }),
            json!({ "version": 1, "app_id_number": 100_001, "client_secret": "x" }),
            json!({ "version": 1, "app_id_number": "100001", "client_id": "5", "client_secret_file": "x" }),
            json!({ "service_account": "{}", "push_type": "voip", "ttl": "15d", "collapse_key": 100 }),
            json!({ "service_account_file": "x", "push_type": "extension", "max_concurrent": 1 }),
        ] {
            assert!(read("apps.\"x\"", table.clone(), Path::new("")).is_ok(), "{table}");
        }
    }

    #[test]
    fn each_mistake_names_its_key() {
        let with = |key: &str, value: Value| {
            let mut table = json!({ "service_account_file": "x" });
            table[key] = value;
            table
        };
        let v1 = |key: &str, value: Value| {
            let mut table = json!({ "version": 1, "app_id_number": 1, "client_secret": "x" });
            table[key] = value;
            table
        };
        for (table, expected) in [
            (json!({}), "service_account_file: missing"),
            (json!({ "version": 1 }), "app_id_number: missing"),
            (json!({ "version": 1, "app_id_number": 1 }), "client_secret_file: missing"),
            (with("version", json!(2)), "version: expected 3"),
            (with("client_id", json!("x")), "client_id: has no use with version = 3"),
            (with("badge_class", json!("x")), "badge_class: has no use"),
            (with("token_url", json!("https://x.example")), "token_url: has no use"),
            (with("ttl", json!("16d")), "ttl: expected"),
            (with("ttl", json!("0s")), "ttl: expected"),
            (with("collapse_key", json!(101)), "collapse_key: expected"),
            (with("base_url", json!("push.example")), "base_url: expected"),
            (with("title_template", json!("{title}")), "title_template: has something else"),
            (with("body_fallback", json!(" ")), "body_fallback: is empty"),
            (with("push_type", json!("alert")), "push_type: "),
            (with("notify_id", json!("rooms")), "notify_id: "),
            (with("notify_id", json!(-1)), "notify_id: "),
            (with("app_message_id", json!("event")), "app_message_id: "),
            (v1("notify_id", json!("room")), "notify_id: has no use with version = 1"),
            (v1("profile_id", json!("x")), "profile_id: has no use with version = 1"),
            (with("max_concurrent", json!(0)), "max_concurrent: "),
            (with("nonsense", json!(0)), "nonsense: unknown key"),
            (v1("push_type", json!("voip")), "push_type: version = 1 has"),
            (v1("service_account_file", json!("x")), "has no use with version = 1"),
            (v1("token_url", json!("x.example")), "token_url: expected"),
            (v1("call_category", json!("VOIP")), "call_category: has no use"),
            (v1("app_id_number", json!("a/b")), "app_id_number: expected"),
            (v1("app_id_number", json!(-1)), "app_id_number: "),
        ] {
            let error = problem(table.clone());
            assert!(error.starts_with("[apps.\"x\"] ") && error.contains(expected), "{table}: {error}");
        }
    }
}
