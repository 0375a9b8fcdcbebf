//! `identity test-sms`: sends one message through the providers of the settings, and says what came of it.
//!
//! Invariant: it goes the way that a validation goes, rules, senders, texts and fallback included; only the limits and the
//! day's messages are not charged.

use shared::clock::Clock;
use shared::random::Random;
use shared::telemetry;

use crate::config::Config;
use crate::domain::msisdn::Msisdn;
use crate::notify::sms::{SmsSender, TextMessage};
use crate::notify::templates::{Audience, Templates};

/// What to send where.
pub struct Wish<'a> {
    /// The number, as it is dialled in `country`.
    pub number: &'a str,
    /// The country; not needed for a number that begins with `+`.
    pub country: Option<&'a str>,
    /// The brand and the language.
    pub audience: Audience<'a>,
}

/// Sends a message with a code that validates nothing; `say` is told what happens. What providers answer is logged.
///
/// # Errors
/// A sentence that says why no message was sent.
pub async fn send(config: &Config, wish: &Wish<'_>, mut say: impl FnMut(String)) -> Result<(), String> {
    telemetry::log(config.log, &["identity", "shared"]);
    let country = match wish.country {
        Some(country) => country,
        // The country makes no difference to such a number.
        None if wish.number.starts_with('+') => "US",
        None => return Err("say --country, or the number in international form, with \"+\"".to_owned()),
    };
    let number = Msisdn::dialled(wish.number, country, &config.msisdn.rules())
        .map_err(|error| format!("{} in {country}: {error}", wish.number))?;
    let (region, calling_code) = (number.region().unwrap_or("no country"), number.calling_code());
    say(format!("{} ({region}, calling code {calling_code})", number.international()));
    let providers: Vec<&str> = config.sms.providers_of(&number).iter().map(|name| name.as_str()).collect();
    if providers.is_empty() {
        return Err("[sms] provider names nobody".to_owned());
    }
    if !config.sms.permits(&number) {
        return Err(match number.region() {
            Some(region) => {
                format!("the narrowest of [sms.rules] for {region} and +{} does not allow it", number.digits())
            }
            None => format!(
                "no country has assigned this range of numbers, and no rule of [sms.rules] by first digits allows it, \
                 such as \"{calling_code}\""
            ),
        });
    }
    say(format!("providers: {}", providers.join(", then ")));

    let templates = Templates::load(&config.templates, &config.sms).map_err(|error| error.to_string())?;
    let token = Random.digits(config.sms.token_digits);
    let text = templates.text_message(&token, &wish.audience).map_err(|error| error.to_string())?;
    say(format!("text: {text}"));
    let extra_ca = config.outbound.extra_ca_file.as_deref();
    let sender = SmsSender::new(&config.sms, extra_ca, Clock::system()).map_err(|error| error.to_string())?;
    let sent = sender.send(&TextMessage { number: &number, text: &text, token: &token }).await;
    let by = sent.map_err(|error| error.to_string())?;
    say(format!("taken by {}", by.as_str()));
    Ok(())
}
