//! Cuts a text to a number of bytes.
//!
//! Invariant: the result is never longer than the limit, and never ends within a code point.

use std::borrow::Cow;

/// Replaces the part that is cut off; three bytes.
const MARK: &str = "…";

/// `text` if it has at most `max_bytes`; else its longest prefix of whole code points that leaves room for `…`, and `…`.
pub(crate) fn cut(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes {
        return Cow::Borrowed(text);
    }
    // Below the length of the mark only an empty text fits.
    let Some(room) = max_bytes.checked_sub(MARK.len()) else { return Cow::Borrowed("") };
    Cow::Owned([prefix(text, room), MARK].concat())
}

/// The longest prefix of whole code points with at most `max_bytes`.
pub(crate) fn prefix(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::cut;

    #[test]
    fn a_text_over_the_limit_ends_with_a_mark_within_the_limit() {
        for (text, max, expected) in [
            ("", 0, ""),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abc…"),
            ("ééé", 6, "ééé"),
            ("éééé", 7, "éé…"),
            ("éééé", 6, "é…"),
            ("😀😀😀😀😀", 17, "😀😀😀…"),
            ("😀😀😀😀😀", 16, "😀😀😀…"),
            ("abcd", 3, "…"),
            ("abcd", 2, ""),
        ] {
            assert_eq!(cut(text, max), expected, "{text} to {max}");
        }
    }

    proptest! {
        #[test]
        fn it_keeps_within_the_limit_and_never_panics(text in any::<String>(), max in 0..64_usize) {
            let found = cut(&text, max);
            prop_assert!(found.len() <= max);
            prop_assert!(text.starts_with(found.trim_end_matches('…')) || text.contains('…'));
            if text.len() > max && max >= 3 {
                // The next code point would not have fitted.
                let kept = found.len() - 3;
                let next = text[kept..].chars().next().unwrap();
                prop_assert!(kept + next.len_utf8() > max - 3);
            }
        }
    }
}
