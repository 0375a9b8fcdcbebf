//! What the section says when it says little, what it refuses, and where its files are.

use std::path::Path;

use super::providers::ProviderName;
use super::{Rule, SmsConfig};
use crate::config::msisdn::MsisdnConfig;
use crate::domain::msisdn::Msisdn;
use crate::domain::originator::Originator;

fn load(toml: &str) -> Result<SmsConfig, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    shared::config::load(Some(file.path()), "IDENTITY_SMS_TEST").map_err(|error| error.to_string())
}

fn number(typed: &str) -> Msisdn {
    Msisdn::dialled(typed, "US", &MsisdnConfig::default().rules()).unwrap()
}

#[test]
fn without_a_word_of_the_operator_nobody_gets_a_message() {
    let config = load("").unwrap();
    assert!(config.check().is_ok());
    assert_eq!((config.provider.as_slice(), config.default_rule), (&[ProviderName::Log][..], Rule::Reject));
    assert!(!config.sends() && !config.permits(&number("+447700900001")));
    assert!(config.notices().is_empty());
}

#[test]
fn the_narrowest_rule_decides_and_without_a_provider_none_helps() {
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
    assert_eq!(config.notices().len(), 1, "a default of allow is told");
}

#[test]
fn senders_are_chosen_by_country() {
    let config = load("originators = { default = 'alpha:Us', 44 = ['long:447000000000', 'short:12345'] }").unwrap();
    let of = |typed: &str| config.originators.of(&number(typed)).len();
    assert_eq!((of("+447400123456"), of("+33612345678")), (2, 1));
    // Without a default the one of the documentation stays.
    let config = load("originators.44 = 'short:12345'").unwrap();
    assert_eq!(config.originators.of(&number("+33612345678")), [Originator::Alpha("Matrix".into())]);
}

#[test]
fn what_cannot_be_is_refused_with_its_key() {
    for (toml, told) in [
        ("provider = 'twillio'", "expected one of \"log\", \"twilio\""),
        ("default_rule = 'maybe'", "default_rule"),
        ("rules.44 = 'maybe'", "rules"),
        ("rules.0044 = 'allow'", "expected a calling code"),
        ("originators.44 = 'Matrix'", "expected \"long:\""),
        ("originators.44 = []", "expected at least one sender"),
        ("originators.044 = 'alpha:x'", "or \"default\""),
        ("twilio.auth_tokn = 'x'", "did you mean"),
        ("proxy = 'socks5://user:hunter2@x:1'", "expected \"http://"),
    ] {
        let said = load(toml).map(drop).unwrap_err();
        assert!(said.contains(told), "{toml}: {said}");
    }
    for (toml, told) in [
        ("token_digits = 5", "[sms] token_digits: expected 6, 7 or 8"),
        ("token_digits = 9", "[sms] token_digits: expected 6, 7 or 8"),
        ("body_template = 'Hello'", "[sms] body_template: expected {token} in the text"),
        ("timeout = '999ms'", "[sms] timeout: expected at least"),
    ] {
        let said = load(toml).unwrap().check().unwrap_err().to_string();
        assert!(said.contains(told), "{toml}: {said}");
    }
}

#[test]
fn a_text_that_would_be_two_messages_is_refused() {
    let check = |template: &str| load(&format!("body_template = '{template}'")).unwrap().check();
    assert!(check(&format!("{{token}}{}", "x".repeat(154))).is_ok());
    let said = check(&format!("{{token}}{}", "x".repeat(155))).unwrap_err().to_string();
    assert!(said.contains("161 characters, but one SMS holds 160"), "{said}");
    assert!(check(&format!("{{token}}{}", "ж".repeat(64))).is_ok());
    let said = check(&format!("{{token}}{}", "ж".repeat(65))).unwrap_err().to_string();
    assert!(said.contains("71 characters, but one SMS holds 70"), "{said}");
}

#[test]
fn files_are_relative_to_the_settings_and_secrets_come_out_of_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "hunter2\n").unwrap();
    let mut config = load(
        "twilio.auth_token_file = 'secret'\nvonage.api_secret_file = 'secret'\nopenmarket.password_file = 'secret'\n\
         infobip.api_key_file = 'secret'\nsns.secret_access_key_file = 'secret'\nhttp.secret_file = 'secret'\n\
         exec.command = './send'",
    )
    .unwrap();
    config.place(folder.path(), Path::new("/data")).unwrap();
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
    assert_eq!(config.log.unwrap().file.unwrap(), Path::new("/data/sms.log"));

    let mut config = load("exec.command = 'send'\nlog.file = 'x.log'").unwrap();
    config.place(Path::new("/etc"), Path::new("/data")).unwrap();
    assert_eq!(config.exec.unwrap().command.unwrap(), Path::new("send"), "looked for in PATH");
    assert_eq!(config.log.unwrap().file.unwrap(), Path::new("/etc/x.log"));
    let mut twice = load("twilio = { auth_token = 'x', auth_token_file = 'secret' }").unwrap();
    assert!(
        twice.place(folder.path(), Path::new("/data")).unwrap_err().to_string().contains("[sms.twilio] auth_token")
    );
}
