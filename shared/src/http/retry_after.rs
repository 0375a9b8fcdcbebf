//! `Retry-After` (RFC 9110 §10.2.3) as others send it: a number of seconds, or a date in any of the three forms that
//! a recipient has to know (§5.6.7).
//!
//! Invariant: what cannot be read, and what lies in the past, is as if it were not there; no value is so large that
//! adding it to a point in time overflows.

use std::time::Duration;

use crate::clock::Timestamp;

/// Nobody means more than this; a server that says so is not to be taken at its word.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How long the sender of `Retry-After: value` wants to be left alone, counted from `now`: more than zero, and at most
/// a year. `None` if it says nothing usable.
pub fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    let wait = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for a number are a very long wait, not an unreadable one.
        value.parse().map_or(LONGEST, Duration::from_secs)
    } else {
        Timestamp::from(httpdate::parse_http_date(value).ok()?).since(now)
    };
    (wait > Duration::ZERO).then(|| wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LONGEST, parse};
    use crate::clock::Timestamp;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the date in RFC 9110.
    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

    #[test]
    fn seconds_are_a_number_of_digits() {
        for (value, seconds) in [("1", 1), ("120", 120), (" 7 ", 7), ("0007", 7), ("3600", 3600)] {
            assert_eq!(parse(value, NOW), Some(Duration::from_secs(seconds)), "{value}");
        }
    }

    #[test]
    fn a_date_is_read_in_all_three_forms() {
        for value in ["Sun, 06 Nov 1994 08:50:37 GMT", "Sunday, 06-Nov-94 08:50:37 GMT", "Sun Nov  6 08:50:37 1994"] {
            assert_eq!(parse(value, NOW), Some(Duration::from_secs(60)), "{value}");
        }
    }

    #[test]
    fn the_past_and_the_unreadable_are_absent() {
        for value in [
            "",
            " ",
            "0",
            "-1",
            "+1",
            "1.5",
            "1s",
            "soon",
            "1, 2",
            "١",
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:36 GMT",
            "Wed, 21 Oct 1981 07:28:00 GMT",
            "Mon, 06 Nov 1994 08:50:37 GMT",
            "Sun, 06 Nov 1994 08:50:37 CET",
            "Sun, 32 Nov 1994 08:50:37 GMT",
        ] {
            assert_eq!(parse(value, NOW), None, "{value}");
        }
    }

    #[test]
    fn a_wait_has_an_end() {
        for value in ["99999999", "18446744073709551616", &"9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(parse(value, NOW), Some(LONGEST), "{value}");
        }
    }
}
