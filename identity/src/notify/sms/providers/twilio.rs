//! Twilio, Programmable Messaging: `POST /2010-04-01/Accounts/{AccountSid}/Messages.json`.
//! <https://www.twilio.com/docs/messaging/api/message-resource>
//!
//! Invariant: only error codes about the recipient are interpreted. After any other rejection another provider may try,
//! because Twilio changes the meaning of its codes.

use serde_json::Value;
use shared::outbound::client::Reply;
use shared::secret::Secret;

use super::super::SmsSetupError;
use super::super::http_provider::{FORM, HttpApi, RequestResult, by_status, form, get, json_body, post};
use super::super::provider::{Outcome, Reason, Sms};
use super::{basic, needed, web_url};
use crate::config::sms::providers::Twilio as Settings;

/// Codes about the number alone: not a number, opted out, not a mobile number, a landline.
/// <https://www.twilio.com/docs/api/errors>
const NUMBER_REFUSED: [i64; 4] = [21211, 21610, 21614, 21635];

/// A Twilio account.
pub(super) struct Twilio {
    url: String,
    authorization: Secret<String>,
    messaging_service_sid: Option<String>,
}

impl Twilio {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let account = needed("[sms.twilio] account_sid", &settings.account_sid)?;
        let token = needed("[sms.twilio] auth_token", &settings.auth_token)?;
        if !account.bytes().all(|b| b.is_ascii_alphanumeric()) {
            let problem = "[sms.twilio] account_sid: expected letters and digits, \"AC…\"";
            return Err(SmsSetupError::Invalid(problem.to_owned()));
        }
        let base = web_url("[sms.twilio] url", &settings.url)?;
        Ok(Self {
            url: format!("{}/2010-04-01/Accounts/{account}/Messages.json", base.trim_end_matches('/')),
            authorization: basic(settings.api_key_sid.as_ref().unwrap_or(account), token),
            messaging_service_sid: settings.messaging_service_sid.clone(),
        })
    }
}

impl HttpApi for Twilio {
    fn request(&self, sms: &Sms<'_>) -> RequestResult {
        let (to, from) = (format!("+{}", sms.to), sms.from.with_plus());
        let sender = match &self.messaging_service_sid {
            Some(service) => ("MessagingServiceSid", service.as_str()),
            None => ("From", from.as_str()),
        };
        let body = form([("To", to.as_str()), sender, ("Body", sms.text)]);
        post(&self.url, Some(&self.authorization), FORM).body(body.into_bytes())
    }

    fn credential_request(&self) -> Option<RequestResult> {
        let account = format!("{}.json", self.url.strip_suffix("/Messages.json")?);
        Some(get(&account, Some(&self.authorization)).body(Vec::new()))
    }

    fn outcome(&self, response: &Reply) -> Outcome {
        let json = json_body(response);
        if response.status.is_success() && json.get("sid").is_some_and(Value::is_string) {
            return Outcome::Accepted;
        }
        match json.get("code").and_then(Value::as_i64) {
            Some(code) if response.status.is_client_error() && NUMBER_REFUSED.contains(&code) => {
                Outcome::NumberRefused(Reason::with_code("error", &code.to_string()))
            }
            code => by_status(response.status, code.map(|code| code.to_string()).as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{asked, config, sms, taken};
    use super::{HttpApi, Twilio};

    fn twilio(more: &str) -> Twilio {
        let toml =
            format!("twilio = {{ account_sid = 'AC01', auth_token = 's3cret', url = 'https://t.example/'{more} }}");
        Twilio::new(config(&toml).unwrap().twilio.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn the_credential_is_checked_without_a_message() {
        let request = twilio("").credential_request().unwrap().unwrap();
        assert_eq!(
            format!("{} {}", request.method(), request.uri()),
            "GET https://t.example/2010-04-01/Accounts/AC01.json"
        );
    }

    #[test]
    fn the_request_is_a_form_with_one_plus_before_each_number() {
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
    fn each_response_has_its_outcome() {
        for (status, body, expected) in [
            (201, r#"{"sid":"SM01","status":"queued","error_code":null}"#, "accepted"),
            (200, "<html>", "unclear: unexpected response: 200"),
            (201, "{}", "unclear: unexpected response: 201"),
            (400, r#"{"code":21211,"message":"+447700900001 is not a number"}"#, "number_refused: error 21211"),
            (400, r#"{"code":21610}"#, "number_refused: error 21610"),
            (400, r#"{"code":21614}"#, "number_refused: error 21614"),
            (400, r#"{"code":21408}"#, "not_sent: request rejected: 21408"),
            (400, "", "not_sent: request rejected: 400"),
            (401, r#"{"code":20003}"#, "not_sent: authentication failed: 20003"),
            (404, "", "not_sent: request rejected: 404"),
            (429, r#"{"code":20429}"#, "not_sent again: rate limited: 20429"),
            (500, r#"{"code":20500}"#, "unclear: server error: 20500"),
            (503, "", "unclear: server error: 503"),
            (504, r#"{"code":21610}"#, "unclear: server error: 21610"),
        ] {
            assert_eq!(taken(&twilio(""), status, body), expected, "{status} {body}");
        }
    }
}
