//! The clock of this machine, compared with what other servers say in `Date` (RFC 9110, section 6.6.1).

use std::time::Duration;

use hyper::header::DATE;

use super::Report;
use crate::clock::Timestamp;
use crate::outbound::client::Reply;

const SUBJECT: &str = "clock";

/// How far the clocks of two machines may differ; `Date` has whole seconds, and a response takes time.
const MAX_SKEW: Duration = Duration::from_secs(60);

/// Reports a clock that differs from that of `server`, which sent `reply` at `now`. A response without a date says nothing.
pub fn compare(report: &mut Report, server: &str, reply: &Reply, now: Timestamp) {
    let date = reply.headers.get(DATE).and_then(|date| date.to_str().ok());
    let Some(theirs) = date.and_then(|date| httpdate::parse_http_date(date).ok()).map(Timestamp::from) else { return };
    let skew = theirs.since(now).max(now.since(theirs));
    if skew > MAX_SKEW {
        report.failed(
            SUBJECT,
            format!("the clocks of this machine and of {server} differ by {} s", skew.as_secs()),
            "synchronize both with NTP: tokens and certificates are refused at the wrong time",
        );
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{DATE, HeaderMap, HeaderValue};

    use super::{Reply, Report, Timestamp, compare};

    #[test]
    fn a_clock_that_differs_by_more_than_a_minute_is_named() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let theirs = 784_111_777_000;
        for (now, failures) in [(theirs, 0), (theirs + 59_000, 0), (theirs + 62_000, 1), (theirs - 62_000, 1)] {
            let mut headers = HeaderMap::new();
            headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
            let reply = Reply { status: hyper::StatusCode::OK, headers, body: Vec::new() };
            let mut report = Report::default();
            compare(&mut report, "hs.example", &reply, Timestamp::from_millis(now));
            assert_eq!(report.failures(), failures, "{now}");
        }
    }
}
