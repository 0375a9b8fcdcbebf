//! Twilio, Programmable Messaging: `POST /2010-04-01/Accounts/{AccountSid}/Messages.json`.
//! <https://www.twilio.com/docs/messaging/api/message-resource>
//!
//! Invariant: of Twilio's many error codes only those are known that say something of the recipient; any other refusal
//! means that another provider may try, because Twilio changes what its codes mean.

use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use serde_json::Value;
use shared::clock::Timestamp;
use shared::outbound::client::Reply;
use shared::secret::Secret;
use url::form_urlencoded::Serializer;

use super::over_http::{Api, by_status};
use super::provider::{Outcome, Reason, Sms};
use super::{FORM, SmsSetupError, basic, needed, web_url};
use crate::config::sms::providers::Twilio as Settings;

/// Codes that concern the number and nobody else: not a number, opted out, no mobile, a landline.
/// <https://www.twilio.com/docs/api/errors>
const NUMBER_REFUSED: [i64; 4] = [21211, 21610, 21614, 21635];

/// An account with Twilio.
pub(super) struct Twilio {
    url: String,
    authorization: Secret<String>,
    messaging_service_sid: Option<String>,
}

impl Twilio {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let account = needed("sms.twilio.account_sid", settings.account_sid.as_ref())?;
        let token = needed("sms.twilio.auth_token", settings.auth_token.as_ref())?;
        if !account.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(SmsSetupError::Wrong(
                "sms.twilio.account_sid: expected letters and digits, \"AC…\"".to_owned(),
            ));
        }
        let base = web_url("sms.twilio.url", &settings.url)?;
        let name = settings.api_key_sid.as_ref().unwrap_or(account);
        Ok(Self {
            url: format!("{}/2010-04-01/Accounts/{account}/Messages.json", base.trim_end_matches('/')),
            authorization: basic(name, token),
            messaging_service_sid: settings.messaging_service_sid.clone(),
        })
    }
}

impl Api for Twilio {
    fn request(&self, sms: &Sms<'_>, _now: Timestamp) -> Result<Request<Vec<u8>>, hyper::http::Error> {
        let mut form = Serializer::new(String::new());
        form.append_pair("To", &format!("+{}", sms.to));
        match &self.messaging_service_sid {
            Some(service) => form.append_pair("MessagingServiceSid", service),
            None => form.append_pair("From", &sms.from.with_plus()),
        };
        form.append_pair("Body", sms.text);
        Request::post(&self.url)
            .header(AUTHORIZATION, self.authorization.expose())
            .header(CONTENT_TYPE, FORM)
            .body(form.finish().into_bytes())
    }

    fn outcome(&self, reply: &Reply) -> Outcome {
        let json: Option<Value> = serde_json::from_slice(&reply.body).ok();
        let member = |name: &str| json.as_ref().and_then(|json| json.get(name));
        if reply.status.is_success() && member("sid").is_some_and(Value::is_string) {
            return Outcome::Accepted;
        }
        match member("code").and_then(Value::as_i64) {
            Some(code) if reply.status.is_client_error() && NUMBER_REFUSED.contains(&code) => {
                Outcome::NumberRefused(Reason::with_code("error", &code.to_string()))
            }
            code => by_status(reply.status, code.map(|code| code.to_string()).as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, config, sms, taken};
    use super::Twilio;

    fn twilio(more: &str) -> Twilio {
        let toml =
            format!("twilio = {{ account_sid = 'AC01', auth_token = 's3cret', url = 'https://t.example/'{more} }}");
        Twilio::new(config(&toml).unwrap().twilio.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn a_message_is_a_form_with_one_plus_before_each_number() {
        let name = "alpha:Matrix".parse().unwrap();
        let (target, headers, body) = asked(&twilio(""), &sms(&name, "1+1 ist für 2 €"));
        assert_eq!(target, "POST https://t.example/2010-04-01/Accounts/AC01/Messages.json");
        // AC01:s3cret
        assert_eq!(headers, "authorization: Basic QUMwMTpzM2NyZXQ=\ncontent-type: application/x-www-form-urlencoded");
        assert_eq!(body, "To=%2B447700900001&From=Matrix&Body=1%2B1+ist+f%C3%BCr+2+%E2%82%AC");

        let number = "long:447000000000".parse().unwrap();
        let (_, _, body) = asked(&twilio(""), &sms(&number, "x"));
        assert_eq!(body, "To=%2B447700900001&From=%2B447000000000&Body=x");
        let (_, headers, body) =
            asked(&twilio(", api_key_sid = 'SK01', messaging_service_sid = 'MG01'"), &sms(&number, "x"));
        assert_eq!(body, "To=%2B447700900001&MessagingServiceSid=MG01&Body=x");
        // SK01:s3cret
        assert!(headers.contains("Basic U0swMTpzM2NyZXQ="), "{headers}");
    }

    #[test]
    fn each_answer_means_what_twilio_says() {
        for (status, body, expected) in [
            (201, r#"{"sid":"SM01","status":"queued","error_code":null}"#, "accepted"),
            (200, "<html>", "unclear: it answered something unheard of: 200"),
            (201, "{}", "unclear: it answered something unheard of: 201"),
            (400, r#"{"code":21211,"message":"+447700900001 is not a number"}"#, "number_refused: error 21211"),
            (400, r#"{"code":21610}"#, "number_refused: error 21610"),
            (400, r#"{"code":21614}"#, "number_refused: error 21614"),
            (400, r#"{"code":21408}"#, "not_sent: it refused: 21408"),
            (400, "", "not_sent: it refused: 400"),
            (401, r#"{"code":20003}"#, "not_sent: it does not let us in: 20003"),
            (404, "", "not_sent: it refused: 404"),
            (429, r#"{"code":20429}"#, "not_sent again: it asks for patience: 20429"),
            (500, r#"{"code":20500}"#, "unclear: it failed: 20500"),
            (503, "", "not_sent again: it asks for patience: 503"),
            (504, r#"{"code":21610}"#, "unclear: it failed: 21610"),
        ] {
            assert_eq!(taken(&twilio(""), status, body), expected, "{status} {body}");
        }
    }
}
