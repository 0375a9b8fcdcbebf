//! Infobip: `POST /sms/3/messages`.
//! <https://www.infobip.com/docs/api/channels/sms/outbound-sms/send-sms-messages>
//!
//! Invariant: a 200 is about the request; what counts is the status group of the message.

use hyper::Request;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::outbound::client::Reply;
use shared::secret::Secret;

use super::over_http::{Api, by_status};
use super::provider::{Outcome, Reason, Sms};
use super::{JSON, SmsSetupError, needed, web_url};
use crate::config::sms::providers::Infobip as Settings;

/// Rejections that concern the number and nobody else: on a list of those who want nothing, barred, not a number.
const NUMBER_REFUSED: [&str; 4] =
    ["REJECTED_DND", "REJECTED_DESTINATION", "REJECTED_INVALID_DESTINATION", "REJECTED_PREFIX_MISSING"];

/// An account with Infobip.
pub(super) struct Infobip {
    url: String,
    authorization: Secret<String>,
}

impl Infobip {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let base = web_url("sms.infobip.url", needed("sms.infobip.url", settings.url.as_ref())?)?;
        let key = needed("sms.infobip.api_key", settings.api_key.as_ref())?;
        Ok(Self {
            url: format!("{}/sms/3/messages", base.trim_end_matches('/')),
            authorization: Secret::new(format!("App {}", key.expose())),
        })
    }
}

impl Api for Infobip {
    fn request(&self, sms: &Sms<'_>, _now: Timestamp) -> Result<Request<Vec<u8>>, hyper::http::Error> {
        let body = json!({
            "messages": [{
                "sender": sms.from.to_string(),
                "destinations": [{ "to": sms.to }],
                "content": { "text": sms.text },
            }]
        });
        Request::post(&self.url)
            .header(AUTHORIZATION, self.authorization.expose())
            .header(CONTENT_TYPE, JSON)
            .header(ACCEPT, JSON)
            .body(body.to_string().into_bytes())
    }

    fn outcome(&self, reply: &Reply) -> Outcome {
        let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
        let status = json.as_ref().and_then(|json| json.pointer("/messages/0/status"));
        let group = status.and_then(|status| status.get("groupName")).and_then(Value::as_str);
        let name = status.and_then(|status| status.get("name")).and_then(Value::as_str).unwrap_or_default();
        // <https://www.infobip.com/docs/essentials/api-essentials/response-status-and-error-codes>
        match group.filter(|_| reply.status.is_success()) {
            Some("PENDING" | "DELIVERED" | "ACCEPTED" | "OK") => Outcome::Accepted,
            Some("REJECTED") if !NUMBER_REFUSED.contains(&name) => Outcome::refused(Reason::with_code("status", name)),
            Some("REJECTED") => Outcome::NumberRefused(Reason::with_code("status", name)),
            Some(_) => Outcome::Unclear(Reason::with_code("status", name)),
            None => by_status(reply.status, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{asked, config, sms, taken};
    use super::Infobip;

    fn infobip() -> Infobip {
        let config = config("infobip = { api_key = 'k', url = 'https://x.api.infobip.example/' }").unwrap();
        Infobip::new(config.infobip.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_json_with_the_key_of_the_app() {
        let name = "alpha:Matrix".parse().unwrap();
        let (target, headers, body) = asked(&infobip(), &sms(&name, "ä"));
        assert_eq!(target, "POST https://x.api.infobip.example/sms/3/messages");
        assert_eq!(headers, "authorization: App k\ncontent-type: application/json\naccept: application/json");
        let expected = json!({ "messages": [
            { "sender": "Matrix", "destinations": [{ "to": "447700900001" }], "content": { "text": "ä" } }
        ] });
        assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    }

    #[test]
    fn the_group_of_the_status_counts() {
        let answer = |group: &str, name: &str| {
            json!({ "messages": [{ "to": "44", "status": { "groupName": group, "name": name } }] }).to_string()
        };
        for (group, name, expected) in [
            ("PENDING", "PENDING_ACCEPTED", "accepted"),
            ("REJECTED", "REJECTED_NOT_ENOUGH_CREDITS", "not_sent: status REJECTED_NOT_ENOUGH_CREDITS"),
            ("REJECTED", "REJECTED_INVALID_DESTINATION", "number_refused: status REJECTED_INVALID_DESTINATION"),
            // The operator had it.
            ("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", "unclear: status UNDELIVERABLE_NOT_DELIVERED"),
            ("EXPIRED", "EXPIRED_UNKNOWN", "unclear: status EXPIRED_UNKNOWN"),
        ] {
            assert_eq!(taken(&infobip(), 200, &answer(group, name)), expected);
        }
        assert_eq!(taken(&infobip(), 200, "{}"), "unclear: it answered something unheard of: 200");
        assert_eq!(taken(&infobip(), 401, "{}"), "not_sent: it does not let us in: 401");
        assert_eq!(taken(&infobip(), 500, &answer("PENDING", "x")), "unclear: it failed: 500");
    }
}
