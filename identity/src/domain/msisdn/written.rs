//! Telephone numbers as they are written: digits, a plus, and what people put between them.
//!
//! Invariant: what comes out is ASCII digits alone, so that no odd text ever reaches the parser of numbers.

use super::reading::digit;

/// The longest text, in bytes: the longest number as people write it, in digits of three bytes.
const MAX_BYTES: usize = 64;
/// What libphonenumber takes for punctuation, but for `x` and `~`, which may begin an extension: brackets, dots, slashes,
/// dashes (one of them the long vowel of Katakana), signs of a wait, blanks, and soft hyphen and blanks of no width.
const SEPARATORS: &str = "()[]\u{FF08}\u{FF09}\u{FF3B}\u{FF3D}./\u{FF0E}\u{FF0F}\
    -\u{2010}\u{2011}\u{2012}\u{2013}\u{2014}\u{2015}\u{2212}\u{30FC}\u{FF0D}\u{2053}\u{223C} \u{A0}\u{3000}\u{AD}\u{200B}\u{2060}";

/// A number without what stood between its digits.
pub(super) struct Written {
    /// Whether a plus stands before the digits.
    pub(super) has_plus: bool,
    /// At least one; ASCII.
    pub(super) digits: String,
    /// Whether one of them is a zero after an opening bracket, as in `+44 (0)7700 900001`.
    pub(super) zero_in_brackets: bool,
}

impl Written {
    /// Takes `typed` apart. Nothing if it has letters, control characters or anything else that is neither a digit (of
    /// whatever script), a plus before the first one, nor a separator; or if it is too long.
    pub(super) fn read(typed: &str) -> Option<Self> {
        if typed.len() > MAX_BYTES {
            return None;
        }
        let mut written = Self { has_plus: false, digits: String::new(), zero_in_brackets: false };
        let mut is_after_bracket = false;
        // Address books put marks of direction around a number, which come along when it is copied.
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
