//! `identity test-sms`: sends one message through the configured providers and prints the result.
//!
//! Invariant: it follows the path of a validation, with rules, senders, templates and fallback. It charges no limit.

use shared::clock::Clock;
use shared::random::Random;
use shared::telemetry;

use crate::config::Config;
use crate::domain::msisdn::Msisdn;
use crate::notify::sms::{SmsSender, TextMessage};
use crate::notify::templates::{Audience, Templates};

/// The arguments of the command.
pub struct TestSmsArgs<'a> {
    /// The number, as dialled in `country`.
    pub number: &'a str,
    /// The country; not needed for a number that starts with `+`.
    pub country: Option<&'a str>,
    /// The brand and the language of the template.
    pub audience: Audience<'a>,
}

/// Sends a message with a code that validates nothing; `print` gets each step. The providers' responses are logged.
///
/// # Errors
/// The reason why no message was sent.
pub async fn send(config: &Config, args: &TestSmsArgs<'_>, mut print: impl FnMut(String)) -> Result<(), String> {
    let _log = telemetry::log(config.log, &["identity", "shared"]);
    let country = match args.country {
        Some(country) => country,
        // The country has no effect on an international number.
        None if args.number.starts_with('+') => "US",
        None => return Err("no country: give --country, or the number in international form with \"+\"".to_owned()),
    };
    let number = Msisdn::dialled(args.number, country, &config.msisdn.rules())
        .map_err(|error| format!("{} in {country}: {error}", args.number))?;
    let (region, calling_code) = (number.region().unwrap_or("no country"), number.calling_code());
    print(format!("{} ({region}, calling code {calling_code})", number.international()));
    let providers: Vec<&str> = config.sms.providers_of(&number).iter().map(|name| name.as_str()).collect();
    if providers.is_empty() {
        return Err("[sms] provider: none is configured; name at least one".to_owned());
    }
    if !config.sms.permits(&number) {
        return Err(match number.region() {
            Some(region) => {
                format!(
                    "[sms.rules]: no rule allows +{}; to allow its country, add {region} = \"allow\"",
                    number.digits()
                )
            }
            None => format!(
                "[sms.rules]: no country has assigned this range of numbers; allow it by its first digits, such as \
                 \"{calling_code}\""
            ),
        });
    }
    print(format!("providers: {}", providers.join(", then ")));

    let templates = Templates::load(&config.templates, &config.sms, "").map_err(|error| error.to_string())?;
    let token = Random.digits(config.sms.token_digits);
    let text = templates.text_message(&token, &args.audience).map_err(|error| error.to_string())?;
    print(format!("text: {text}"));
    let extra_ca = config.outbound.extra_ca_file.as_deref();
    let sender = SmsSender::new(&config.sms, extra_ca, Clock::system()).map_err(|error| error.to_string())?;
    let sent = sender.send(&TextMessage { number: &number, text: &text, token: &token }, || false).await;
    let by = sent.map_err(|error| error.to_string())?;
    print(format!("accepted by {}", by.as_str()));
    Ok(())
}
