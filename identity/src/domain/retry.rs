//! When something that failed for now is tried again.
//!
//! Invariant: pauses grow, but never beyond an hour, unless the operator begins with a longer one.

use std::time::Duration;

/// The longest pause between two tries of a mail.
const LONGEST_MAIL_PAUSE: Duration = Duration::from_secs(3600);

/// How long a mail waits that the relay has put off `attempts` times: `first` (`[email] retry_after`), doubled each time,
/// an hour at most, or `first` if that is longer.
pub fn mail_pause(first: Duration, attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 20)).unwrap_or(1) - 1;
    first.saturating_mul(1 << doublings).min(LONGEST_MAIL_PAUSE.max(first))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::mail_pause;

    #[test]
    fn pauses_double_up_to_an_hour() {
        let first = Duration::from_secs(60);
        let minutes = |attempts| mail_pause(first, attempts).as_secs() / 60;
        assert_eq!([1, 2, 3, 6, 7, 500].map(minutes), [1, 2, 4, 32, 60, 60]);
        assert_eq!(mail_pause(first, -1), first);
        let long = Duration::from_secs(7200);
        assert_eq!([1, 2, 500].map(|attempts| mail_pause(long, attempts)), [long; 3]);
    }
}
