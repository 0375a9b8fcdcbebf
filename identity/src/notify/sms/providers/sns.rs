//! Amazon SNS: `Publish` to a telephone number, signed with Signature Version 4.
//! <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! Invariant: the signature covers the request as sent: host, time, content type and the digest of the body.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use shared::clock::{Clock, Timestamp};
use shared::outbound::client::Reply;
use shared::secret::Secret;
use url::Url;

use super::super::SmsSetupError;
use super::super::http_provider::{FORM, HttpApi, RequestResult, by_status, form};
use super::super::provider::{Outcome, Reason, Sms};
use super::{needed, web_url};
use crate::config::sms::providers::Sns as Settings;
use crate::domain::originator::Originator;

/// An access key of Amazon Web Services.
pub(super) struct Sns {
    url: String,
    host: String,
    region: String,
    access_key_id: String,
    secret_access_key: Secret<String>,
    clock: Clock,
}

impl Sns {
    pub(super) fn new(settings: &Settings, clock: Clock) -> Result<Self, SmsSetupError> {
        let region = needed("[sms.sns] region", &settings.region)?;
        let amazon = format!("https://sns.{region}.amazonaws.com");
        let url = web_url("[sms.sns] url", settings.url.as_deref().unwrap_or(&amazon))?;
        let parsed = Url::parse(url).map_err(|_| SmsSetupError::Invalid("[sms.sns] url: not a URL".to_owned()))?;
        let host = parsed.host_str().unwrap_or_default();
        Ok(Self {
            url: format!("{}/", url.trim_end_matches('/')),
            host: parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            region: region.clone(),
            access_key_id: needed("[sms.sns] access_key_id", &settings.access_key_id)?.clone(),
            secret_access_key: needed("[sms.sns] secret_access_key", &settings.secret_access_key)?.clone(),
            clock,
        })
    }

    /// The value of `Authorization` for a request with this body at `time` (`20150830T123600Z`).
    fn authorization(&self, body: &str, time: &str) -> String {
        let (host, region, day) = (&self.host, &self.region, &time[..8]);
        let (signed, digest) = ("content-type;host;x-amz-date", hex(digest::digest(&digest::SHA256, body.as_bytes())));
        let request = format!("POST\n/\n\ncontent-type:{FORM}\nhost:{host}\nx-amz-date:{time}\n\n{signed}\n{digest}");
        let scope = format!("{day}/{region}/sns/aws4_request");
        let digest = hex(digest::digest(&digest::SHA256, request.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
        let secret = Secret::new(format!("AWS4{}", self.secret_access_key.expose()));
        let mut key = mac(secret.expose().as_bytes(), day);
        for part in [region.as_str(), "sns", "aws4_request"] {
            key = mac(key.as_ref(), part);
        }
        let signature = hex(mac(key.as_ref(), &to_sign));
        let id = &self.access_key_id;
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={signed}, Signature={signature}")
    }
}

impl HttpApi for Sns {
    fn request(&self, sms: &Sms<'_>) -> RequestResult {
        let attribute = match sms.from {
            Originator::Alpha(_) => "AWS.SNS.SMS.SenderID",
            Originator::Long(_) | Originator::Short(_) => "AWS.MM.SMS.OriginationNumber",
        };
        let (to, from) = (format!("+{}", sms.to), sms.from.with_plus());
        let body = form([
            ("Action", "Publish"),
            ("Version", "2010-03-31"),
            ("PhoneNumber", &to),
            ("Message", sms.text),
            ("MessageAttributes.entry.1.Name", "AWS.SNS.SMS.SMSType"),
            ("MessageAttributes.entry.1.Value.DataType", "String"),
            ("MessageAttributes.entry.1.Value.StringValue", "Transactional"),
            ("MessageAttributes.entry.2.Name", attribute),
            ("MessageAttributes.entry.2.Value.DataType", "String"),
            ("MessageAttributes.entry.2.Value.StringValue", &from),
        ]);
        let time = basic_time(self.clock.now());
        Request::post(&self.url)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, FORM)
            .header("x-amz-date", &time)
            .header(AUTHORIZATION, self.authorization(&body, &time))
            .body(body.into_bytes())
    }

    fn outcome(&self, response: &Reply) -> Outcome {
        let body = String::from_utf8_lossy(&response.body);
        let inner = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
        };
        if response.status.is_success() && inner("MessageId").is_some() {
            return Outcome::Accepted;
        }
        match (inner("Code"), response.status.is_client_error()) {
            (Some("OptedOut"), true) => Outcome::NumberRefused(Reason::new("opted out")),
            (Some(code @ ("Throttled" | "Throttling" | "ThrottlingException")), true) => {
                Outcome::busy(Reason::with_code("rate limited:", code))
            }
            (code, _) => by_status(response.status, code),
        }
    }
}

fn mac(key: &[u8], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// ISO 8601 basic format, in UTC.
fn basic_time(now: Timestamp) -> String {
    let time = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use shared::clock::{Clock, Timestamp};

    use super::super::super::tests::{START, asked, config, sms, taken};
    use super::{Sns, basic_time};

    fn sns() -> Sns {
        let config = config(
            "sns = { region = 'eu-west-1', access_key_id = 'AKID', secret_access_key = 's3cret', url = 'http://127.0.0.1:9' }",
        );
        Sns::new(config.unwrap().sns.as_ref().unwrap(), Clock::manual(START)).unwrap()
    }

    #[test]
    fn time_has_the_basic_format() {
        for (millis, expected) in [
            (0, "19700101T000000Z"),
            (951_782_399_999, "20000228T235959Z"),
            (951_782_400_000, "20000229T000000Z"),
            (1_440_938_160_000, "20150830T123600Z"),
            (1_709_251_199_000, "20240229T235959Z"),
            (4_102_444_800_000, "21000101T000000Z"),
            (4_107_542_400_000, "21000301T000000Z"),
        ] {
            assert_eq!(basic_time(Timestamp::from_millis(millis)), expected);
        }
    }

    #[test]
    fn the_request_is_a_signed_form() {
        let name = "alpha:Matrix".parse().unwrap();
        let (target, headers, body) = asked(&sns(), &sms(&name, "1 ä"));
        assert_eq!(target, "POST http://127.0.0.1:9/");
        assert_eq!(
            body,
            "Action=Publish&Version=2010-03-31&PhoneNumber=%2B447700900001&Message=1+%C3%A4\
             &MessageAttributes.entry.1.Name=AWS.SNS.SMS.SMSType&MessageAttributes.entry.1.Value.DataType=String\
             &MessageAttributes.entry.1.Value.StringValue=Transactional\
             &MessageAttributes.entry.2.Name=AWS.SNS.SMS.SenderID&MessageAttributes.entry.2.Value.DataType=String\
             &MessageAttributes.entry.2.Value.StringValue=Matrix"
        );
        assert!(
            headers.contains("host: 127.0.0.1:9\n") && headers.contains("x-amz-date: 20250615T150640Z\n"),
            "{headers}"
        );
        let (_, authorization) = headers.split_once("authorization: ").unwrap();
        assert!(
            authorization.starts_with(
                "AWS4-HMAC-SHA256 Credential=AKID/20250615/eu-west-1/sns/aws4_request, \
                 SignedHeaders=content-type;host;x-amz-date, Signature="
            ),
            "{authorization}"
        );
        let number = "long:447000000000".parse().unwrap();
        let (_, _, body) = asked(&sns(), &sms(&number, "x"));
        assert!(
            body.contains("AWS.MM.SMS.OriginationNumber") && body.ends_with("StringValue=%2B447000000000"),
            "{body}"
        );
    }

    #[test]
    fn each_response_has_its_outcome() {
        let error = |code: &str| {
            format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>")
        };
        let accepted = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";
        for (status, body, expected) in [
            (200, accepted.to_owned(), "accepted"),
            (200, "<html>".to_owned(), "unclear: unexpected response: 200"),
            (400, error("InvalidParameter"), "not_sent: request rejected: InvalidParameter"),
            (400, error("OptedOut"), "number_refused: opted out"),
            (400, error("Throttling"), "not_sent again: rate limited: Throttling"),
            (403, error("SignatureDoesNotMatch"), "not_sent: authentication failed: SignatureDoesNotMatch"),
            (500, error("InternalFailure"), "unclear: server error: InternalFailure"),
            (503, error("ServiceUnavailable"), "unclear: server error: ServiceUnavailable"),
        ] {
            assert_eq!(taken(&sns(), status, &body), expected, "{status} {body}");
        }
    }
}
