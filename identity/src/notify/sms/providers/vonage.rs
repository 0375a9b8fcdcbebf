//! Vonage (formerly Nexmo), SMS API: `POST /sms/json`.
//! <https://developer.vonage.com/en/api/sms>
//!
//! Invariant: the HTTP status is 200 even for a rejected message; the status of the message decides.

use serde_json::Value;
use shared::outbound::client::Reply;
use shared::secret::Secret;

use super::super::SmsSetupError;
use super::super::http_provider::{FORM, HttpApi, RequestResult, by_status, form, get, json_body, post};
use super::super::provider::{Outcome, Reason, Sms};
use super::{needed, web_url};
use crate::config::sms::providers::Vonage as Settings;
use crate::domain::sms_text::Encoding;

/// A Vonage account.
pub(super) struct Vonage {
    url: String,
    api_key: String,
    api_secret: Secret<String>,
}

impl Vonage {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        Ok(Self {
            url: web_url("[sms.vonage] url", &settings.url)?.to_owned(),
            api_key: needed("[sms.vonage] api_key", &settings.api_key)?.clone(),
            api_secret: needed("[sms.vonage] api_secret", &settings.api_secret)?.clone(),
        })
    }
}

impl HttpApi for Vonage {
    fn request(&self, sms: &Sms<'_>) -> RequestResult {
        let from = sms.from.to_string();
        let fields = [
            ("api_key", self.api_key.as_str()),
            ("api_secret", self.api_secret.expose()),
            ("to", sms.to),
            ("from", &from),
            ("text", sms.text),
        ];
        let encoding = (sms.encoding == Encoding::Ucs2).then_some(("type", "unicode"));
        let body = form(fields.into_iter().chain(encoding));
        post(&self.url, None, FORM).body(body.into_bytes())
    }

    fn credential_request(&self) -> Option<RequestResult> {
        let base = self.url.strip_suffix("/sms/json")?;
        let query = form([("api_key", self.api_key.as_str()), ("api_secret", self.api_secret.expose())]);
        Some(get(&format!("{base}/account/get-balance?{query}"), None).body(Vec::new()))
    }

    fn outcome(&self, response: &Reply) -> Outcome {
        let json = json_body(response);
        let status = json.pointer("/messages/0/status").and_then(Value::as_str);
        let Some(status) = status.filter(|_| response.status.is_success()) else {
            return by_status(response.status, None);
        };
        let reason = Reason::with_code("status", status);
        // <https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms>
        match status {
            "0" => Outcome::Accepted,
            // Throttled; too many connections.
            "1" | "10" => Outcome::busy(reason),
            // An error "whilst processing this message".
            "5" => Outcome::Unclear(reason),
            // Barred; deactivated.
            "7" | "33" => Outcome::NumberRefused(reason),
            _ => Outcome::refused(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{asked, config, sms, taken};
    use super::{HttpApi, Vonage};

    fn vonage() -> Vonage {
        let config = config("vonage = { api_key = 'k', api_secret = 's&t', url = 'https://v.example/sms/json' }");
        Vonage::new(config.unwrap().vonage.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn the_credential_is_checked_without_a_message() {
        let request = vonage().credential_request().unwrap().unwrap();
        assert_eq!(
            format!("{} {}", request.method(), request.uri()),
            "GET https://v.example/account/get-balance?api_key=k&api_secret=s%26t"
        );
    }

    #[test]
    fn the_request_is_a_form_without_plus_and_declares_unicode() {
        let name = "alpha:Matrix".parse().unwrap();
        let (target, headers, body) = asked(&vonage(), &sms(&name, "ä 1"));
        assert_eq!(target, "POST https://v.example/sms/json");
        assert_eq!(headers, "content-type: application/x-www-form-urlencoded");
        assert_eq!(body, "api_key=k&api_secret=s%26t&to=447700900001&from=Matrix&text=%C3%A4+1");
        let number = "long:447000000000".parse().unwrap();
        let (_, _, body) = asked(&vonage(), &sms(&number, "ж"));
        assert!(body.ends_with("&from=447000000000&text=%D0%B6&type=unicode"), "{body}");
    }

    #[test]
    fn the_status_of_the_message_decides() {
        let answer = |status: &str| format!(r#"{{"message-count":"1","messages":[{{"status":"{status}"}}]}}"#);
        for (status, expected) in [
            ("0", "accepted"),
            ("1", "not_sent again: status 1"),
            ("2", "not_sent: status 2"),
            ("4", "not_sent: status 4"),
            ("5", "unclear: status 5"),
            ("6", "not_sent: status 6"),
            ("7", "number_refused: status 7"),
            ("9", "not_sent: status 9"),
            ("10", "not_sent again: status 10"),
            ("29", "not_sent: status 29"),
            ("33", "number_refused: status 33"),
        ] {
            assert_eq!(taken(&vonage(), 200, &answer(status)), expected);
        }
        assert_eq!(taken(&vonage(), 200, "<html>"), "unclear: unexpected response: 200");
        assert_eq!(taken(&vonage(), 200, r#"{"messages":[]}"#), "unclear: unexpected response: 200");
        assert_eq!(taken(&vonage(), 500, &answer("0")), "unclear: server error: 500");
        assert_eq!(taken(&vonage(), 429, ""), "not_sent again: rate limited: 429");
    }
}
