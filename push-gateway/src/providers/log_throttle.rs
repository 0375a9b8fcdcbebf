//! What limits the log: how often an error is logged, and how much of a text from outside.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;

use super::device_key::DeviceKey;

/// Allows one log line a minute, so that a wrong key does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Option<Timestamp>>);

/// Allows one log line a minute for each cause, from a closed set.
#[derive(Debug, Default)]
pub(crate) struct LogThrottleByCause(Mutex<HashMap<&'static str, Timestamp>>);

/// Allows one log line a minute for each text from outside, for a hundred texts, of which one client brings at most ten. All
/// further texts share one line a minute.
#[derive(Debug, Default)]
pub(crate) struct LogThrottleByText {
    texts: Mutex<HashMap<String, (Timestamp, DeviceKey)>>,
    further: LogThrottle,
}

/// Allows one log line for each text from outside, among the last thousand or fewer.
#[derive(Debug, Default)]
pub(crate) struct LogOncePerText(Mutex<HashSet<String>>);

/// The longest text from outside in a log, in characters.
const MAX_TEXT: usize = 100;

/// The texts with a line of their own in a minute.
const MAX_TEXTS: usize = 100;
/// The texts with a line in the life of the process.
const MAX_TEXTS_ONCE: usize = 1000;
/// The same for one client.
const MAX_TEXTS_OF_CLIENT: usize = 10;

/// A text from outside for a log: control characters escaped, at most 100 characters.
pub(crate) fn escaped(text: &str) -> String {
    let is_harmless = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}');
    let mut out = String::new();
    let mut length = 0;
    for c in text.chars() {
        let piece = if is_harmless(c) { c.to_string() } else { c.escape_default().to_string() };
        length += piece.chars().count();
        if length > MAX_TEXT {
            break;
        }
        out.push_str(&piece);
    }
    out
}

const INTERVAL: Duration = Duration::from_secs(60);

/// Whether a line of this time is less than a minute old. A clock that was set back never silences the log.
fn is_recent(last: Timestamp, now: Timestamp) -> bool {
    now >= last && now.since(last) < INTERVAL
}

impl LogThrottle {
    /// Whether a line may be logged now; counts it if so.
    pub(crate) fn allow(&self, now: Timestamp) -> bool {
        let mut last = self.0.lock();
        let is_allowed = last.is_none_or(|last| !is_recent(last, now));
        if is_allowed {
            *last = Some(now);
        }
        is_allowed
    }
}

impl LogThrottleByCause {
    /// Whether a line with this cause may be logged now; counts it if so.
    pub(crate) fn allow(&self, cause: &'static str, now: Timestamp) -> bool {
        let mut lines = self.0.lock();
        let is_allowed = lines.get(cause).is_none_or(|last| !is_recent(*last, now));
        if is_allowed {
            lines.insert(cause, now);
        }
        is_allowed
    }
}

impl LogThrottleByText {
    /// Whether a line with this text of `client` may be logged now; counts it if so.
    pub(crate) fn allow(&self, text: &str, client: DeviceKey, now: Timestamp) -> bool {
        let mut texts = self.texts.lock();
        if texts.get(text).is_some_and(|(last, _)| is_recent(*last, now)) {
            return false;
        }
        if !texts.contains_key(text) {
            let is_full = |texts: &HashMap<_, (Timestamp, DeviceKey)>| {
                let of_client = texts.values().filter(|(_, other)| *other == client).count();
                texts.len() >= MAX_TEXTS || of_client >= MAX_TEXTS_OF_CLIENT
            };
            if is_full(&texts) {
                texts.retain(|_, (last, _)| is_recent(*last, now));
            }
            if is_full(&texts) {
                return self.further.allow(now);
            }
        }
        texts.insert(text.to_owned(), (now, client));
        true
    }
}

impl LogOncePerText {
    /// Whether a line with this text may be logged; counts it if so.
    pub(crate) fn allow(&self, text: &str) -> bool {
        let mut texts = self.0.lock();
        // Strangers can bring any number of texts: then all may be logged once more.
        if texts.len() >= MAX_TEXTS_ONCE && !texts.contains(text) {
            texts.clear();
        }
        texts.insert(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::{LogOncePerText, LogThrottleByCause, LogThrottleByText};
    use crate::providers::device_key::testing::{keys, numbered};

    const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn each_cause_has_its_own_line_a_minute() {
        let throttle = LogThrottleByCause::default();
        assert_eq!(["tls", "dns", "tls"].map(|cause| throttle.allow(cause, START)), [true, true, false]);
        assert!(throttle.allow("tls", START.plus(MINUTE)));
        assert!(throttle.allow("tls", START), "the clock was set back");
    }

    #[test]
    fn a_text_has_one_line_among_a_thousand_and_strangers_silence_none() {
        let log = LogOncePerText::default();
        assert_eq!(["a", "b", "a"].map(|text| log.allow(text)), [true, true, false]);
        assert!((0..998).all(|number| log.allow(&number.to_string())) && !log.allow("a"));
        assert!(log.allow("998") && log.allow("a") && !log.allow("a"));
        assert!(log.0.lock().len() <= 1000);
    }

    #[test]
    fn junk_of_one_client_hides_no_text_of_another() {
        let (throttle, keys) = (LogThrottleByText::default(), keys());
        let (junk, own) = (numbered(&keys, 1), numbered(&keys, 2));
        for round in 0..3 {
            let now = START.plus(MINUTE * round);
            let lines = (0..1000).filter(|n| throttle.allow(&format!("{round} {n}"), junk, now)).count();
            assert_eq!(lines, 11, "ten texts, and one line for the others");
            assert!(throttle.allow("com.example.app", own, now));
            assert!(!throttle.allow("com.example.app", own, now.plus(MINUTE / 2)));
        }
    }

    #[test]
    fn a_hundred_texts_have_lines_of_their_own() {
        let (throttle, keys) = (LogThrottleByText::default(), keys());
        let lines = (0..1000).filter(|n| throttle.allow(&n.to_string(), numbered(&keys, *n), START)).count();
        assert_eq!(lines, 101);
        assert_eq!(throttle.texts.lock().len(), 100);
    }
}
