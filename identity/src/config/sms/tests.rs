//! Tests of the section's defaults, its checks and its paths.

use std::path::Path;

use super::providers::ProviderName;
use super::{RawSms, Rule, SmsConfig};
use crate::config::msisdn::MsisdnConfig;
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;

fn load(toml: &str) -> Result<SmsConfig, String> {
    load_in(Path::new("/etc"), toml)
}

fn load_in(base: &Path, toml: &str) -> Result<SmsConfig, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    shared::config::load(Some(file.path()), "IDENTITY_SMS_TEST")
        .and_then(|raw: RawSms| raw.complete(base, Path::new("/data")))
        .map_err(|error| error.to_string())
}

fn number(typed: &str) -> Msisdn {
    Msisdn::dialled(typed, "US", &MsisdnConfig::default().rules()).unwrap()
}

#[test]
fn by_default_no_number_receives_sms() {
    let config = load("").unwrap();
    assert_eq!((config.provider.as_slice(), config.default_rule), (&[ProviderName::Log][..], Rule::Reject));
    assert!(!config.sends() && !config.permits(&number("+447700900001")));
    assert!(config.notices().is_empty());
}

#[test]
fn the_narrowest_rule_decides_and_a_number_needs_a_provider() {
    let config = load("rules = { 1 = 'allow', 1876 = 'reject', GB = 'allow', 4477009 = 'reject' }").unwrap();
    assert!(config.sends());
    for (typed, permitted) in [
        ("+12125550123", true),
        ("+18769220123", false),
        ("+447400123456", true),
        ("+447700900001", false),
        ("+33612345678", false),
    ] {
        assert_eq!(config.permits(&number(typed)), permitted, "{typed}");
    }
    let config = load("default_rule = 'allow'\nprovider = []\nroutes.44 = 'twilio'").unwrap();
    assert!(config.permits(&number("+447400123456")) && !config.permits(&number("+33612345678")));
    assert_eq!(config.providers_of(&number("+447400123456")), [ProviderName::Twilio]);
    assert_eq!(config.notices().len(), 1, "default_rule = allow gives a notice");
}

#[test]
fn a_provider_that_is_listed_twice_is_an_error() {
    for (toml, key) in [
        ("provider = ['twilio', 'vonage', 'twilio']", "[sms] provider: \"twilio\" is listed twice; remove one of them"),
        ("routes.GB = ['log', 'log']", "[sms.routes] GB: \"log\" is listed twice; remove one of them"),
    ] {
        assert_eq!(load(toml).unwrap_err(), key);
    }
    assert!(load("provider = ['twilio', 'vonage']\nroutes.GB = ['vonage', 'twilio']").is_ok());
}

#[test]
fn the_country_decides_the_senders() {
    let config = load("originators = { default = 'alpha:Us', 44 = ['long:447000000000', 'short:12345'] }").unwrap();
    let of = |typed: &str| config.originators.of(&number(typed)).len();
    assert_eq!((of("+447400123456"), of("+33612345678")), (2, 1));
    // The documented default sender remains.
    let config = load("originators.44 = 'short:12345'").unwrap();
    assert_eq!(config.originators.of(&number("+33612345678")), [Originator::Alpha("Matrix".into())]);
}

#[test]
fn an_invalid_value_is_rejected_with_its_key() {
    for (toml, problem) in [
        ("provider = 'twillio'", "expected one of \"log\", \"twilio\""),
        ("default_rule = 'maybe'", "default_rule"),
        ("rules.44 = 'maybe'", "rules"),
        ("rules.0044 = 'allow'", "expected a calling code"),
        ("originators.44 = 'Matrix'", "expected \"long:\""),
        ("originators.44 = []", "expected at least one sender"),
        ("originators.044 = 'alpha:x'", "or \"default\""),
        ("twilio.auth_tokn = 'x'", "did you mean"),
        ("proxy = 'socks5://user:hunter2@x:1'", "expected \"http://"),
        ("token_digits = 5", "[sms] token_digits: expected 6, 7 or 8"),
        ("token_digits = 9", "[sms] token_digits: expected 6, 7 or 8"),
        ("body_template = 'Hello'", "[sms] body_template: expected {token} in the text"),
        ("timeout = '999ms'", "[sms] timeout: expected at least"),
    ] {
        let error = load(toml).map(drop).unwrap_err();
        assert!(error.contains(problem), "{toml}: {error}");
    }
}

#[test]
fn a_text_longer_than_one_sms_is_rejected() {
    let load = |template: &str| load(&format!("body_template = '{template}'"));
    assert!(load(&format!("{{token}}{}", "x".repeat(154))).is_ok());
    let error = load(&format!("{{token}}{}", "x".repeat(155))).unwrap_err();
    assert!(error.contains("161 characters, but one SMS holds 160"), "{error}");
    assert!(load(&format!("{{token}}{}", "ж".repeat(64))).is_ok());
    let error = load(&format!("{{token}}{}", "ж".repeat(65))).unwrap_err();
    assert!(error.contains("71 characters, but one SMS holds 70"), "{error}");
}

#[test]
fn relative_paths_are_resolved_and_secrets_are_read_from_their_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret.key"), "hunter2\n").unwrap();
    let config = load_in(
        folder.path(),
        "twilio.auth_token_file = 'secret.key'\nvonage.api_secret_file = 'secret.key'\nopenmarket.password_file = 'secret.key'\n\
         infobip.api_key_file = 'secret.key'\nsns.secret_access_key_file = 'secret.key'\nhttp.secret_file = 'secret.key'\n\
         exec.command = './send'",
    )
    .unwrap();
    let secrets = [
        config.twilio.as_ref().unwrap().auth_token.as_ref(),
        config.vonage.as_ref().unwrap().api_secret.as_ref(),
        config.openmarket.as_ref().unwrap().password.as_ref(),
        config.infobip.as_ref().unwrap().api_key.as_ref(),
        config.sns.as_ref().unwrap().secret_access_key.as_ref(),
        config.http.as_ref().unwrap().secret.as_ref(),
    ];
    assert!(secrets.iter().all(|secret| secret.unwrap().expose() == "hunter2"));
    assert!(!format!("{config:?}").contains("hunter2"));
    assert_eq!(config.exec.unwrap().command.unwrap(), folder.path().join("./send"));
    assert_eq!(config.log_file, Path::new("/data/sms.log"));

    let config = load("exec.command = 'send'\nlog.file = 'x.log'").unwrap();
    assert_eq!(config.exec.unwrap().command.unwrap(), Path::new("send"), "the system looks it up in PATH");
    assert_eq!(config.log_file, Path::new("/etc/x.log"));
    let error = load_in(folder.path(), "twilio = { auth_token = 'x', auth_token_file = 'secret.key' }").unwrap_err();
    assert!(error.contains("[sms.twilio] auth_token"), "{error}");
}
