//! Texts that strangers wrote, in the form in which they may stand in a mail of ours.
//!
//! Invariant: what comes out stays on its line and turns nothing around it.

use unicode_segmentation::UnicodeSegmentation;

/// `text` without the characters that do something instead of being shown: each run of control characters, line
/// separators and formatting characters of the bidirectional algorithm (UAX 9) becomes one space.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut after_acting = false;
    for c in text.chars() {
        let acts = acts(c);
        if !acts {
            plain.push(c);
        } else if !after_acting {
            plain.push(' ');
        }
        after_acting = acts;
    }
    plain
}

/// `text` if it has at most `longest` characters as people count them (graphemes), else its first `kept` and `…`.
pub fn cut(text: &str, longest: usize, kept: usize) -> String {
    let is_long = text.graphemes(true).nth(longest).is_some();
    let shown = text.graphemes(true).take(if is_long { kept } else { longest }).map(few_marks);
    shown.chain(is_long.then_some("…")).collect()
}

/// One grapheme may carry marks without end; nobody can read more than a few.
fn few_marks(grapheme: &str) -> &str {
    let end = grapheme.char_indices().nth(16).map_or(grapheme.len(), |(end, _)| end);
    &grapheme[..end]
}

fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{cut, plain};

    #[test]
    fn what_acts_becomes_one_space() {
        assert_eq!(plain("a\r\n\t\0b\u{202e}\u{2066}c\u{2028}\u{85}"), "a b c ");
        assert_eq!(plain("über ﷽ 👩‍👩‍👧"), "über ﷽ 👩‍👩‍👧");
    }

    #[test]
    fn a_long_text_is_cut_between_what_people_take_for_characters() {
        assert_eq!(cut("abcdef", 6, 5), "abcdef");
        assert_eq!(cut("abcdefg", 6, 5), "abcde…");
        let family = "👩‍👩‍👧";
        assert_eq!(cut(&family.repeat(7), 6, 2), format!("{}…", family.repeat(2)));
        assert_eq!(cut("", 6, 5), "");
        let tower = format!("a{}b", "\u{301}".repeat(1_000));
        assert_eq!(cut(&tower, 6, 5), format!("a{}b", "\u{301}".repeat(15)));
    }
}
