//! When something that failed for now is tried again.
//!
//! Invariant: pauses grow, but never beyond an hour, unless the operator begins with a longer one.

use std::time::Duration;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Sides of the dice for [`onbind_pause`].
pub const ONBIND_DICE: u32 = 401;

/// How long a mail waits that the relay has put off `attempts` times: `first` (`[email] retry_after`), doubled each time,
/// an hour at most, or `first` if that is longer.
pub fn mail_pause(first: Duration, attempts: i32) -> Duration {
    doubled(first, attempts).min(LONGEST_PAUSE.max(first))
}

/// How long a homeserver is left alone that was told in vain `attempts` times: `first` (`[outbox] retry_after`), doubled
/// each time, a fifth more or less after the `dice` (below [`ONBIND_DICE`]), so that what failed together does not come
/// back together; an hour at most. What the homeserver asked for, `retry_after`, counts if it is longer, within the hour.
pub fn onbind_pause(first: Duration, attempts: i32, dice: u32, retry_after: Option<Duration>) -> Duration {
    let longest = LONGEST_PAUSE.max(first);
    let pause = doubled(first, attempts).min(longest);
    let pause = pause.saturating_mul(800 + dice.min(ONBIND_DICE - 1)) / 1000;
    pause.max(retry_after.unwrap_or_default()).min(longest)
}

fn doubled(first: Duration, attempts: i32) -> Duration {
    let doublings = u32::try_from(attempts.clamp(1, 20)).unwrap_or(1) - 1;
    first.saturating_mul(1 << doublings)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ONBIND_DICE, mail_pause, onbind_pause};

    #[test]
    fn pauses_double_up_to_an_hour() {
        let first = Duration::from_secs(60);
        let minutes = |attempts| mail_pause(first, attempts).as_secs() / 60;
        assert_eq!([1, 2, 3, 6, 7, 500].map(minutes), [1, 2, 4, 32, 60, 60]);
        assert_eq!(mail_pause(first, -1), first);
        let long = Duration::from_secs(7200);
        assert_eq!([1, 2, 500].map(|attempts| mail_pause(long, attempts)), [long; 3]);
    }

    #[test]
    fn a_homeserver_is_left_alone_for_a_doubling_time_give_or_take_a_fifth_and_for_an_hour_at_most() {
        let first = Duration::from_secs(1);
        let seconds = |attempts, dice| onbind_pause(first, attempts, dice, None).as_secs_f64();
        for (attempts, middle) in [(1, 1.0), (2, 2.0), (5, 16.0), (12, 2048.0)] {
            let pauses = [0, 200, ONBIND_DICE - 1, u32::MAX].map(|dice| seconds(attempts, dice) / middle);
            assert!(
                pauses.iter().zip([0.8, 1.0, 1.2, 1.2]).all(|(a, b)| (a - b).abs() < 1e-6),
                "{attempts}: {pauses:?}"
            );
        }
        assert_eq!([13, 500].map(|attempts| onbind_pause(first, attempts, 400, None).as_secs()), [3600; 2]);
        assert_eq!(onbind_pause(first, 500, 0, None).as_secs(), 2880);
    }

    #[test]
    fn a_homeserver_that_asks_for_more_patience_gets_it_within_the_hour() {
        let pause = |retry_after| onbind_pause(Duration::from_secs(1), 3, 200, Some(Duration::from_secs(retry_after)));
        assert_eq!([0, 3, 5, 3600, 1 << 40].map(|asked| pause(asked).as_secs()), [4, 4, 5, 3600, 3600]);
    }
}
