//! Sends a validation token to a telephone number.
//!
//! Invariant: the rules of the destination country come first, and all processes charge the rate limits and the daily
//! limits before a message is sent: anyone may choose the numbers, and the operator pays.

use std::sync::Arc;

use super::TokenRequest;
use super::lease::{Acquired, NotSent, PlannedMessage, Sent, SessionLease};
use crate::domain::lease::sms_lease;
use crate::domain::msisdn::Msisdn;
use crate::domain::sid::Sid;
use crate::error::Error;
use crate::limits::sms_day::SmsDay;
use crate::limits::{Bucket, Charges, LimitKey};
use crate::notify::sms::{SmsError, TextMessage};
use crate::state::State;

/// Sends a token to `number`, unless the message of this request was sent before, and returns the session's id.
///
/// # Errors
/// [`Error::DestinationRejected`], [`Error::LimitExceeded`] or [`Error::SmsSend`]; no message counts as sent then.
pub async fn request_sms_token(state: Arc<State>, number: Msisdn, request: TokenRequest) -> Result<Sid, Error> {
    if !state.config.sms.permits(&number) {
        count(&number, "rejected");
        return Err(Error::DestinationRejected);
    }
    let now = state.clock.now();
    let settings = &state.config.sms;
    let day = SmsDay::of(now, number.calling_code(), settings.max_per_day, settings.max_per_day_per_country);
    let charges = Charges::new(buckets(&state, &number, &request), Some(day));
    let message = PlannedMessage {
        token: state.random.digits(settings.token_digits),
        lease: sms_lease(state.sms_sender.longest()),
        charges: charges.clone(),
    };
    let acquired = SessionLease::acquire(&state, &request, message, now).await;
    match acquired.inspect_err(|error| record_metrics(&state, &number, error))? {
        Acquired::NothingToSend(sid) => Ok(sid),
        Acquired::Interrupted => {
            count(&number, "unclear");
            Err(Error::SmsSend)
        }
        Acquired::Lease(lease) => {
            let sent = send(&state, &request, &number, &lease, charges).await;
            lease.end(&state, sent).await
        }
    }
}

/// Counts a message that exceeds a limit.
fn record_metrics(state: &State, number: &Msisdn, error: &Error) {
    match error {
        Error::LimitExceeded(_) => count(number, "limited"),
        Error::SmsSpentForToday => {
            count(number, "spent");
            let country = number.calling_code();
            if !state.sms_spent.is_due(state.clock.now()) {
                return;
            }
            tracing::error!(
                country,
                "SMS was rejected: [sms] max_per_day or max_per_day_per_country is reached until midnight UTC"
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
        Bucket::new("sms_per_number", settings.sms_per_number, LimitKey::ThreePid(&request.threepid)),
        Bucket::new("sms_per_range", settings.sms_per_range, LimitKey::NumberRange(&request.threepid)),
        Bucket::new("sms_per_country", settings.sms_per_country, LimitKey::Country(number.calling_code())),
    ];
    if let Some(account) = &request.account {
        buckets.push(Bucket::new("sms_per_account", settings.sms_per_account, LimitKey::Account(account)));
        let (limit, large) = (settings.sms_per_homeserver, &settings.large_homeservers);
        buckets.push(Bucket::of_homeserver("sms_per_homeserver", limit, account.server_name(), large));
    }
    // A delegating homeserver sends the requests of all its users, and limits each of them itself.
    let is_delegated = request.account.is_none() && state.config.legacy_v1.is_delegating_homeserver(request.client);
    if !is_delegated {
        buckets.extend(Bucket::of_caller("sms_per_ip", settings.sms_per_ip, LimitKey::Client(request.client)));
    }
    buckets
}

async fn send(
    state: &State,
    request: &TokenRequest,
    number: &Msisdn,
    lease: &SessionLease,
    charges: Charges,
) -> Result<Sent, NotSent> {
    // For a message that no provider has accepted.
    let refund = |error| NotSent { error, refund: Some(charges.clone()) };
    let token = lease.token(state).map_err(refund)?;
    let text = state.templates.text_message(&token, &request.audience());
    let text = text.map_err(|error| refund(Error::Internal(error.to_string())))?;
    let message = TextMessage { number, text: &text, token: &token };
    let sent = state.sms_sender.send(&message, || state.activity.is_draining()).await;
    let not_sent = |error| Err(refund(error));
    let (event, sent) = match sent {
        Ok(_) => ("sent", Ok(Sent::Delivered)),
        Err(SmsError::NumberRefused) => ("refused", not_sent(Error::DestinationRejected)),
        Err(SmsError::NotSent) => ("failed", not_sent(Error::SmsSend)),
        // The provider may have sent it and bill it: no refund.
        Err(SmsError::Unclear) => ("unclear", Err(NotSent { error: Error::SmsSend, refund: None })),
        Err(error @ SmsError::NotOne) => ("failed", not_sent(Error::Internal(error.to_string()))),
    };
    count(number, event);
    metrics::counter!(
        "identity_messages_total", "medium" => "msisdn", "kind" => "verification", "result" => event
    )
    .increment(1);
    sent
}

/// Counts requests by country and event: many messages without a validation indicate toll fraud.
fn count(number: &Msisdn, event: &'static str) {
    let country = number.calling_code().to_owned();
    metrics::counter!("identity_sms_total", "country" => country, "event" => event).increment(1);
}
