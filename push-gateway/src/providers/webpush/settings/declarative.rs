//! The settings of declarative messages, which a browser shows without a service worker.

use url::Url;

use super::Settings;
use crate::providers::text_template::{TextTemplate, Texts};

/// The keys, which only apps of type `webpush` have.
pub(super) const KEYS: &[&str] = &[
    "declarative",
    "navigate_template",
    "title_template",
    "title_fallback",
    "body_template",
    "body_fallback",
    "lang",
    "icon",
];

/// What declarative messages are made from.
#[derive(Clone, Debug)]
pub(in super::super) struct Declarative {
    pub(in super::super) texts: Texts,
    /// The page that a message opens.
    pub(in super::super) navigate: TextTemplate,
    pub(in super::super) lang: String,
    pub(in super::super) icon: Option<String>,
}

impl Settings {
    /// The templates; `None` if messages are not declarative.
    ///
    /// # Errors
    /// The problem, with its key.
    pub(in super::super) fn declarative(&self) -> Result<Option<Declarative>, String> {
        let template = |key: &str, text: &str| TextTemplate::parse(text).map_err(|problem| format!("{key}: {problem}"));
        let texts = Texts {
            title: template("title_template", &self.title_template)?,
            body: template("body_template", &self.body_template)?,
            title_fallback: self.title_fallback.clone(),
            body_fallback: self.body_fallback.clone(),
        };
        if self.title_fallback.trim().is_empty() {
            return Err(String::from("title_fallback: is empty; browsers show no message without a title"));
        }
        let navigate = match self.navigate_template.as_deref().filter(|text| !text.is_empty()) {
            Some(text) => Some(template("navigate_template", text).and_then(checked)?),
            None => None,
        };
        if let Some(icon) = &self.icon
            && !is_https(icon)
        {
            return Err(String::from("icon: expected an https URL"));
        }
        if !self.declarative {
            return Ok(None);
        }
        let problem = "missing; declarative messages open a page, such as \"https://app.example.org/#/room/{room_id}/{event_id}\"";
        let navigate = navigate.ok_or_else(|| format!("navigate_template: {problem}"))?;
        let (lang, icon) = (self.lang.clone(), self.icon.clone());
        Ok(Some(Declarative { texts, navigate, lang, icon }))
    }
}

/// Checks that no value decides about the host.
fn checked(navigate: TextTemplate) -> Result<TextTemplate, String> {
    let start = navigate.start();
    let has_host = is_https(start) && start.get("https://".len()..).is_some_and(|rest| rest.contains(['/', '?', '#']));
    if has_host {
        Ok(navigate)
    } else {
        Err(String::from("navigate_template: expected an https URL with its host and a path, before the first value"))
    }
}

fn is_https(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.has_host())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::super::{Form, Settings};

    const NAVIGATE: &str = "https://app.example.org/#/room/{room_id}/{event_id}";

    #[expect(clippy::needless_pass_by_value, reason = "tests write json!(…) in place")]
    fn read(more: Value) -> Result<Settings, String> {
        let mut table = json!({ "vapid_private_key": "x", "vapid_contact": "a@example.com", "declarative": true });
        table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Settings::read("apps.\"x\"", table, Path::new(""), Form::Subscription).map_err(|error| error.to_string())
    }

    #[test]
    fn a_declarative_message_opens_an_https_page() {
        let settings = read(json!({ "navigate_template": NAVIGATE })).unwrap();
        assert!(settings.declarative().unwrap().is_some());
        let settings = read(json!({ "declarative": false, "navigate_template": NAVIGATE })).unwrap();
        assert!(settings.declarative().unwrap().is_none());
        for (more, expected) in [
            (json!({}), "navigate_template: missing"),
            (json!({ "navigate_template": "" }), "navigate_template: missing"),
            (json!({ "navigate_template": "http://app.example.org/{room_id}" }), "navigate_template: expected"),
            (json!({ "navigate_template": "/room/{room_id}" }), "navigate_template: expected"),
            (json!({ "navigate_template": "https://{room_id}/" }), "navigate_template: expected"),
            (json!({ "navigate_template": "https://app.example.org{room_id}" }), "navigate_template: expected"),
            (
                json!({ "navigate_template": "https://app.example.org/{roomid}" }),
                "navigate_template: has something else",
            ),
            (json!({ "navigate_template": NAVIGATE, "title_template": "{x}" }), "title_template: has something else"),
            (json!({ "navigate_template": NAVIGATE, "body_template": "{" }), "body_template: has something else"),
            (json!({ "navigate_template": NAVIGATE, "title_fallback": "" }), "title_fallback: is empty"),
            (json!({ "navigate_template": NAVIGATE, "icon": "x.png" }), "icon: expected"),
        ] {
            let error = read(more.clone()).unwrap_err();
            assert!(error.contains(expected), "{more}: {error}");
        }
    }
}
