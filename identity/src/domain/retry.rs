//! When something that failed for now is tried again.
//!
//! Invariant: pauses grow, but never beyond a bound that an operator would call soon.

use std::time::Duration;

/// The pause after the first try of a mail.
const FIRST_MAIL_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause between two tries of a mail.
const LONGEST_MAIL_PAUSE: Duration = Duration::from_secs(3600);

/// How long a mail waits that the relay has put off `attempts` times: a minute, doubled each time, an hour at most.
pub fn mail_pause(attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 20)).unwrap_or(1) - 1;
    FIRST_MAIL_PAUSE.saturating_mul(1 << doublings).min(LONGEST_MAIL_PAUSE)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::mail_pause;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let minutes = |attempts| mail_pause(attempts).as_secs() / 60;
        assert_eq!([1, 2, 3, 6, 7, 500].map(minutes), [1, 2, 4, 32, 60, 60]);
        assert_eq!(mail_pause(-1), Duration::from_secs(60));
    }
}
