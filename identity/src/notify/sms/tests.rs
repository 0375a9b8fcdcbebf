//! Tests of provider order, fallback and retry, and of the providers without HTTP.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hyper::{HeaderMap, StatusCode};
use shared::clock::{Clock, Timestamp};
use shared::config::ConfigError;
use shared::outbound::client::Reply;

use super::http_provider::HttpApi;
use super::provider::{Outcome, Provider, Reason, Sms};
use super::{Slot, SmsError, SmsSender, SmsSetupError, TextMessage};
use crate::config::msisdn::MsisdnConfig;
use crate::config::sms::providers::ProviderName;
use crate::config::sms::{RawSms, SmsConfig};
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;
use crate::domain::sms_text::one_message;

pub(super) const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// The providers that were asked, in order.
type Asked = Arc<Mutex<Vec<&'static str>>>;

/// Returns the given outcomes in order and repeats the last one.
struct FakeProvider {
    name: &'static str,
    answers: Mutex<Vec<Outcome>>,
    asked: Asked,
}

impl Provider for FakeProvider {
    fn send<'a>(&'a self, _: &'a Sms<'a>) -> BoxFuture<'a, Outcome> {
        self.asked.lock().unwrap().push(self.name);
        let mut answers = self.answers.lock().unwrap();
        let answer = if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() };
        async move { answer }.boxed()
    }
}

fn busy() -> Outcome {
    Outcome::busy(Reason::new("busy"))
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
        let fake = FakeProvider { name: name.as_str(), answers: Mutex::new(answers.clone()), asked: asked.clone() };
        (*name, Slot { provider: Box::new(fake), demoted_until: 0.into() })
    });
    (SmsSender { config, providers: providers.collect(), clock: clock.clone() }, asked, clock)
}

fn number(typed: &str) -> Msisdn {
    Msisdn::dialled(typed, "US", &MsisdnConfig::default().rules()).unwrap()
}

async fn send(sender: &SmsSender, to: &str) -> Result<(), SmsError> {
    sender
        .send(&TextMessage { number: &number(to), text: "123456 is your code", token: "123456" }, || false)
        .await
        .map(drop)
}

const GB: &str = "+447700900001";

#[tokio::test]
async fn a_demotion_by_a_clock_that_was_ahead_has_ended() {
    use ProviderName::{Http, Twilio, Vonage};
    let accepted = vec![Outcome::Accepted];
    for (ahead, first) in [(59, "vonage"), (61, "twilio"), (5400, "twilio")] {
        let (sender, asked, _) =
            sms_sender(&[(Twilio, accepted.clone()), (Vonage, accepted.clone()), (Http, accepted.clone())]);
        let until = START.plus(Duration::from_secs(ahead)).as_millis();
        sender.providers[&Twilio].demoted_until.store(until, std::sync::atomic::Ordering::Relaxed);
        send(&sender, GB).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), [first], "{ahead} s ahead");
    }
}

#[tokio::test]
async fn a_stopping_process_makes_no_second_attempt() {
    use ProviderName::{Http, Twilio, Vonage};
    let accepted = vec![Outcome::Accepted];
    for (twilio, result, order) in [
        (vec![refused()], Err(SmsError::NotSent), &["twilio"][..]),
        (vec![busy()], Err(SmsError::NotSent), &["twilio"]),
        (vec![unclear()], Err(SmsError::Unclear), &["twilio"]),
        (accepted.clone(), Ok(Twilio), &["twilio"]),
    ] {
        let (sender, asked, _) = sms_sender(&[(Twilio, twilio), (Vonage, accepted.clone()), (Http, accepted.clone())]);
        let (number, text) = (number(GB), "123456 is your code");
        let message = TextMessage { number: &number, text, token: "123456" };
        assert_eq!(sender.send(&message, || true).await, result);
        assert_eq!(*asked.lock().unwrap(), order);
    }
}

#[tokio::test]
async fn the_next_provider_is_asked_only_if_the_one_before_certainly_sent_nothing() {
    use ProviderName::{Http, Twilio, Vonage};
    for (twilio, vonage, result, order) in [
        (vec![Outcome::Accepted], vec![Outcome::Accepted], Ok(()), &["twilio"][..]),
        (vec![refused()], vec![Outcome::Accepted], Ok(()), &["twilio", "vonage"]),
        (vec![busy()], vec![Outcome::Accepted], Ok(()), &["twilio", "vonage"]),
        (vec![unclear()], vec![Outcome::Accepted], Err(SmsError::Unclear), &["twilio"]),
        (vec![opted_out()], vec![Outcome::Accepted], Err(SmsError::NumberRefused), &["twilio"]),
        (vec![refused()], vec![unclear()], Err(SmsError::Unclear), &["twilio", "vonage"]),
        (vec![refused()], vec![refused()], Err(SmsError::NotSent), &["twilio", "vonage", "http"]),
        // Only a provider that failed temporarily is asked again.
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
async fn a_failing_provider_is_tried_last_for_a_minute() {
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
async fn a_route_has_its_own_provider_order() {
    use ProviderName::{Exec, Http, Twilio, Vonage};
    let all = [Exec, Http, Twilio, Vonage].map(|name| (name, vec![refused()]));
    let (sender, asked, _) = sms_sender(&all);
    assert_eq!(send(&sender, "+18769220123").await, Err(SmsError::NotSent));
    assert_eq!(*asked.lock().unwrap(), ["exec", "vonage"]);
}

#[tokio::test]
async fn a_text_that_is_not_one_sms_reaches_no_provider() {
    let (sender, asked, _) = sms_sender(&[(ProviderName::Twilio, vec![Outcome::Accepted])]);
    for text in [String::new(), "x".repeat(161), "ж".repeat(71)] {
        let message = TextMessage { number: &number(GB), text: &text, token: "" };
        assert_eq!(sender.send(&message, || false).await, Err(SmsError::NotOne));
    }
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn a_missing_setting_of_a_provider_is_named() {
    let new = |toml: &str| {
        let config = config(&format!("default_rule = 'allow'\n{toml}")).unwrap();
        SmsSender::new(&config, None, Clock::system())
            .map(|sender| sender.describe())
            .map_err(|error| error.to_string())
    };
    for (toml, expected) in [
        ("", "SMS: log"),
        ("provider = []", "SMS: disabled, [sms] provider is empty"),
        (
            "provider = ['openmarket', 'log']\nopenmarket = { username = 'u', password = 'p' }",
            "SMS: openmarket, then log",
        ),
        ("provider = 'twilio'", "[sms.twilio]: missing"),
        ("provider = 'twilio'\ntwilio.auth_token = 'x'", "[sms.twilio] account_sid: missing"),
        ("provider = 'twilio'\ntwilio.account_sid = 'AC1'", "[sms.twilio] auth_token: missing"),
        ("provider = 'twilio'\ntwilio = { account_sid = 'AC1/..', auth_token = 'x' }", "expected letters and digits"),
        ("provider = 'vonage'\nvonage.api_key = 'x'", "[sms.vonage] api_secret: missing"),
        ("provider = 'openmarket'\nopenmarket.username = 'x'", "[sms.openmarket] password: missing"),
        ("provider = 'infobip'\ninfobip.api_key = 'x'", "[sms.infobip] url: missing"),
        ("provider = 'sns'\nsns.region = 'eu-west-1'", "[sms.sns] access_key_id: missing"),
        ("provider = 'exec'\nexec.args = ['x']", "[sms.exec] command: missing"),
        ("provider = 'http'\nhttp.body = 'x'", "[sms.http] url: missing"),
        ("provider = 'log'\nroutes.44 = 'vonage'", "[sms.vonage]: missing"),
        (
            "provider = 'vonage'\nvonage = { url = 'ftp://x', api_key = 'x', api_secret = 'y' }",
            "[sms.vonage] url: expected",
        ),
    ] {
        let said = new(toml).unwrap_or_else(|error| error);
        assert!(said.contains(expected), "{toml}: {said}");
    }
    // The check runs even while no country is allowed.
    let quiet = config("provider = 'twilio'").unwrap();
    assert!(SmsSender::new(&quiet, None, Clock::system()).is_err());
    let no_country = SmsSender::new(&config("").unwrap(), None, Clock::system()).unwrap();
    assert_eq!(no_country.describe(), "SMS: disabled, no country is allowed in [sms.rules]");
    assert!(matches!(
        SmsSender::new(&config("provider = 'exec'\ndefault_rule = 'allow'").unwrap(), None, Clock::system()),
        Err(SmsSetupError::Missing("[sms.exec]"))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_reads_a_line_of_json_and_its_exit_status_decides() {
    let folder = tempfile::tempdir().unwrap();
    for (script, result) in [
        ("cat > \"$0.got\"; exit 0", Ok(())),
        ("exit 1", Err(SmsError::Unclear)),
        ("exit 127", Err(SmsError::Unclear)),
        ("exit 69", Err(SmsError::NotSent)),
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
async fn the_log_file_has_a_line_for_each_message_and_only_its_owner_reads_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sms.log");
    let toml = format!("default_rule = 'allow'\nlog.file = '{}'", path.display());
    let sender = SmsSender::new(&config(&toml).unwrap(), None, Clock::system()).unwrap();
    assert!(!path.exists(), "no file exists before the first message");
    for _ in 0..2 {
        send(&sender, GB).await.unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert_eq!(written, "to +447700900001 from Matrix: 123456 is your code\n".repeat(2));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

/// A message from `from`.
pub(super) fn sms<'a>(from: &'a Originator, text: &'a str) -> Sms<'a> {
    Sms { to: "447700900001", from, text, encoding: one_message(text).unwrap(), token: "123456" }
}

/// The request of `api`: method and URL, the header fields, the body.
pub(super) fn asked(api: &dyn HttpApi, sms: &Sms<'_>) -> (String, String, String) {
    let request = api.request(sms).unwrap();
    let headers = request.headers().iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
    (
        format!("{} {}", request.method(), request.uri()),
        headers.collect::<Vec<_>>().join("\n"),
        String::from_utf8(request.body().clone()).unwrap(),
    )
}

/// The outcome of a response: the kind, `again` if a retry may succeed, and the reason.
pub(super) fn taken(api: &dyn HttpApi, status: u16, body: &str) -> String {
    let response = Reply {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    };
    let outcome = api.outcome(&response);
    match &outcome {
        Outcome::Accepted => outcome.label().to_owned(),
        Outcome::NotSent { reason, can_retry: true } => format!("not_sent again: {reason}"),
        Outcome::NotSent { reason, .. } | Outcome::NumberRefused(reason) | Outcome::Unclear(reason) => {
            format!("{}: {reason}", outcome.label())
        }
    }
}
