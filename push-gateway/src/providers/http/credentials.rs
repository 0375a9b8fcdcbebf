//! The signature by which the receiver recognises the gateway: HMAC-SHA256 with a shared secret, over the time and the body.
//!
//! Invariant: a secret leaves this module only as signatures.

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};
use http::header::HeaderValue;
use shared::clock::Timestamp;
use shared::config::secret;

use super::settings::Settings;
use crate::providers::SetupError;

/// The secrets of an app, the current one first.
pub(super) struct Signer(Vec<Key>);

impl Signer {
    /// The secrets that the settings name; `None` if there are none.
    pub(super) fn load(settings: &Settings) -> Result<Option<Self>, SetupError> {
        let current = secret("secret", settings.secret.as_ref(), settings.secret_file.as_deref())?;
        let previous =
            secret("secret_previous", settings.secret_previous.as_ref(), settings.secret_previous_file.as_deref())?;
        let Some(current) = current else {
            return match previous {
                Some(_) => Err("secret_previous: has no use without secret; rename it".into()),
                None => Ok(None),
            };
        };
        let mut keys = Vec::new();
        for (name, secret) in [("secret", Some(current)), ("secret_previous", previous)] {
            let Some(secret) = secret else { continue };
            if secret.expose().is_empty() {
                return Err(format!("{name}_file: is empty; it holds the secret that the receiver knows").into());
            }
            keys.push(Key::new(HMAC_SHA256, secret.expose().as_bytes()));
        }
        Ok(Some(Self(keys)))
    }

    /// The value of the header field.
    pub(super) fn signature(&self, now: Timestamp, body: &[u8]) -> HeaderValue {
        let seconds = now.as_millis().div_euclid(1000);
        let mut value = format!("t={seconds}");
        for key in &self.0 {
            let mut context = Context::with_key(key);
            context.update(format!("{seconds}.").as_bytes());
            context.update(body);
            value.push_str(",v1=");
            for byte in context.sign().as_ref() {
                value.push_str(&format!("{byte:02x}"));
            }
        }
        // Digits and hexadecimal digits are always valid.
        HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key};
    use shared::clock::Timestamp;

    use super::Signer;

    const BODY: &str = r#"{"notification":{"event_id":"$e","room_id":"!r:example.org","prio":"high","counts":{"unread":1},"devices":[{"app_id":"com.example.bridge","pushkey":"k"}]}}"#;
    const SIGNATURE: &str = "338572a9e3f914bf14697392d56bb852dea141dc2270f8f25980d3681674b7e1";

    #[test]
    fn the_signature_is_that_of_the_vector() {
        let key = |secret: &str| Key::new(HMAC_SHA256, secret.as_bytes());
        let now = Timestamp::from_millis(1_764_338_400_999);
        let value = Signer(vec![key("secret")]).signature(now, BODY.as_bytes());
        assert_eq!(value, format!("t=1764338400,v1={SIGNATURE}"));
        let value = Signer(vec![key("new"), key("secret")]).signature(now, BODY.as_bytes());
        let text = value.to_str().unwrap();
        assert!(text.starts_with("t=1764338400,v1=") && text.ends_with(&format!(",v1={SIGNATURE}")), "{text}");
        assert_eq!(text.matches("v1=").count(), 2);
    }
}
