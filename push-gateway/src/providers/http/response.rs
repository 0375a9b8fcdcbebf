//! The responses of the receiver, which is a push gateway, and the outcome of each.
//!
//! Invariant: a pushkey is rejected only if the receiver rejects it.

use std::time::Duration;

use serde_json::Value;

use crate::providers::outcome::{Certainty, Failure, Outcome, Reason};

/// The longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(60 * 60);

/// The outcome of an attempt with this response.
pub(super) fn interpret(status: u16, body: &[u8], retry_after: Option<Duration>, pushkey: &str) -> Outcome {
    let ours = |reason: Reason, advice: &str| {
        Outcome::from(Failure::ours(reason, &format!("the receiver answered {status}: check {advice}")))
    };
    match status {
        200..=299 if rejects(body, pushkey) => Outcome::rejected("rejected", Certainty::Suspect),
        200..=299 => Outcome::Delivered,
        429 => match retry_after {
            Some(wait) => Failure::pause("too_many_requests", wait.min(MAX_PAUSE)).into(),
            None => Failure::upstream("too_many_requests", None).into(),
        },
        503 => Failure::outage("unavailable", retry_after).into(),
        502 | 504 => Failure::outage("gateway", retry_after).into(),
        500.. => Failure::outage("server_error", retry_after).into(),
        300..=399 => ours("redirect", "url; a redirect is not followed"),
        401 | 403 => ours("unauthorized", "secret and headers, and the clock"),
        404 | 405 => ours("not_found", "url"),
        _ => ours("unexpected_status", "url; it may not be a push gateway"),
    }
}

/// Whether the pushkey is in `rejected`.
fn rejects(body: &[u8], pushkey: &str) -> bool {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = json.get("rejected").and_then(Value::as_array);
    rejected.is_some_and(|rejected| rejected.iter().any(|key| key == pushkey))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::interpret;
    use crate::providers::outcome::{Failure, Outcome};

    #[test]
    fn each_answer_has_its_outcome() {
        for (status, body, expected) in [
            (200, r#"{"rejected":[]}"#, ("delivered", "")),
            (200, r#"{"rejected":["k"]}"#, ("rejected", "rejected")),
            (202, r#"{"rejected":["other","k"]}"#, ("rejected", "rejected")),
            (200, r#"{"rejected":["other"]}"#, ("delivered", "")),
            (200, r#"{"rejected":"k"}"#, ("delivered", "")),
            (200, r#"["k"]"#, ("delivered", "")),
            (204, "", ("delivered", "")),
            (400, r#"{"rejected":["k"]}"#, ("permanent", "unexpected_status")),
            (403, "", ("permanent", "unauthorized")),
            (404, "", ("permanent", "not_found")),
            (302, "", ("permanent", "redirect")),
            (429, "", ("temporary", "too_many_requests")),
            (500, r#"{"rejected":["k"]}"#, ("temporary", "server_error")),
            (502, "", ("temporary", "gateway")),
            (503, "", ("temporary", "unavailable")),
        ] {
            assert_eq!(interpret(status, body.as_bytes(), None, "k").labels(), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_short_retry_after_is_waited_for() {
        let retried = |seconds: Option<u64>| {
            let outcome = interpret(429, b"", seconds.map(Duration::from_secs), "k");
            let Outcome::Failed(Failure { retry_in_request, retry_after, .. }) = outcome else { panic!() };
            (retry_in_request, retry_after.map(|wait| wait.as_secs()))
        };
        assert_eq!(
            [retried(None), retried(Some(5)), retried(Some(60)), retried(Some(99_999))],
            [(false, None), (true, Some(5)), (false, Some(60)), (false, Some(3600))]
        );
    }
}
