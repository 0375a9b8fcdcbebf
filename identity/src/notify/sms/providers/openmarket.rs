//! OpenMarket, and gateways with the same API: `POST /sms/v4/mt` (SMS REST API version 4).
//!
//! Invariant: any 2xx means that the message was accepted, whatever the body contains.

use serde_json::{Value, json};
use shared::outbound::client::Reply;
use shared::secret::Secret;

use super::super::SmsSetupError;
use super::super::http_provider::{HttpApi, JSON, RequestResult, by_status, json_body, post};
use super::super::provider::{Outcome, Sms};
use super::{basic, needed, web_url};
use crate::config::sms::providers::OpenMarket as Settings;
use crate::domain::originator::Originator;

/// An OpenMarket account.
pub(super) struct OpenMarket {
    url: String,
    authorization: Secret<String>,
}

impl OpenMarket {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let username = needed("[sms.openmarket] username", &settings.username)?;
        let password = needed("[sms.openmarket] password", &settings.password)?;
        Ok(Self {
            url: web_url("[sms.openmarket] url", &settings.url)?.to_owned(),
            authorization: basic(username, password),
        })
    }
}

/// The sender's type of number, as SMPP numbers them.
const fn type_of_number(originator: &Originator) -> u8 {
    match originator {
        Originator::Long(_) => 1,
        Originator::Short(_) => 3,
        Originator::Alpha(_) => 5,
    }
}

impl HttpApi for OpenMarket {
    fn request(&self, sms: &Sms<'_>) -> RequestResult {
        let body = json!({
            "mobileTerminate": {
                "message": { "content": sms.text, "type": "text" },
                "destination": { "address": sms.to },
                "source": { "ton": type_of_number(sms.from), "address": sms.from.to_string() },
            }
        });
        post(&self.url, Some(&self.authorization), JSON).body(body.to_string().into_bytes())
    }

    fn outcome(&self, response: &Reply) -> Outcome {
        if response.status.is_success() {
            return Outcome::Accepted;
        }
        let code = json_body(response).pointer("/error/code").map(|code| match code {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        by_status(response.status, code.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::tests::{asked, config, sms, taken};
    use super::OpenMarket;

    fn openmarket() -> OpenMarket {
        let config = config("openmarket = { username = 'u', password = 'p', url = 'https://o.example/sms/v4/mt' }");
        OpenMarket::new(config.unwrap().openmarket.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn the_request_is_json_with_the_senders_type_of_number() {
        for (from, ton, address) in
            [("long:447000000000", 1, "447000000000"), ("short:12345", 3, "12345"), ("alpha:Matrix", 5, "Matrix")]
        {
            let from = from.parse().unwrap();
            let (target, headers, body) = asked(&openmarket(), &sms(&from, "\"quoted\" ä"));
            assert_eq!(target, "POST https://o.example/sms/v4/mt");
            assert_eq!(headers, "authorization: Basic dTpw\ncontent-type: application/json");
            let expected = json!({ "mobileTerminate": {
                "message": { "content": "\"quoted\" ä", "type": "text" },
                "destination": { "address": "447700900001" },
                "source": { "ton": ton, "address": address },
            } });
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
        }
    }

    #[test]
    fn any_2xx_is_accepted() {
        for (status, body, expected) in [
            (202, "", "accepted"),
            (200, "<html>", "accepted"),
            (400, r#"{"error":{"code":"2","description":"+447700900001"}}"#, "not_sent: request rejected: 2"),
            (400, r#"{"error":{"code":4}}"#, "not_sent: request rejected: 4"),
            (401, "", "not_sent: authentication failed: 401"),
            (429, "", "not_sent again: rate limited: 429"),
            (500, "", "unclear: server error: 500"),
        ] {
            assert_eq!(taken(&openmarket(), status, body), expected, "{status} {body}");
        }
    }
}
