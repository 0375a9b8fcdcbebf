//! Amazon SNS: `Publish` to a telephone number, signed with Signature Version 4.
//! <https://docs.aws.amazon.com/sns/latest/api/API_Publish.html>
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>
//!
//! Invariant: what is signed is what is sent: host, time, type and the digest of the body.

use std::fmt::Write as _;

use aws_lc_rs::{digest, hmac};
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use shared::clock::Timestamp;
use shared::outbound::client::Reply;
use shared::secret::Secret;
use url::Url;
use url::form_urlencoded::Serializer;

use super::over_http::{Api, by_status};
use super::provider::{Outcome, Reason, Sms};
use super::{FORM, SmsSetupError, needed, web_url};
use crate::config::sms::providers::Sns as Settings;
use crate::domain::originator::Originator;

/// An access key of Amazon Web Services.
pub(super) struct Sns {
    url: String,
    host: String,
    region: String,
    access_key_id: String,
    secret_access_key: Secret<String>,
}

impl Sns {
    pub(super) fn new(settings: &Settings) -> Result<Self, SmsSetupError> {
        let region = needed("sms.sns.region", settings.region.as_ref())?;
        let amazon = format!("https://sns.{region}.amazonaws.com");
        let url = web_url("sms.sns.url", settings.url.as_deref().unwrap_or(&amazon))?;
        let parsed = Url::parse(url).map_err(|_| SmsSetupError::Wrong("sms.sns.url: not a URL".to_owned()))?;
        let host = parsed.host_str().unwrap_or_default();
        Ok(Self {
            url: format!("{}/", url.trim_end_matches('/')),
            host: parsed.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")),
            region: region.clone(),
            access_key_id: needed("sms.sns.access_key_id", settings.access_key_id.as_ref())?.clone(),
            secret_access_key: needed("sms.sns.secret_access_key", settings.secret_access_key.as_ref())?.clone(),
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

impl Api for Sns {
    fn request(&self, sms: &Sms<'_>, now: Timestamp) -> Result<Request<Vec<u8>>, hyper::http::Error> {
        let sender = match sms.from {
            Originator::Alpha(_) => "AWS.SNS.SMS.SenderID",
            Originator::Long(_) | Originator::Short(_) => "AWS.MM.SMS.OriginationNumber",
        };
        let attributes = [("AWS.SNS.SMS.SMSType", "Transactional".to_owned()), (sender, sms.from.with_plus())];
        let mut form = Serializer::new(String::new());
        form.append_pair("Action", "Publish")
            .append_pair("Version", "2010-03-31")
            .append_pair("PhoneNumber", &format!("+{}", sms.to))
            .append_pair("Message", sms.text);
        for (number, (name, value)) in (1..).zip(attributes) {
            let entry = format!("MessageAttributes.entry.{number}");
            form.append_pair(&format!("{entry}.Name"), name)
                .append_pair(&format!("{entry}.Value.DataType"), "String")
                .append_pair(&format!("{entry}.Value.StringValue"), &value);
        }
        let (body, time) = (form.finish(), basic_time(now));
        Request::post(&self.url)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, FORM)
            .header("x-amz-date", &time)
            .header(AUTHORIZATION, self.authorization(&body, &time))
            .body(body.into_bytes())
    }

    fn outcome(&self, reply: &Reply) -> Outcome {
        let body = String::from_utf8_lossy(&reply.body);
        let inner = |name: &str| {
            let (_, rest) = body.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
        };
        if reply.status.is_success() && inner("MessageId").is_some() {
            return Outcome::Accepted;
        }
        match (inner("Code"), reply.status.is_client_error()) {
            (Some("OptedOut"), true) => Outcome::NumberRefused(Reason::new("opted out")),
            (Some(code @ ("Throttled" | "Throttling" | "ThrottlingException")), true) => {
                Outcome::NotSent { reason: Reason::with_code("it asks for patience:", code), again: true }
            }
            (code, _) => by_status(reply.status, code),
        }
    }
}

fn mac(key: &[u8], message: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message.as_bytes())
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// ISO 8601 basic format, in UTC.
fn basic_time(now: Timestamp) -> String {
    let seconds = now.as_millis().div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Howard Hinnant, "chrono-compatible low-level date algorithms": years that begin in March, in eras of 400.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use shared::clock::Timestamp;

    use super::super::tests::{asked, config, sms, taken};
    use super::{Sns, basic_time};

    fn sns() -> Sns {
        let config = config(
            "sns = { region = 'eu-west-1', access_key_id = 'AKID', secret_access_key = 's3cret', url = 'http://127.0.0.1:9' }",
        );
        Sns::new(config.unwrap().sns.as_ref().unwrap()).unwrap()
    }

    #[test]
    fn time_is_told_in_the_basic_format() {
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
    fn a_message_is_a_signed_form() {
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
    fn each_answer_means_what_amazon_says() {
        let error = |code: &str| {
            format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>")
        };
        let accepted = "<PublishResponse><PublishResult><MessageId>1</MessageId></PublishResult></PublishResponse>";
        for (status, body, expected) in [
            (200, accepted.to_owned(), "accepted"),
            (200, "<html>".to_owned(), "unclear: it answered something unheard of: 200"),
            (400, error("InvalidParameter"), "not_sent: it refused: InvalidParameter"),
            (400, error("OptedOut"), "number_refused: opted out"),
            (400, error("Throttling"), "not_sent again: it asks for patience: Throttling"),
            (403, error("SignatureDoesNotMatch"), "not_sent: it does not let us in: SignatureDoesNotMatch"),
            (500, error("InternalFailure"), "unclear: it failed: InternalFailure"),
            (503, error("ServiceUnavailable"), "not_sent again: it asks for patience: ServiceUnavailable"),
        ] {
            assert_eq!(taken(&sns(), status, &body), expected, "{status} {body}");
        }
    }
}
