//! Infobip: `POST /sms/3/messages`.
//! <https://www.infobip.com/docs/api/channels/sms/outbound-sms/send-sms-messages>
//!
//! Invariant: HTTP status 200 concerns the request; the status group of the message decides.

use hyper::header::ACCEPT;
use serde_json::json;
use shared::outbound::client::Reply;
use shared::secret::Secret;

use super::super::SmsSetupError;
use super::super::http_provider::{HttpApi, JSON, RequestResult, by_status, get, json_body, post};
use super::super::provider::{Outcome, Reason, Sms};
use super::{needed, web_url};
use crate::config::sms::providers::Infobip as Settings;

/// Rejections about the number alone: on a do-not-disturb list, barred, not a number.
const NUMBER_REFUSED: [&str; 4] =
    ["REJECTED_DND", "REJECTED_DESTINATION", "REJECTED_INVALID_DESTINATION", "REJECTED_PREFIX_MISSING"];

/// An Infobip account.
pub(super) struct Infobip {
    url: String,
    authorization: Secret<String>,
}

impl Infobip {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let base = web_url("[sms.infobip] url", needed("[sms.infobip] url", &settings.url)?)?;
        let key = needed("[sms.infobip] api_key", &settings.api_key)?;
        Ok(Self {
            url: format!("{}/sms/3/messages", base.trim_end_matches('/')),
            authorization: Secret::new(format!("App {}", key.expose())),
        })
    }
}

impl HttpApi for Infobip {
    fn request(&self, sms: &Sms<'_>) -> RequestResult {
        let body = json!({
            "messages": [{
                "sender": sms.from.to_string(),
                "destinations": [{ "to": sms.to }],
                "content": { "text": sms.text },
            }]
        });
        post(&self.url, Some(&self.authorization), JSON).header(ACCEPT, JSON).body(body.to_string().into_bytes())
    }

    fn credential_request(&self) -> Option<RequestResult> {
        let balance = format!("{}/account/1/balance", self.url.strip_suffix("/sms/3/messages")?);
        Some(get(&balance, Some(&self.authorization)).header(ACCEPT, JSON).body(Vec::new()))
    }

    fn outcome(&self, response: &Reply) -> Outcome {
        let json = json_body(response);
        let status = |member| json.pointer("/messages/0/status")?.get(member)?.as_str();
        let name = status("name").unwrap_or_default();
        let reason = Reason::with_code("status", name);
        // <https://www.infobip.com/docs/essentials/api-essentials/response-status-and-error-codes>
        match status("groupName").filter(|_| response.status.is_success()) {
            Some("PENDING" | "DELIVERED" | "ACCEPTED" | "OK") => Outcome::Accepted,
            Some("REJECTED") if NUMBER_REFUSED.contains(&name) => Outcome::NumberRefused(reason),
            Some("REJECTED") => Outcome::refused(reason),
            Some(_) => Outcome::Unclear(reason),
            None => by_status(response.status, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::tests::{asked, config, sms, taken};
    use super::{HttpApi, Infobip};

    fn infobip() -> Infobip {
        let config = config("infobip = { api_key = 'k', url = 'https://x.api.infobip.example/' }").unwrap();
        Infobip::new(config.infobip.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn the_credential_is_checked_without_a_message() {
        let request = infobip().credential_request().unwrap().unwrap();
        assert_eq!(
            format!("{} {}", request.method(), request.uri()),
            "GET https://x.api.infobip.example/account/1/balance"
        );
    }

    #[test]
    fn the_request_is_json_with_the_api_key() {
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
    fn the_status_group_decides() {
        let answer = |group: &str, name: &str| {
            json!({ "messages": [{ "to": "44", "status": { "groupName": group, "name": name } }] }).to_string()
        };
        for (group, name, expected) in [
            ("PENDING", "PENDING_ACCEPTED", "accepted"),
            ("REJECTED", "REJECTED_NOT_ENOUGH_CREDITS", "not_sent: status REJECTED_NOT_ENOUGH_CREDITS"),
            ("REJECTED", "REJECTED_INVALID_DESTINATION", "number_refused: status REJECTED_INVALID_DESTINATION"),
            // The mobile operator had the message.
            ("UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED", "unclear: status UNDELIVERABLE_NOT_DELIVERED"),
            ("EXPIRED", "EXPIRED_UNKNOWN", "unclear: status EXPIRED_UNKNOWN"),
        ] {
            assert_eq!(taken(&infobip(), 200, &answer(group, name)), expected);
        }
        assert_eq!(taken(&infobip(), 200, "{}"), "unclear: unexpected response: 200");
        assert_eq!(taken(&infobip(), 401, "{}"), "not_sent: authentication failed: 401");
        assert_eq!(taken(&infobip(), 500, &answer("PENDING", "x")), "unclear: server error: 500");
    }
}
