//! Parses `Retry-After` (RFC 9110 §10.2.3): a number of seconds, or a date in one of the three formats of §5.6.7.
//!
//! Invariant: an invalid value and a date in the past count as absent; no result overflows when added to a timestamp.

use std::time::Duration;

use hyper::HeaderMap;
use hyper::header::RETRY_AFTER;

use crate::clock::Timestamp;

/// The longest accepted delay. A longer one is a server's error.
const MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// The delay that a `Retry-After` header requests, counted from `now`: more than zero and at most a year.
pub fn of(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    parse(headers.get(RETRY_AFTER)?.to_str().ok()?, now)
}

/// The delay that `Retry-After: value` requests, counted from `now`: more than zero and at most a year.
pub fn parse(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim_matches([' ', '\t']);
    let delay = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that overflows is a long delay, not an invalid value.
        value.parse().map_or(MAX, Duration::from_secs)
    } else {
        Timestamp::from(httpdate::parse_http_date(value).ok()?).since(now)
    };
    (delay > Duration::ZERO).then(|| delay.min(MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MAX, parse};
    use crate::clock::Timestamp;

    /// Sun, 06 Nov 1994 08:49:37 GMT, the example date of RFC 9110.
    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

    #[test]
    fn a_number_is_a_delay_in_seconds() {
        for (value, seconds) in [("1", 1), ("120", 120), (" 7 ", 7), ("0007", 7), ("3600", 3600)] {
            assert_eq!(parse(value, NOW), Some(Duration::from_secs(seconds)), "{value}");
        }
    }

    #[test]
    fn a_date_is_parsed_in_all_three_formats() {
        for value in ["Sun, 06 Nov 1994 08:50:37 GMT", "Sunday, 06-Nov-94 08:50:37 GMT", "Sun Nov  6 08:50:37 1994"] {
            assert_eq!(parse(value, NOW), Some(Duration::from_secs(60)), "{value}");
        }
    }

    #[test]
    fn dates_in_the_past_and_invalid_values_count_as_absent() {
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
    fn a_delay_is_at_most_a_year() {
        for value in ["99999999", "18446744073709551616", &"9".repeat(400), "Fri, 31 Dec 9999 23:59:59 GMT"] {
            assert_eq!(parse(value, NOW), Some(MAX), "{value}");
        }
    }
}
