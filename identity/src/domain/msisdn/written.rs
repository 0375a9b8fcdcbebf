//! The spelling of telephone numbers: digits, a plus, and separators.
//!
//! Invariant: the result has ASCII digits alone, so the library never parses any other text.

use super::reading::digit;

/// The longest text in bytes: the longest usual spelling, in digits of three bytes.
const MAX_BYTES: usize = 64;
/// The punctuation of libphonenumber, except `x` and `~`, which may start an extension: brackets, dots, slashes, dashes (one
/// is the long vowel of Katakana), wait signs, blanks, soft hyphens and zero-width blanks.
const SEPARATORS: &str = "()[]\u{FF08}\u{FF09}\u{FF3B}\u{FF3D}./\u{FF0E}\u{FF0F}\
    -\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{2212}\u{30FC}\u{FF0D}\u{2053}\u{223C} \u{A0}\u{3000}\u{AD}\u{200B}\u{2060}";

/// A number without its separators.
pub(super) struct Written {
    /// Whether a plus precedes the digits.
    pub(super) has_plus: bool,
    /// At least one; ASCII.
    pub(super) digits: String,
    /// Whether one of them is a zero after an opening bracket, as in `+44 (0)7700 900001`.
    pub(super) zero_in_brackets: bool,
}

impl Written {
    /// Parses `typed`. `None` if it is too long, or has a character that is not a digit (of any script), a plus before the
    /// first digit, or a separator.
    pub(super) fn read(typed: &str) -> Option<Self> {
        if typed.len() > MAX_BYTES {
            return None;
        }
        let mut written = Self { has_plus: false, digits: String::new(), zero_in_brackets: false };
        let mut is_after_bracket = false;
        // Address books put direction marks around a number, and copying includes them.
        for c in typed.trim_matches(is_direction_mark).chars() {
            if SEPARATORS.contains(c) {
                is_after_bracket = is_opening_bracket(c) || is_after_bracket && c.is_whitespace();
            } else if matches!(c, '+' | '\u{FF0B}') && !written.has_plus && written.digits.is_empty() {
                written.has_plus = true;
            } else {
                let digit = digit(c)?;
                written.zero_in_brackets |= is_after_bracket && digit == '0';
                written.digits.push(digit);
                is_after_bracket = false;
            }
        }
        (!written.digits.is_empty()).then_some(written)
    }
}

fn is_opening_bracket(c: char) -> bool {
    matches!(c, '(' | '[' | '\u{FF08}' | '\u{FF3B}')
}

fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}
