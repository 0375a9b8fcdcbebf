//! The terms of service, and whether an account has accepted them (specification, "Terms of service").
//!
//! Invariant: an account accepts a URL, never a version. A policy with a new URL has to be accepted again.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Map, Value, json};
use url::Url;

/// Why the terms are rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    #[error("the terms are neither YAML nor JSON: {0}")]
    Syntax(String),
    #[error("the terms need an object \"policies\" (or \"docs\") at the top")]
    NoPolicies,
    #[error("policy \"{policy}\": {problem}")]
    Policy { policy: String, problem: String },
}

/// All policies. Without policies every account has accepted the terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    policies: BTreeMap<String, Policy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Policy {
    version: String,
    /// Whether accounts must accept it. An extension of this server, absent on the wire.
    required: bool,
    /// By language.
    texts: BTreeMap<String, Text>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    name: String,
    url: String,
}

impl Terms {
    /// Parses a terms file, YAML or JSON, of the wire form `{"policies": {id: {"version", lang: {"name", "url"}}}}` or of
    /// the form `{master_version, docs: {id: {version, langs: {lang: {name, url}}}}}`, or of ma1sd's configuration
    /// `{policy: {policies: {id: {version, terms: {lang: {name, url}}, regexp}}}}`.
    ///
    /// # Errors
    /// [`TermsError`] with the id of the policy and the problem.
    pub fn parse(text: &str) -> Result<Self, TermsError> {
        // JSON is YAML. The parser rejects duplicate keys.
        let options = serde_saphyr::options! { with_snippet: false };
        let value: Value = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| TermsError::Syntax(error.to_string()))?;
        let value = value.get("policy").filter(|policy| policy.get("policies").is_some()).unwrap_or(&value);
        match (value.get("policies"), value.get("docs")) {
            (Some(Value::Object(policies)), None) => Self::from_policies(policies),
            (None, Some(Value::Object(docs))) => Self::from_docs(docs),
            _ => Err(TermsError::NoPolicies),
        }
    }

    /// Reads policies of the wire form, by id: the values of `[terms.policies.<id>]`.
    ///
    /// # Errors
    /// As for [`Terms::parse`].
    pub fn from_policies(policies: &Map<String, Value>) -> Result<Self, TermsError> {
        Self::read(policies, |policy| {
            if let Some(Value::Object(texts)) = policy.get("terms").filter(|terms| terms.get("url").is_none()) {
                return Ok(texts.clone());
            }
            let texts = policy.iter().filter(|(key, _)| !matches!(key.as_str(), "version" | "required"));
            Ok(texts.map(|(language, text)| (language.clone(), text.clone())).collect())
        })
    }

    fn from_docs(docs: &Map<String, Value>) -> Result<Self, TermsError> {
        Self::read(docs, |doc| match doc.get("langs") {
            Some(Value::Object(texts)) => Ok(texts.clone()),
            Some(_) => Err("\"langs\" is not an object".to_owned()),
            None => Err("\"langs\" is missing".to_owned()),
        })
    }

    /// Reads all policies; `texts_of` returns the texts of one policy by language.
    fn read(
        policies: &Map<String, Value>,
        texts_of: impl Fn(&Map<String, Value>) -> Result<Map<String, Value>, String>,
    ) -> Result<Self, TermsError> {
        let read_one = |value: &Value| {
            let policy = value.as_object().ok_or("it is not an object")?;
            Policy::read(policy, &texts_of(policy)?)
        };
        let read = policies.iter().map(|(id, value)| match read_one(value) {
            Ok(policy) => Ok((id.clone(), policy)),
            Err(problem) => Err(TermsError::Policy { policy: id.clone(), problem }),
        });
        Ok(Self { policies: read.collect::<Result<_, _>>()? })
    }

    /// The response of `GET terms`: `{"policies": {id: {"version", lang: {"name", "url"}}}}`.
    pub fn to_wire(&self) -> Value {
        let policies: Map<String, Value> =
            self.policies.iter().map(|(id, policy)| (id.clone(), policy.to_wire())).collect();
        json!({ "policies": policies })
    }

    /// Whether these URLs suffice: at least one language of each required policy.
    pub fn satisfied(&self, accepted_urls: &HashSet<String>) -> bool {
        let mut required = self.policies.values().filter(|policy| policy.required);
        required.all(|policy| policy.texts.values().any(|text| accepted_urls.contains(&text.url)))
    }

    /// Whether `url` is the URL of a policy in some language.
    pub fn known(&self, url: &str) -> bool {
        self.policies.values().any(|policy| policy.texts.values().any(|text| text.url == url))
    }
}

impl Policy {
    fn read(policy: &Map<String, Value>, texts: &Map<String, Value>) -> Result<Self, String> {
        let version = match policy.get("version") {
            Some(Value::String(version)) => version.clone(),
            // ma1sd's form writes it without quotes.
            Some(Value::Number(version)) if policy.contains_key("terms") => version.to_string(),
            Some(_) => return Err("\"version\" is not a text; put it in quotes".to_owned()),
            None => return Err("\"version\" is missing".to_owned()),
        };
        let required = match policy.get("required") {
            None => true,
            Some(Value::Bool(required)) => *required,
            Some(_) => return Err("\"required\" is neither true nor false".to_owned()),
        };
        if texts.is_empty() {
            return Err("it has no language, such as \"en\", with \"name\" and \"url\"".to_owned());
        }
        let texts = texts.iter().map(|(language, text)| {
            let text = Text::read(text).map_err(|problem| format!("language \"{language}\": {problem}"))?;
            Ok((language.clone(), text))
        });
        Ok(Self { version, required, texts: texts.collect::<Result<_, String>>()? })
    }

    fn to_wire(&self) -> Value {
        let mut wire = Map::from_iter([("version".to_owned(), json!(self.version))]);
        for (language, text) in &self.texts {
            wire.insert(language.clone(), json!({ "name": text.name, "url": text.url }));
        }
        Value::Object(wire)
    }
}

impl Text {
    fn read(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("it is not an object with \"name\" and \"url\"")?;
        let member = |key: &str| match object.get(key) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
            Some(_) => Err(format!("\"{key}\" is not a text or is empty")),
            None => Err(format!("\"{key}\" is missing")),
        };
        let (name, url) = (member("name")?, member("url")?);
        let absolute = Url::parse(&url).is_ok_and(|parsed| matches!(parsed.scheme(), "https" | "http"));
        if absolute { Ok(Self { name, url }) } else { Err("\"url\" is not an absolute https or http URL".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use serde_json::{Value, json};

    use super::{Terms, TermsError};

    const WIRE: &str = r#"{"policies": {
        "privacy_policy": {"version": "1.2",
            "en": {"name": "Privacy Policy", "url": "https://example.org/privacy-en.html"},
            "fr": {"name": "Politique de confidentialité", "url": "https://example.org/privacy-fr.html"}},
        "terms_of_service": {"version": "1.2", "required": true,
            "en": {"name": "Terms of Service", "url": "https://example.org/terms-en.html"}},
        "bulletin": {"version": "1", "required": false,
            "en": {"name": "Bulletin", "url": "https://example.org/bulletin-en.html"}}}}"#;

    const DOCS: &str = "
master_version: 7
docs:
  privacy_policy:
    version: '1.2'
    langs:
      en: {name: Privacy Policy, url: https://example.org/privacy-en.html}
      fr: {name: Politique de confidentialité, url: https://example.org/privacy-fr.html}
  terms_of_service:
    version: '1.2'
    langs:
      en: {name: Terms of Service, url: https://example.org/terms-en.html}
  bulletin:
    version: '1'
    required: false
    langs:
      en: {name: Bulletin, url: https://example.org/bulletin-en.html}
";

    fn accepts(terms: &Terms, pages: &[&str]) -> bool {
        terms.satisfied(&pages.iter().map(|page| format!("https://example.org/{page}.html")).collect())
    }

    #[test]
    fn both_forms_give_the_wire_form_without_this_servers_extension() {
        let mut expected: Value = serde_json::from_str(WIRE).unwrap();
        for policy in expected["policies"].as_object_mut().unwrap().values_mut() {
            policy.as_object_mut().unwrap().remove("required");
        }
        let terms = Terms::parse(WIRE).unwrap();
        assert_eq!(terms.to_wire(), expected);
        assert_eq!(Terms::parse(DOCS), Ok(terms));
    }

    #[test]
    fn json_may_be_indented_with_tabs() {
        assert_eq!(Terms::parse(&WIRE.replace("    ", "\t")), Terms::parse(WIRE));
    }

    #[test]
    fn policies_in_the_configuration_are_read_alike() {
        let wire: Value = serde_json::from_str(WIRE).unwrap();
        assert_eq!(Terms::from_policies(wire["policies"].as_object().unwrap()), Terms::parse(WIRE));
    }

    #[test]
    fn one_language_of_each_required_policy_suffices() {
        let terms = Terms::parse(WIRE).unwrap();
        assert!(accepts(&terms, &["privacy-fr", "terms-en"]));
        assert!(accepts(&terms, &["privacy-en", "privacy-fr", "terms-en", "bulletin-en"]));
        for not_enough in
            [&[][..], &["privacy-en"], &["privacy-en", "privacy-fr", "bulletin-en"], &["privacy-old", "terms-en"]]
        {
            assert!(!accepts(&terms, not_enough), "{not_enough:?}");
        }
    }

    #[test]
    fn a_changed_url_has_to_be_accepted_again() {
        let changed = Terms::parse(&WIRE.replace("terms-en.html", "terms-2-en.html")).unwrap();
        assert!(!accepts(&changed, &["privacy-en", "terms-en"]));
        assert!(accepts(&changed, &["privacy-en", "terms-2-en"]));
    }

    #[test]
    fn only_urls_of_policies_are_known() {
        let terms = Terms::parse(WIRE).unwrap();
        assert!(terms.known("https://example.org/bulletin-en.html"));
        for url in ["", "https://example.org/", "https://example.org/bulletin-en.html#", "Bulletin"] {
            assert!(!terms.known(url), "{url}");
        }
    }

    #[test]
    fn without_policies_every_account_has_accepted_the_terms() {
        for terms in [Terms::default(), Terms::parse("policies: {}").unwrap()] {
            assert!(terms.satisfied(&HashSet::new()));
            assert_eq!(terms.to_wire(), json!({"policies": {}}));
        }
    }

    #[test]
    fn the_error_of_a_malformed_file_names_the_policy_and_the_problem() {
        let policy = |text: &str| Terms::parse(&format!("policies: {{privacy: {text}}}")).unwrap_err().to_string();
        for (text, message) in [
            ("5", "policy \"privacy\": it is not an object"),
            ("{en: {name: P, url: 'https://x.org'}}", "policy \"privacy\": \"version\" is missing"),
            (
                "{version: 1.10, en: {name: P, url: 'https://x.org'}}",
                "policy \"privacy\": \"version\" is not a text; put it in quotes",
            ),
            ("{version: '1', required: maybe, en: {}}", "policy \"privacy\": \"required\" is neither true nor false"),
            ("{version: '1'}", "policy \"privacy\": it has no language, such as \"en\", with \"name\" and \"url\""),
            (
                "{version: '1', en: P}",
                "policy \"privacy\": language \"en\": it is not an object with \"name\" and \"url\"",
            ),
            ("{version: '1', en: {url: 'https://x.org'}}", "policy \"privacy\": language \"en\": \"name\" is missing"),
            (
                "{version: '1', en: {name: P, url: x.org}}",
                "policy \"privacy\": language \"en\": \"url\" is not an absolute https or http URL",
            ),
            (
                "{version: '1', en: {name: P, url: 'javascript:x'}}",
                "policy \"privacy\": language \"en\": \"url\" is not an absolute https or http URL",
            ),
        ] {
            assert_eq!(policy(text), message, "{text}");
        }
        let docs = Terms::parse("docs: {tos: {version: '1'}}").unwrap_err();
        assert_eq!(docs.to_string(), "policy \"tos\": \"langs\" is missing");
    }

    #[test]
    fn a_file_without_policies_is_rejected() {
        for text in ["", "\t", "{}", "[]", "policies: []", "docs: 5", "policy: {}", "policies: {}\ndocs: {}"] {
            assert_eq!(Terms::parse(text), Err(TermsError::NoPolicies), "{text}");
        }
        let twice = "policies:\n  a: {version: '1', en: {name: A, url: 'https://x.org'}}\n  a: {version: '2'}";
        for text in ["policies: {", "{\"policies\": ", "a: b: c", twice] {
            assert!(matches!(Terms::parse(text), Err(TermsError::Syntax(_))), "{text}");
        }
    }

    #[test]
    fn the_file_of_ma1sd_is_read() {
        let file = "policy:\n  policies:\n    privacy:\n      version: 1.0\n      terms:\n        en:\n          name: Privacy\n          \
                    url: https://example.org/en\n        fr:\n          name: Vie\n          url: https://example.org/fr\n      \
                    regexp:\n        - '/_matrix/identity/v2/account.*'\n";
        let terms = Terms::parse(file).unwrap();
        let expected = json!({"policies": {"privacy": {
            "version": "1.0",
            "en": {"name": "Privacy", "url": "https://example.org/en"},
            "fr": {"name": "Vie", "url": "https://example.org/fr"},
        }}});
        assert_eq!(terms.to_wire(), expected);
        assert!(Terms::parse("policy: {policies: {p: {terms: {en: {name: a, url: 'https://x'}}}}}").is_err());
    }
}
