//! OpenMarket, and gateways that speak like it: `POST /sms/v4/mt` (SMS REST API version 4).
//!
//! Invariant: any 2xx means that the message was taken, whatever the body says.

use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::outbound::client::Reply;
use shared::secret::Secret;

use super::over_http::{Api, by_status};
use super::provider::{Outcome, Sms};
use super::{JSON, SmsSetupError, basic, needed, web_url};
use crate::config::sms::providers::OpenMarket as Settings;
use crate::domain::originator::Originator;

/// An account with OpenMarket.
pub(super) struct OpenMarket {
    url: String,
    authorization: Secret<String>,
}

impl OpenMarket {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let username = needed("sms.openmarket.username", settings.username.as_ref())?;
        let password = needed("sms.openmarket.password", settings.password.as_ref())?;
        Ok(Self {
            url: web_url("sms.openmarket.url", &settings.url)?.to_owned(),
            authorization: basic(username, password),
        })
    }
}

/// The type of number of a sender, as SMPP counts them.
const fn ton(originator: &Originator) -> u8 {
    match originator {
        Originator::Long(_) => 1,
        Originator::Short(_) => 3,
        Originator::Alpha(_) => 5,
    }
}

impl Api for OpenMarket {
    fn request(&self, sms: &Sms<'_>, _now: Timestamp) -> Result<Request<Vec<u8>>, hyper::http::Error> {
        let body = json!({
            "mobileTerminate": {
                "message": { "content": sms.text, "type": "text" },
                "destination": { "address": sms.to },
                "source": { "ton": ton(sms.from), "address": sms.from.to_string() },
            }
        });
        Request::post(&self.url)
            .header(AUTHORIZATION, self.authorization.expose())
            .header(CONTENT_TYPE, JSON)
            .body(body.to_string().into_bytes())
    }

    fn outcome(&self, reply: &Reply) -> Outcome {
        if reply.status.is_success() {
            return Outcome::Accepted;
        }
        let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
        let code = json.as_ref().and_then(|json| json.pointer("/error/code"));
        let code = code.map(|code| code.as_str().map_or_else(|| code.to_string(), str::to_owned));
        by_status(reply.status, code.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{asked, config, sms, taken};
    use super::OpenMarket;

    fn openmarket() -> OpenMarket {
        let config = config("openmarket = { username = 'u', password = 'p', url = 'https://o.example/sms/v4/mt' }");
        OpenMarket::new(config.unwrap().openmarket.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_json_with_the_kind_of_the_sender_as_a_number() {
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
    fn any_success_is_one() {
        for (status, body, expected) in [
            (202, "", "accepted"),
            (200, "<html>", "accepted"),
            (400, r#"{"error":{"code":"2","description":"+447700900001"}}"#, "not_sent: it refused: 2"),
            (400, r#"{"error":{"code":4}}"#, "not_sent: it refused: 4"),
            (401, "", "not_sent: it does not let us in: 401"),
            (429, "", "not_sent again: it asks for patience: 429"),
            (500, "", "unclear: it failed: 500"),
        ] {
            assert_eq!(taken(&openmarket(), status, body), expected, "{status} {body}");
        }
    }
}
