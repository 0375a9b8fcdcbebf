//! A client asks for a validation token to be sent to a telephone number.
//!
//! Invariant: whether a country gets messages is asked before anything else, and the limits and the day's messages are
//! charged, by all processes together, before anything is sent: strangers choose the numbers, and the operator pays.

use std::sync::Arc;

use super::{Plan, Prepared, Sent, TokenRequest, finish, open_token, prepare};
use crate::domain::msisdn::Msisdn;
use crate::domain::session::Session;
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::limits::sms_day::SmsDay;
use crate::limits::{Bucket, Counted};
use crate::notify::sms::{SmsError, TextMessage};
use crate::state::State;

/// Sends a token to `number`, unless this request was answered before, and names the session.
///
/// # Errors
/// [`Error::DestinationRejected`], [`Error::LimitExceeded`] or [`Error::SmsSend`]; nothing is then remembered as sent.
pub async fn request_sms_token(state: Arc<State>, number: Msisdn, request: TokenRequest) -> Result<Sid, Error> {
    if !state.config.sms.permits(&number) {
        count(&number, "rejected");
        return Err(Error::DestinationRejected);
    }
    let now = state.clock.now();
    let settings = &state.config.sms;
    let day = SmsDay::of(now, number.calling_code(), settings.max_per_day, settings.max_per_day_per_country);
    let plan = Plan {
        token: state.random.digits(settings.token_digits),
        longest: state.sms_sender.longest(),
        buckets: buckets(&state, &number, &request),
        day: Some(day.clone()),
    };
    let prepared = prepare(&state, &request, plan, now).await.inspect_err(|error| tell(&number, error))?;
    match prepared {
        Prepared::Send(session) => {
            let sent = send(&state, &request, &number, &session, day).await;
            finish(&state, &request, &session.sid, sent).await?;
            Ok(session.sid)
        }
        Prepared::Answered(session) => Ok(session.sid),
    }
}

/// Tells the operator that a message was not allowed.
fn tell(number: &Msisdn, error: &Error) {
    match error {
        Error::LimitExceeded(_) => count(number, "limited"),
        Error::SmsSpentForToday => {
            count(number, "spent");
            let country = number.calling_code();
            tracing::error!(
                country,
                "no SMS: [sms] max_per_day or max_per_day_per_country is reached, until midnight UTC"
            );
        }
        _ => {}
    }
}

fn buckets(state: &State, number: &Msisdn, request: &TokenRequest) -> Vec<Bucket> {
    let settings = &state.config.limits;
    if !settings.enabled {
        return Vec::new();
    }
    let mut buckets = vec![
        Bucket::new("sms_per_number", settings.sms_per_number, Counted::ThreePid(&request.threepid)),
        Bucket::new("sms_per_range", settings.sms_per_range, Counted::NumberRange(&request.threepid)),
        Bucket::new("sms_per_country", settings.sms_per_country, Counted::Country(number.calling_code())),
    ];
    if let Some(account) = &request.account {
        buckets.push(Bucket::new("sms_per_account", settings.sms_per_account, Counted::Account(account)));
    }
    // A homeserver that delegates asks for all of its users, and has limits of its own for each of them.
    let is_delegated = request.account.is_none() && state.config.legacy_v1.is_delegating_homeserver(request.client);
    if !is_delegated {
        buckets.push(Bucket::new("sms_per_ip", settings.sms_per_ip, Counted::Client(request.client)));
    }
    buckets
}

async fn send(
    state: &State,
    request: &TokenRequest,
    number: &Msisdn,
    session: &Session,
    day: SmsDay,
) -> Result<Sent, Error> {
    let token = open_token(state, session)?;
    let text = state.templates.text_message(&token, &request.audience());
    let text = text.map_err(|error| Error::Internal(error.to_string()))?;
    let sent = state.sms_sender.send(&TextMessage { number, text: &text, token: &token }).await;
    let (event, sent) = match sent {
        Ok(_) => ("sent", Sent::Delivered),
        Err(SmsError::NumberRefused) => {
            ("refused", Sent::Refused { error: Error::DestinationRejected, day: Some(day) })
        }
        Err(SmsError::NotSent) => ("failed", Sent::Refused { error: Error::SmsSend, day: Some(day) }),
        // It may be paid for.
        Err(SmsError::Unclear) => ("unclear", Sent::Refused { error: Error::SmsSend, day: None }),
        Err(error @ SmsError::NotOne) => {
            ("failed", Sent::Refused { error: Error::Internal(error.to_string()), day: Some(day) })
        }
    };
    count(number, event);
    metrics::counter!(
        "identity_messages_total", "medium" => "msisdn", "kind" => "verification", "result" => event
    )
    .increment(1);
    Ok(sent)
}

/// Counts by country what becomes of requests: what is sent and never validated is the mark of toll fraud.
fn count(number: &Msisdn, event: &'static str) {
    let country = number.calling_code().to_owned();
    metrics::counter!("identity_sms_total", "country" => country, "event" => event).increment(1);
}
