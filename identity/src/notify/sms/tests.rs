//! Who is asked in which order, and that nobody is asked who could send a message twice.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::{HeaderMap, StatusCode};
use shared::clock::{Clock, Timestamp};
use shared::config::ConfigError;
use shared::outbound::client::Reply;

use super::over_http::Api;
use super::provider::{Outcome, Provider, Reason, Sms};
use super::{SmsError, SmsSender, SmsSetupError, TextMessage, Way};
use crate::config::msisdn::MsisdnConfig;
use crate::config::sms::providers::ProviderName;
use crate::config::sms::{RawSms, SmsConfig};
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;
use crate::domain::sms_text::one_message;

const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// What was asked of whom, in order.
type Asked = Arc<Mutex<Vec<&'static str>>>;

/// Answers what it was told to, the last answer again and again.
struct Told {
    name: &'static str,
    answers: Mutex<Vec<Outcome>>,
    asked: Asked,
}

impl Provider for Told {
    fn send<'a>(&'a self, _: &'a Sms<'a>) -> BoxFuture<'a, Outcome> {
        self.asked.lock().unwrap().push(self.name);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        async move { answer }.boxed()
    }
}

fn busy() -> Outcome {
    Outcome::NotSent { reason: Reason::new("busy"), again: true }
}

fn refused() -> Outcome {
    Outcome::refused(Reason::new("refused"))
}

fn unclear() -> Outcome {
    Outcome::Unclear(Reason::new("timed out"))
}

fn opted_out() -> Outcome {
    Outcome::NumberRefused(Reason::new("opted out"))
}

pub(super) fn config(toml: &str) -> Result<SmsConfig, ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let raw: RawSms = shared::config::load(Some(file.path()), "IDENTITY_SMS_TEST")?;
    raw.complete(std::path::Path::new("/etc"), std::path::Path::new("/data"))
}

/// An SMS sender with the usual order twilio, vonage, http, and exec first for Jamaica.
fn sms_sender(answers: &[(ProviderName, Vec<Outcome>)]) -> (SmsSender, Asked, Clock) {
    let (clock, asked) = (Clock::manual(START), Asked::default());
    let config = config("provider = ['twilio', 'vonage', 'http']\nroutes.JM = ['exec', 'vonage']\n").unwrap();
    let providers = answers.iter().map(|(name, answers)| {
        let told = Told { name: name.as_str(), answers: Mutex::new(answers.clone()), asked: asked.clone() };
        (*name, Way { provider: Box::new(told), last_until: 0.into() })
    });
    (SmsSender { config, providers: providers.collect(), clock: clock.clone() }, asked, clock)
}

fn number(typed: &str) -> Msisdn {
    Msisdn::dialled(typed, "US", &MsisdnConfig::default().rules()).unwrap()
}

async fn send(sender: &SmsSender, to: &str) -> Result<(), SmsError> {
    sender.send(&TextMessage { number: &number(to), text: "123456 is your code", token: "123456" }).await.map(drop)
}

const GB: &str = "+447700900001";

#[tokio::test]
async fn the_next_one_is_asked_only_if_the_one_before_surely_sent_nothing() {
    use ProviderName::{Http, Twilio, Vonage};
    for (twilio, vonage, result, order) in [
        (vec![Outcome::Accepted], vec![Outcome::Accepted], Ok(()), &["twilio"][..]),
        (vec![refused()], vec![Outcome::Accepted], Ok(()), &["twilio", "vonage"]),
        (vec![busy()], vec![Outcome::Accepted], Ok(()), &["twilio", "vonage"]),
        (vec![unclear()], vec![Outcome::Accepted], Err(SmsError::Unclear), &["twilio"]),
        (vec![opted_out()], vec![Outcome::Accepted], Err(SmsError::NumberRefused), &["twilio"]),
        (vec![refused()], vec![unclear()], Err(SmsError::Unclear), &["twilio", "vonage"]),
        (vec![refused()], vec![refused()], Err(SmsError::NotSent), &["twilio", "vonage", "http"]),
        // Who was in trouble for a moment is asked once more, and only he.
        (vec![refused()], vec![busy(), Outcome::Accepted], Ok(()), &["twilio", "vonage", "http", "vonage"]),
        (
            vec![busy()],
            vec![busy(), unclear()],
            Err(SmsError::Unclear),
            &["twilio", "vonage", "http", "twilio", "vonage"],
        ),
        (vec![busy()], vec![refused()], Err(SmsError::NotSent), &["twilio", "vonage", "http", "twilio"]),
    ] {
        let answers = [(Twilio, twilio), (Vonage, vonage), (Http, vec![refused()])];
        let (sender, asked, _) = sms_sender(&answers);
        assert_eq!(send(&sender, GB).await, result, "{answers:?}");
        assert_eq!(*asked.lock().unwrap(), order, "{answers:?}");
    }
}

#[tokio::test]
async fn who_was_in_trouble_comes_last_for_a_minute() {
    use ProviderName::{Http, Twilio, Vonage};
    let answers =
        [(Twilio, vec![unclear(), Outcome::Accepted]), (Vonage, vec![Outcome::Accepted]), (Http, vec![refused()])];
    let (sender, asked, clock) = sms_sender(&answers);
    assert_eq!(send(&sender, GB).await, Err(SmsError::Unclear));
    assert_eq!(send(&sender, GB).await, Ok(()));
    clock.advance(Duration::from_secs(60));
    assert_eq!(send(&sender, GB).await, Ok(()));
    assert_eq!(*asked.lock().unwrap(), ["twilio", "vonage", "twilio"]);
}

#[tokio::test]
async fn a_country_may_have_an_order_of_its_own() {
    use ProviderName::{Exec, Http, Twilio, Vonage};
    let all = [Exec, Http, Twilio, Vonage].map(|name| (name, vec![refused()]));
    let (sender, asked, _) = sms_sender(&all);
    assert_eq!(send(&sender, "+18769220123").await, Err(SmsError::NotSent));
    assert_eq!(*asked.lock().unwrap(), ["exec", "vonage"]);
}

#[tokio::test]
async fn what_is_not_one_sms_goes_to_nobody() {
    let (sender, asked, _) = sms_sender(&[(ProviderName::Twilio, vec![Outcome::Accepted])]);
    for text in [String::new(), "x".repeat(161), "ж".repeat(71)] {
        let message = TextMessage { number: &number(GB), text: &text, token: "" };
        assert_eq!(sender.send(&message).await, Err(SmsError::NotOne));
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn what_a_provider_cannot_do_without_is_named() {
    let new = |toml: &str| {
        let config = config(&format!("default_rule = 'allow'\n{toml}")).unwrap();
        SmsSender::new(&config, None, Clock::system())
            .map(|sender| sender.describe())
            .map_err(|error| error.to_string())
    };
    for (toml, told) in [
        ("", "SMS goes out through log"),
        ("provider = []", "no SMS: [sms] provider names nobody"),
        ("provider = ['openmarket', 'log']\nopenmarket = { username = 'u', password = 'p' }", "openmarket, then log"),
        ("provider = 'twilio'", "sms.twilio: set it"),
        ("provider = 'twilio'\ntwilio.auth_token = 'x'", "sms.twilio.account_sid: set it"),
        ("provider = 'twilio'\ntwilio.account_sid = 'AC1'", "sms.twilio.auth_token: set it"),
        ("provider = 'twilio'\ntwilio = { account_sid = 'AC1/..', auth_token = 'x' }", "expected letters and digits"),
        ("provider = 'vonage'\nvonage.api_key = 'x'", "sms.vonage.api_secret: set it"),
        ("provider = 'openmarket'\nopenmarket.username = 'x'", "sms.openmarket.password: set it"),
        ("provider = 'infobip'\ninfobip.api_key = 'x'", "sms.infobip.url: set it"),
        ("provider = 'sns'\nsns.region = 'eu-west-1'", "sms.sns.access_key_id: set it"),
        ("provider = 'exec'\nexec.args = ['x']", "sms.exec.command: set it"),
        ("provider = 'http'\nhttp.body = 'x'", "sms.http.url: set it"),
        ("provider = 'log'\nroutes.44 = 'vonage'", "sms.vonage: set it"),
        (
            "provider = 'vonage'\nvonage = { url = 'ftp://x', api_key = 'x', api_secret = 'y' }",
            "sms.vonage.url: expected",
        ),
    ] {
        let said = new(toml).unwrap_or_else(|error| error);
        assert!(said.contains(told), "{toml}: {said}");
    }
    // Also before a country is allowed, so that it does not show only then.
    let quiet = config("provider = 'twilio'").unwrap();
    assert!(SmsSender::new(&quiet, None, Clock::system()).is_err());
    let nobody = SmsSender::new(&config("").unwrap(), None, Clock::system()).unwrap();
    assert_eq!(nobody.describe(), "no SMS: no country is allowed in [sms.rules]");
    assert!(matches!(
        SmsSender::new(&config("provider = 'exec'\ndefault_rule = 'allow'").unwrap(), None, Clock::system()),
        Err(SmsSetupError::Missing("sms.exec"))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_gets_a_line_of_json_and_says_by_its_status_what_came_of_it() {
    let folder = tempfile::tempdir().unwrap();
    for (script, result) in [
        ("cat > \"$0.got\"; exit 0", Ok(())),
        ("exit 1", Err(SmsError::NotSent)),
        ("exit 67", Err(SmsError::NumberRefused)),
        ("exit 75", Err(SmsError::NotSent)),
        ("kill -9 $$", Err(SmsError::Unclear)),
        ("exec sleep 60", Err(SmsError::Unclear)),
    ] {
        let program: PathBuf = folder.path().join("program");
        std::fs::write(&program, format!("{script}\n")).unwrap();
        let toml = format!(
            "provider = 'exec'\ndefault_rule = 'allow'\ntimeout = '1s'\nexec = {{ command = '/bin/sh', args = ['{}'] }}",
            program.display()
        );
        let sender = SmsSender::new(&config(&toml).unwrap(), None, Clock::system()).unwrap();
        assert_eq!(send(&sender, GB).await, result, "{script}");
    }
    let got = std::fs::read_to_string(folder.path().join("program.got")).unwrap();
    let expected = serde_json::json!({
        "to": "447700900001",
        "from": { "type": "alpha", "address": "Matrix" },
        "text": "123456 is your code",
        "token": "123456",
    });
    assert_eq!(got, format!("{expected}\n"));
    let missing = config("provider = 'exec'\ndefault_rule = 'allow'\nexec.command = '/nonexistent'").unwrap();
    let sender = SmsSender::new(&missing, None, Clock::system()).unwrap();
    assert_eq!(send(&sender, GB).await, Err(SmsError::NotSent));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_for_development_has_a_line_for_each_message_and_one_reader() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sms.log");
    let toml = format!("default_rule = 'allow'\nlog.file = '{}'", path.display());
    let sender = SmsSender::new(&config(&toml).unwrap(), None, Clock::system()).unwrap();
    assert!(!path.exists(), "nothing is made before the first message");
    for _ in 0..2 {
        send(&sender, GB).await.unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, "to +447700900001 from Matrix: 123456 is your code\n".repeat(2));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A message from a name, in the cheap alphabet or not.
pub(super) fn sms<'a>(from: &'a Originator, text: &'a str) -> Sms<'a> {
    Sms { to: "447700900001", from, text, encoding: one_message(text).unwrap(), token: "123456" }
}

/// What `api` asks for a message: method and URL, the header fields, the body.
pub(super) fn asked(api: &dyn Api, sms: &Sms<'_>) -> (String, String, String) {
    let request = api.request(sms, START).unwrap();
    let headers = request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    (
        format!("{} {}", request.method(), request.uri()),
        headers.collect::<Vec<_>>().join("\n"),
        String::from_utf8(request.body().clone()).unwrap(),
    )
}

/// What `api` takes an answer for: the kind of outcome, `again` if it may be asked again, and the reason.
pub(super) fn taken(api: &dyn Api, status: u16, body: &str) -> String {
    let reply = Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    };
    let outcome = api.outcome(&reply);
    match &outcome {
        Outcome::Accepted => outcome.label().to_owned(),
        Outcome::NotSent { reason, again: true } => format!("not_sent again: {reason}"),
        Outcome::NotSent { reason, .. } | Outcome::NumberRefused(reason) | Outcome::Unclear(reason) => {
            format!("{}: {reason}", outcome.label())
        }
    }
}
