//! `[relay]`: the push resources of homeservers that send Web Push (RFC 8030, MSC4174).
//!
//! Invariant: an enabled relay has a URL and a key before the gateway starts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use shared::config::{ConfigError, HumanDuration, OneOrMany};
use shared::rate_limit::Limit;
use shared::secret::Secret;
use shared::text_file;
use url::Url;

use super::rate;
use crate::relay::seal::{InvalidKeys, SealKeys};
use crate::relay::vapid::origin;

/// A `max_age` below it is noted.
const SHORT_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// The settings under `[relay]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Relay {
    /// Whether pushes are relayed; otherwise homeservers are asked to retry later.
    pub(crate) enabled: bool,
    /// The URL under which homeservers reach the gateway, up to `/wp/`.
    pub(crate) public_url: Option<String>,
    /// Other origins for which VAPID tokens are accepted.
    pub(crate) extra_origins: OneOrMany<String>,
    /// The keys of URLs; the first one seals, all open.
    pub(crate) seal_keys: Option<OneOrMany<SealKey>>,
    /// A file with these keys, one on each line.
    pub(crate) seal_keys_file: Option<PathBuf>,
    /// The numbers of keys that open no URL any more.
    pub(crate) retired_seal_keys: OneOrMany<u8>,
    /// Whether an application server must identify itself.
    pub(crate) require_vapid: bool,
    /// Whether URLs may contain device tokens in the clear.
    pub(crate) allow_clear_tokens: bool,
    /// The age at which a URL expires.
    pub(crate) max_age: Option<HumanDuration>,
    /// The rate limit of pushes of one application server; `None` for no limit.
    #[serde(deserialize_with = "rate")]
    pub(crate) per_key: Option<Limit>,
    /// The rate limit of requests for new URLs from one client address; `None` for no limit.
    #[serde(deserialize_with = "rate")]
    pub(crate) subscribe_per_ip: Option<Limit>,
    /// The keys, once they are read.
    #[serde(skip)]
    pub(crate) keys: Option<Arc<SealKeys>>,
}

/// One of `seal_keys` as it is written.
#[derive(Clone, Debug)]
pub(crate) struct SealKey(Secret<String>);

impl FromStr for SealKey {
    type Err = fmt::Error;

    fn from_str(text: &str) -> Result<Self, fmt::Error> {
        Ok(Self(Secret::new(text.to_owned())))
    }
}

impl<'de> Deserialize<'de> for SealKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Secret::deserialize(deserializer).map(Self)
    }
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            enabled: true,
            public_url: None,
            extra_origins: OneOrMany::default(),
            seal_keys: None,
            seal_keys_file: None,
            retired_seal_keys: OneOrMany::default(),
            require_vapid: true,
            allow_clear_tokens: false,
            max_age: None,
            per_key: None,
            // 60 a minute.
            subscribe_per_ip: Some(Limit::new(60, HumanDuration::from_secs(1))),
            keys: None,
        }
    }
}

impl Relay {
    /// Checks everything that needs no file.
    pub(super) fn check(&mut self) -> Result<(), ConfigError> {
        self.public_url.take_if(|url| url.trim().is_empty());
        match &self.public_url {
            Some(url) if !is_base(url) => {
                return Err(invalid(
                    "public_url",
                    "expected an https URL without a query, such as \
                                                  \"https://push.example.org\"",
                ));
            }
            None if self.enabled => {
                return Err(invalid(
                    "public_url",
                    "missing; set the URL under which homeservers reach the gateway, such as \
                                                  \"https://push.example.org\"",
                ));
            }
            Some(_) | None => {}
        }
        if let Some(wrong) = self.extra_origins.as_slice().iter().find(|text| origin(text).is_none()) {
            let problem = format!("expected origins such as \"https://push.example.org\", found \"{wrong}\"");
            return Err(invalid("extra_origins", problem));
        }
        if self.seal_keys.is_some() && self.seal_keys_file.is_some() {
            return Err(ConfigError::GivenTwice("relay.seal_keys".to_owned()));
        }
        Ok(())
    }

    /// Reads the keys. A relay that is disabled needs none.
    pub(super) fn read_keys(&mut self) -> Result<(), ConfigError> {
        if !self.enabled {
            return Ok(());
        }
        let retired = self.retired_seal_keys.as_slice();
        let (key, keys) = match (&self.seal_keys, &self.seal_keys_file) {
            (_, Some(file)) => {
                let problem =
                    |problem: &dyn fmt::Display| invalid("seal_keys_file", format!("{} {problem}", file.display()));
                let content = std::fs::read(file)
                    .map(Secret::new)
                    .map_err(|error| invalid("seal_keys_file", format!("cannot read {}: {error}", file.display())))?;
                let text = text_file::decode(content.expose()).map_err(|error| problem(&error))?;
                let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
                ("seal_keys_file", SealKeys::parse(lines, retired))
            }
            (Some(keys), None) => {
                ("seal_keys", SealKeys::parse(keys.as_slice().iter().map(|key| key.0.expose().as_str()), retired))
            }
            (None, None) => ("seal_keys", Err(InvalidKeys::None)),
        };
        self.keys = match keys {
            Ok(keys) => Some(Arc::new(keys)),
            Err(error @ InvalidKeys::RetiredInUse(_)) => return Err(invalid("retired_seal_keys", error)),
            Err(error) => return Err(invalid(key, error)),
        };
        Ok(())
    }

    /// The file with the keys.
    pub(super) fn file(&self) -> Option<&Path> {
        self.seal_keys_file.as_deref()
    }

    /// Warnings about dangerous settings.
    pub(super) fn notices(&self, base_path: &str) -> Vec<String> {
        let mut notices = Vec::new();
        let mut note = |key: &str, text: &str| notices.push(format!("[relay] {key}: {text}"));
        if self.allow_clear_tokens {
            note(
                "allow_clear_tokens",
                "is on: a client that knows a device token can send to the device; use it for development",
            );
        }
        if !self.require_vapid {
            note("require_vapid", "is off: a client that knows a URL made without a key can send to its device");
        }
        if self.max_age.is_some_and(|age| age.get() < SHORT_AGE) {
            note("max_age", "is below a day, and homeservers delete the pushers of expired URLs; use at least \"1d\"");
        }
        if let Some(url) = &self.public_url {
            if url.starts_with("http:") {
                note("public_url", "is http: homeservers may refuse it, and VAPID tokens can be stolen; use https");
            }
            if !base_path.is_empty() && !url.trim_end_matches('/').ends_with(base_path) {
                note("public_url", "does not end with [http] base_path: check that the reverse proxy adds it");
            }
        }
        notices
    }
}

fn invalid(key: &str, problem: impl fmt::Display) -> ConfigError {
    ConfigError::invalid(&format!("relay.{key}"), problem)
}

/// Whether `text` is a URL to which a path can be added.
fn is_base(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Relay;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn read(settings: Value) -> Result<Relay, String> {
        let mut relay: Relay = serde_json::from_value(settings).map_err(|error| error.to_string())?;
        relay.check().and_then(|()| relay.read_keys()).map_err(|error| error.to_string())?;
        Ok(relay)
    }

    fn with(key: &str, value: Value) -> Result<Relay, String> {
        let mut settings = json!({ "public_url": "https://push.example.org", "seal_keys": [format!("1:{KEY}")] });
        settings[key] = value;
        read(settings)
    }

    #[test]
    fn an_enabled_relay_needs_a_url_and_a_key() {
        let relay = with("enabled", json!(true)).unwrap();
        assert!(relay.keys.is_some() && relay.require_vapid && !relay.allow_clear_tokens);
        assert_eq!((relay.per_key, relay.subscribe_per_ip), (None, "60/min".parse().ok()));
        assert!(!format!("{relay:?}").contains("AAEC"));
        assert!(read(json!({ "enabled": false })).unwrap().keys.is_none());
        for (key, value, start) in [
            ("public_url", json!(null), "[relay] public_url: missing; set "),
            ("public_url", json!(" "), "[relay] public_url: missing; set "),
            ("public_url", json!("push.example.org"), "[relay] public_url: expected "),
            ("public_url", json!("ftp://push.example.org"), "[relay] public_url: expected "),
            ("public_url", json!("https://u@push.example.org"), "[relay] public_url: expected "),
            ("public_url", json!("https://push.example.org?x"), "[relay] public_url: expected "),
            ("extra_origins", json!(["https://a.example/x"]), "[relay] extra_origins: expected "),
            ("seal_keys", json!(null), "[relay] seal_keys: expected at least one key"),
            ("seal_keys", json!([]), "[relay] seal_keys: expected at least one key"),
            ("seal_keys", json!(["1:AAAA"]), "[relay] seal_keys: expected \"<number>:"),
            ("seal_keys", json!([format!("1:{KEY}"), format!("1:{KEY}")]), "[relay] seal_keys: two keys "),
            ("retired_seal_keys", json!([1]), "[relay] retired_seal_keys: the key 1 is retired and in use"),
            ("seal_keys_file", json!("keys"), "[relay] seal_keys"),
        ] {
            let error = with(key, value.clone()).unwrap_err();
            assert!(error.starts_with(start), "{key} {value}: {error}");
        }
        let missing = read(json!({ "public_url": "https://push.example.org", "seal_keys_file": "missing" }));
        assert!(missing.unwrap_err().starts_with("[relay] seal_keys_file: cannot read missing: "));
    }

    #[test]
    fn keys_come_from_the_lines_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("# new\n2:{KEY}\n\n 1:{KEY}\r\n")).unwrap();
        let settings = |retired: u8| json!({ "public_url": "https://x.example", "seal_keys_file": file.path(), "retired_seal_keys": [retired] });
        assert!(read(settings(3)).unwrap().keys.is_some());
        assert!(read(settings(2)).unwrap_err().starts_with("[relay] retired_seal_keys: the key 2 is retired"));
    }

    #[test]
    fn settings_that_protect_less_are_noted() {
        let notices = |key, value, base_path| with(key, value).unwrap().notices(base_path);
        assert!(notices("enabled", json!(true), "").is_empty());
        assert!(notices("allow_clear_tokens", json!(true), "")[0].starts_with("[relay] allow_clear_tokens: "));
        assert!(notices("require_vapid", json!(false), "")[0].starts_with("[relay] require_vapid: "));
        assert!(notices("max_age", json!("23h"), "")[0].starts_with("[relay] max_age: is below a day"));
        assert!(notices("max_age", json!("1d"), "").is_empty());
        assert!(notices("public_url", json!("http://x"), "")[0].starts_with("[relay] public_url: is http"));
        assert!(notices("enabled", json!(true), "/push")[0].starts_with("[relay] public_url: does not end"));
        assert!(notices("public_url", json!("https://x/push/"), "/push").is_empty());
    }
}
