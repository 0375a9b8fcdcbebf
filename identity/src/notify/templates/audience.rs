//! The brand and the languages that a request asks for.
//!
//! Invariant: a request's values are only compared with names found on disk; they never become a path.

/// The brand and the languages of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audience<'a> {
    /// The query parameter `brand`.
    pub brand: Option<&'a str>,
    /// The query parameter `lang`; it overrides `accept_language`.
    pub lang: Option<&'a str>,
    /// The header `Accept-Language` (RFC 9110 section 12.5.4).
    pub accept_language: Option<&'a str>,
}

/// The most languages that are read from one request.
const MAX_LANGUAGES: usize = 16;

impl Audience<'_> {
    /// The language folders to look for, in lower case and by preference: each language, then its primary tag.
    pub(super) fn languages(&self) -> Vec<String> {
        let mut ranked: Vec<(u16, &str)> = Vec::new();
        for entry in self.accept_language.unwrap_or_default().split(',').take(MAX_LANGUAGES) {
            let mut parts = entry.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            ranked.push((weight.map_or(1000, thousandths), tag));
        }
        // The sort is stable: equal weights keep the order of the header.
        ranked.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        let accepted = ranked.into_iter().filter(|(weight, _)| *weight > 0).map(|(_, tag)| tag);
        let mut names: Vec<String> = Vec::new();
        for tag in self.lang.into_iter().chain(accepted).filter_map(language_name) {
            let primary = tag.split('-').next().unwrap_or_default().to_owned();
            for name in [tag, primary] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}

/// A weight between 0 and 1 in thousandths; 0 if it does not parse.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the value is between 0 and 1000")]
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 0,
    }
}

/// Normalizes a language tag (RFC 5646: groups of letters and digits) to the form of folder names; `None` if it is no
/// tag.
pub(super) fn language_name(tag: &str) -> Option<String> {
    let tag = tag.trim().replace('_', "-").to_ascii_lowercase();
    let mut groups = tag.split('-');
    let primary = groups
        .next()
        .is_some_and(|first| (2..=8).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_lowercase()));
    let others = groups.all(|group| (1..=8).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_alphanumeric()));
    (primary && others && tag.len() <= 35).then_some(tag)
}

/// Whether `name` matches `[A-Za-z0-9._-]+` and has more than dots.
pub(super) fn is_brand(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
        && name.bytes().any(|b| b != b'.')
}

#[cfg(test)]
mod tests {
    use super::{Audience, is_brand};

    fn languages(lang: Option<&str>, accept_language: Option<&str>) -> Vec<String> {
        Audience { brand: None, lang, accept_language }.languages()
    }

    #[test]
    fn languages_sort_by_weight_after_the_query_parameter() {
        let header = "en;q=0.5, de-CH, fr;q=0, *;q=0.1, de;q=0.9, en-GB;q=0.5";
        assert_eq!(languages(None, Some(header)), ["de-ch", "de", "en", "en-gb"]);
        assert_eq!(languages(Some("pt_BR"), Some("de")), ["pt-br", "pt", "de"]);
        assert_eq!(languages(None, None), Vec::<String>::new());
    }

    #[test]
    fn invalid_language_tags_are_ignored() {
        for lang in ["", "..", "../x", "/etc", "x", "d/e", "de\0", "*", "de--x", "de-", "-de", "abcdefghi", "dé"] {
            assert_eq!(languages(Some(lang), Some(lang)), Vec::<String>::new(), "{lang:?}");
        }
        assert_eq!(languages(None, Some("de;q=x, fr;q=nan, en;q=2, it;q=-1")), Vec::<String>::new());
        assert!(languages(None, Some(&"aa,".repeat(100_000))).len() <= 16);
    }

    #[test]
    fn a_brand_has_letters_digits_and_dots_only() {
        for brand in ["matrix-org", "a", "a.b_c-1", ".x"] {
            assert!(is_brand(brand), "{brand}");
        }
        for brand in ["", ".", "..", "...", "a/b", "../x", "/etc", "a\\b", "a\0", "ä", "a b", "a%2fb"] {
            assert!(!is_brand(brand), "{brand:?}");
        }
    }
}
