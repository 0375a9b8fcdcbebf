//! Texts from requests, made safe to show in mails and in the terminal.
//!
//! Invariant: the output stays on one line and cannot change the direction of the text around it.

use unicode_segmentation::UnicodeSegmentation;

/// Replaces each run of control characters, line separators and formatting characters of the bidirectional algorithm
/// (UAX 9) by one space.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut after_control = false;
    for c in text.chars() {
        let is_control = is_control(c);
        if !is_control {
            plain.push(c);
        } else if !after_control {
            plain.push(' ');
        }
        after_control = is_control;
    }
    plain
}

/// `text` if it has at most `longest` graphemes, else its first `kept` graphemes and `…`.
pub fn cut(text: &str, longest: usize, kept: usize) -> String {
    let is_long = text.graphemes(true).nth(longest).is_some();
    let shown = text.graphemes(true).take(if is_long { kept } else { longest }).map(limit_marks);
    shown.chain(is_long.then_some("…")).collect()
}

/// Limits a grapheme to 16 characters: it may carry any number of combining marks.
fn limit_marks(grapheme: &str) -> &str {
    let end = grapheme.char_indices().nth(16).map_or(grapheme.len(), |(end, _)| end);
    &grapheme[..end]
}

fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::{cut, plain};

    #[test]
    fn control_characters_become_one_space() {
        assert_eq!(plain("a\r\n\t\0b\u{202e}\u{2066}c\u{2028}\u{85}"), "a b c ");
        assert_eq!(plain("über ﷽ 👩‍👩‍👧"), "über ﷽ 👩‍👩‍👧");
    }

    #[test]
    fn a_long_text_is_cut_between_graphemes() {
        assert_eq!(cut("abcdef", 6, 5), "abcdef");
        assert_eq!(cut("abcdefg", 6, 5), "abcde…");
        let family = "👩‍👩‍👧";
        assert_eq!(cut(&family.repeat(7), 6, 2), format!("{}…", family.repeat(2)));
        assert_eq!(cut("", 6, 5), "");
        let tower = format!("a{}b", "\u{301}".repeat(1_000));
        assert_eq!(cut(&tower, 6, 5), format!("a{}b", "\u{301}".repeat(15)));
    }
}
