//! Whom a text is for: the brand and the languages that a request asks for.
//!
//! Invariant: what a request says is only ever compared with names that were found on disk; it never becomes a path.

/// What a request says about the look and the language it wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Audience<'a> {
    /// The query parameter `brand`.
    pub brand: Option<&'a str>,
    /// The query parameter `lang`; wins over `accept_language`.
    pub lang: Option<&'a str>,
    /// The header `Accept-Language` (RFC 9110 section 12.5.4).
    pub accept_language: Option<&'a str>,
}

/// How many languages of a request are looked at; what follows is noise.
const MAX_LANGUAGES: usize = 16;

impl Audience<'_> {
    /// The names of language folders to try, in lower case, the most wanted first: each language, then its primary tag.
    pub(super) fn languages(&self) -> Vec<String> {
        let mut ranked: Vec<(u16, &str)> = Vec::new();
        for entry in self.accept_language.unwrap_or_default().split(',').take(MAX_LANGUAGES) {
            let mut parts = entry.split(';').map(str::trim);
            let tag = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            ranked.push((weight.map_or(1000, thousandths), tag));
        }
        // Stable: of equal weights the first stays first.
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

/// A weight between 0 and 1 in thousandths; what is not one counts as 0.
fn thousandths(weight: &str) -> u16 {
    match weight.parse::<f32>() {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between 0 and 1000")]
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0).round() as u16,
        _ => 0,
    }
}

/// A language tag in the form that folders are compared in, if it is one (RFC 5646: letters and digits in groups).
pub(super) fn language_name(tag: &str) -> Option<String> {
    let tag = tag.trim().replace('_', "-").to_ascii_lowercase();
    let mut groups = tag.split('-');
    let primary = groups
        .next()
        .is_some_and(|first| (2..=8).contains(&first.len()) && first.bytes().all(|b| b.is_ascii_lowercase()));
    let others = groups.all(|group| (1..=8).contains(&group.len()) && group.bytes().all(|b| b.is_ascii_alphanumeric()));
    (primary && others && tag.len() <= 35).then_some(tag)
}

/// Whether `name` can be a brand: `[A-Za-z0-9._-]+`, and not only dots.
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
    fn languages_come_by_weight_and_the_query_comes_first() {
        let header = "en;q=0.5, de-CH, fr;q=0, *;q=0.1, de;q=0.9, en-GB;q=0.5";
        assert_eq!(languages(None, Some(header)), ["de-ch", "de", "en", "en-gb"]);
        assert_eq!(languages(Some("pt_BR"), Some("de")), ["pt-br", "pt", "de"]);
        assert_eq!(languages(None, None), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_a_language_is_ignored() {
        for lang in ["", "..", "../x", "/etc", "x", "d/e", "de\0", "*", "de--x", "de-", "-de", "abcdefghi", "dé"] {
            assert_eq!(languages(Some(lang), Some(lang)), Vec::<String>::new(), "{lang:?}");
        }
        assert_eq!(languages(None, Some("de;q=x, fr;q=nan, en;q=2, it;q=-1")), Vec::<String>::new());
        assert!(languages(None, Some(&"aa,".repeat(100_000))).len() <= 16);
    }

    #[test]
    fn a_brand_is_a_plain_name() {
        for brand in ["matrix-org", "a", "a.b_c-1", ".x"] {
            assert!(is_brand(brand), "{brand}");
        }
        for brand in ["", ".", "..", "...", "a/b", "../x", "/etc", "a\\b", "a\0", "ä", "a b", "a%2fb"] {
            assert!(!is_brand(brand), "{brand:?}");
        }
    }
}
