//! The request to Push Kit: the URL, and the header fields.
//!
//! Invariant: an ID reaches the path only with harmless characters.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::providers::transport::plain_url;

/// The field that names the kind of a message (version 3).
const PUSH_TYPE: HeaderName = HeaderName::from_static("push-type");

/// The URL for messages of this version of Push Kit: `id` is the project's (version 3) or the app's (version 1).
///
/// # Errors
/// The problem, with its key; that of the ID is `key`.
pub(super) fn send_url(base_url: &str, version: u8, key: &str, id: &str) -> Result<Url, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if id.is_empty() || !id.chars().all(is_allowed) || !id.chars().any(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("{key}: expected digits"));
    }
    let base = plain_url("base_url", base_url)?;
    plain_url("base_url", &format!("{}/v{version}/{id}/messages:send", base.as_str().trim_end_matches('/')))
}

/// The header fields of a message of the kind `push_type`, which version 1 does not name.
pub(super) fn headers(authorization: HeaderValue, push_type: Option<u8>) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(AUTHORIZATION, authorization);
    let content_type = match push_type {
        Some(number) => {
            headers.insert(PUSH_TYPE, HeaderValue::from(u16::from(number)));
            const { HeaderValue::from_static("application/json") }
        }
        None => const { HeaderValue::from_static("application/json; charset=UTF-8") },
    };
    headers.insert(CONTENT_TYPE, content_type);
    headers
}

/// Whether Push Kit could know this token.
pub(super) fn is_token(pushkey: &str) -> bool {
    /// The longest token.
    const MAX_TOKEN: usize = 512;
    (1..=MAX_TOKEN).contains(&pushkey.len()) && pushkey.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::{is_token, send_url};

    #[test]
    fn the_url_names_the_version_and_the_project_or_app() {
        let url =
            |base: &str, version, id: &str| send_url(base, version, "app_id_number", id).map(|url| url.to_string());
        assert_eq!(url("https://push.example/", 3, "388").as_deref(), Ok("https://push.example/v3/388/messages:send"));
        assert_eq!(url("http://127.0.0.1:1/x", 1, "100").as_deref(), Ok("http://127.0.0.1:1/x/v1/100/messages:send"));
        for id in ["", "..", "a/b", "1?x", "é"] {
            assert!(url("https://push.example", 1, id).unwrap_err().starts_with("app_id_number: "), "{id}");
        }
        assert!(url("push.example", 3, "1").unwrap_err().starts_with("base_url: "));
    }

    #[test]
    fn a_token_is_printable_ascii() {
        let longest = "a".repeat(512);
        for (pushkey, expected) in [
            ("a", true),
            ("a/b+c=:~", true),
            (&longest, true),
            ("", false),
            ("a b", false),
            ("é", false),
            ("a\n", false),
        ] {
            assert_eq!(is_token(pushkey), expected, "{pushkey}");
        }
        assert!(!is_token(&"a".repeat(513)));
    }
}
