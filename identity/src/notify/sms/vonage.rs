//! Vonage (formerly Nexmo), SMS API: `POST /sms/json`.
//! <https://developer.vonage.com/en/api/sms>
//!
//! Invariant: the status of HTTP is 200 whatever happens; what counts is the status of the message.

use hyper::Request;
use hyper::header::CONTENT_TYPE;
use serde_json::Value;
use shared::clock::Timestamp;
use shared::outbound::client::Reply;
use shared::secret::Secret;
use url::form_urlencoded::Serializer;

use super::over_http::{Api, by_status};
use super::provider::{Outcome, Reason, Sms};
use super::{FORM, SmsSetupError, needed, web_url};
use crate::config::sms::providers::Vonage as Settings;
use crate::domain::sms_text::Encoding;

/// An account with Vonage.
pub(super) struct Vonage {
    url: String,
    api_key: String,
    api_secret: Secret<String>,
}

impl Vonage {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        Ok(Self {
            url: web_url("sms.vonage.url", &settings.url)?.to_owned(),
            api_key: needed("sms.vonage.api_key", settings.api_key.as_ref())?.clone(),
            api_secret: needed("sms.vonage.api_secret", settings.api_secret.as_ref())?.clone(),
        })
    }
}

impl Api for Vonage {
    fn request(&self, sms: &Sms<'_>, _now: Timestamp) -> Result<Request<Vec<u8>>, hyper::http::Error> {
        let mut form = Serializer::new(String::new());
        form.append_pair("api_key", &self.api_key)
            .append_pair("api_secret", self.api_secret.expose())
            .append_pair("to", sms.to)
            .append_pair("from", &sms.from.to_string())
            .append_pair("text", sms.text);
        if sms.encoding == Encoding::Ucs2 {
            form.append_pair("type", "unicode");
        }
        Request::post(&self.url).header(CONTENT_TYPE, FORM).body(form.finish().into_bytes())
    }

    fn outcome(&self, reply: &Reply) -> Outcome {
        let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
        let status = json.as_ref().and_then(|json| json.pointer("/messages/0/status")).and_then(Value::as_str);
        let Some(status) = status.filter(|_| reply.status.is_success()) else { return by_status(reply.status, None) };
        let reason = || Reason::with_code("status", status);
        // <https://developer.vonage.com/en/messaging/sms/guides/troubleshooting-sms>
        match status {
            "0" => Outcome::Accepted,
            // Throttled; too many connections.
            "1" | "10" => Outcome::NotSent { reason: reason(), again: true },
            // An error "whilst processing this message".
            "5" => Outcome::Unclear(reason()),
            // Barred; deactivated.
            "7" | "33" => Outcome::NumberRefused(reason()),
            _ => Outcome::refused(reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, config, sms, taken};
    use super::Vonage;

    fn vonage() -> Vonage {
        let config = config("vonage = { api_key = 'k', api_secret = 's&t', url = 'https://v.example/sms/json' }");
        Vonage::new(config.unwrap().vonage.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_a_form_without_any_plus_and_says_when_it_is_not_of_the_cheap_alphabet() {
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
    fn the_status_of_the_message_counts_and_not_that_of_http() {
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
        assert_eq!(taken(&vonage(), 200, "<html>"), "unclear: it answered something unheard of: 200");
        assert_eq!(taken(&vonage(), 200, r#"{"messages":[]}"#), "unclear: it answered something unheard of: 200");
        assert_eq!(taken(&vonage(), 500, &answer("0")), "unclear: it failed: 500");
        assert_eq!(taken(&vonage(), 429, ""), "not_sent again: it asks for patience: 429");
    }
}
