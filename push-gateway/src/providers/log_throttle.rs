//! What limits the log: how often an error is logged, and how much of a text from outside.

use std::time::Duration;

use parking_lot::Mutex;
use shared::clock::Timestamp;

/// Allows one log line a minute, so that a wrong key does not fill the log.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle(Mutex<Option<Timestamp>>);

/// The longest text from outside in a log, in characters.
const MAX_TEXT: usize = 100;

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

impl LogThrottle {
    /// Whether a line may be logged now; counts it if so.
    pub(crate) fn allow(&self, now: Timestamp) -> bool {
        let mut last = self.0.lock();
        // A clock that was set back never silences the log.
        let is_allowed = last.is_none_or(|last| now < last || now.since(last) >= INTERVAL);
        if is_allowed {
            *last = Some(now);
        }
        is_allowed
    }
}
