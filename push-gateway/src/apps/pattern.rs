//! Selects the app of an `app_id`: an equal pattern, else the most specific matching one.
//!
//! Invariant: the result never depends on the order of the configuration; ambiguous patterns are an error at start.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use shared::config::glob_matches;

/// Apps by pattern: `*` matches any run of characters, also dots, and `?` one character.
#[derive(Debug)]
pub(super) struct Patterns<T> {
    exact: HashMap<String, T>,
    /// The most specific first.
    globs: Vec<(Glob, T)>,
}

/// Two patterns match the same app ids, and neither is more specific.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[apps.\"{1}\"]: matches the same app ids as [apps.\"{0}\"], and neither is more specific; change one of them")]
pub(crate) struct Ambiguous(pub(crate) String, pub(crate) String);

#[derive(Debug)]
struct Glob {
    text: String,
    letters: Vec<char>,
}

impl<T: Clone> Patterns<T> {
    /// # Errors
    /// [`Ambiguous`]
    pub(super) fn new(apps: impl IntoIterator<Item = (String, T)>) -> Result<Self, Ambiguous> {
        let (mut exact, mut globs) = (HashMap::new(), Vec::<(Glob, T)>::new());
        for (text, app) in apps {
            exact.insert(text.clone(), app.clone());
            let glob = Glob { letters: text.chars().collect(), text };
            if !glob.letters.iter().any(|c| is_wildcard(*c)) {
                continue;
            }
            if let Some((other, _)) = globs.iter().find(|(other, _)| glob.ties_with(other)) {
                return Err(Ambiguous(other.text.clone(), glob.text));
            }
            globs.push((glob, app));
        }
        globs.sort_by_key(|(glob, _)| Reverse(glob.specificity()));
        Ok(Self { exact, globs })
    }

    pub(super) fn find(&self, app_id: &str) -> Option<&T> {
        if let Some(app) = self.exact.get(app_id) {
            return Some(app);
        }
        let letters: Vec<char> = app_id.chars().collect();
        self.globs.iter().find(|(glob, _)| glob_matches(&glob.letters, &letters)).map(|(_, app)| app)
    }

    /// The app with exactly this pattern.
    pub(super) fn named(&self, pattern: &str) -> Option<&T> {
        self.exact.get(pattern)
    }

    /// All apps, each once.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.exact.values()
    }
}

impl Glob {
    /// The length before the first wildcard, then the number of literal characters.
    fn specificity(&self) -> (usize, usize) {
        let prefix = self.letters.iter().take_while(|c| !is_wildcard(**c)).count();
        (prefix, self.letters.iter().filter(|c| !is_wildcard(**c)).count())
    }

    fn ties_with(&self, other: &Self) -> bool {
        self.specificity() == other.specificity() && overlap(&self.letters, &other.letters)
    }
}

fn is_wildcard(c: char) -> bool {
    matches!(c, '*' | '?')
}

/// Whether any text matches both patterns: searches all reachable pairs of positions.
fn overlap(a: &[char], b: &[char]) -> bool {
    let (mut seen, mut open) = (HashSet::new(), vec![(0, 0)]);
    while let Some((i, j)) = open.pop() {
        if !seen.insert((i, j)) {
            continue;
        }
        match (a.get(i), b.get(j)) {
            (None, None) => return true,
            // A star ends, or matches the next character of the other pattern.
            (Some('*'), next) => {
                open.push((i + 1, j));
                if next.is_some() {
                    open.push((i, j + 1));
                }
            }
            (next, Some('*')) => {
                open.push((i, j + 1));
                if next.is_some() {
                    open.push((i + 1, j));
                }
            }
            (Some('?'), Some(_)) | (Some(_), Some('?')) => open.push((i + 1, j + 1)),
            (Some(x), Some(y)) if x == y => open.push((i + 1, j + 1)),
            (Some(_) | None, Some(_)) | (Some(_), None) => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Patterns, glob_matches, overlap};

    fn patterns<'a>(patterns: &[&'a str]) -> Patterns<&'a str> {
        Patterns::new(patterns.iter().map(|text| ((*text).to_owned(), *text))).unwrap()
    }

    #[test]
    fn an_equal_pattern_wins_then_the_longest_prefix_then_the_most_literal_characters() {
        let table = patterns(&["org.demo.ios", "*.demo.*", "org.demo.i*", "*.demo.web", "*", "org.demo.?*"]);
        for (app_id, pattern) in [
            ("org.demo.ios", "org.demo.ios"),
            ("org.demo.ios2", "org.demo.i*"),
            ("org.demo.android", "org.demo.?*"),
            ("com.demo.web", "*.demo.web"),
            ("com.demo.other", "*.demo.*"),
            ("com.other", "*"),
            ("", "*"),
            ("org.demo.i*", "org.demo.i*"),
            ("*.demo.*", "*.demo.*"),
        ] {
            assert_eq!(table.find(app_id), Some(&pattern), "{app_id}");
        }
    }

    #[test]
    fn the_longer_prefix_wins_then_the_more_literal_characters_in_any_order_of_configuration() {
        for (app_id, winner, loser) in [
            ("abcdef", "ab*", "a*bcdef"),
            ("abcdef", "abc*", "ab*cdef"),
            ("abxc", "ab?c", "ab*"),
            ("ab.x.c", "ab*x*", "ab*"),
            ("x.ios", "*.ios", "*"),
        ] {
            for order in [[winner, loser], [loser, winner]] {
                assert_eq!(patterns(&order).find(app_id), Some(&winner), "{order:?}");
            }
        }
    }

    #[test]
    fn patterns_match_the_whole_app_id_and_its_case() {
        let table = patterns(&["com.glob.?", "com.many.*", "Com.exact"]);
        for app_id in ["com.glob.ab", "com.glob.", "Com.many.x", "xcom.many.x", "com.exact", "com.many", ""] {
            assert_eq!(table.find(app_id), None, "{app_id}");
        }
        for app_id in ["com.glob.a", "com.glob.é", "com.many.", "com.many.a.b", "Com.exact"] {
            assert!(table.find(app_id).is_some(), "{app_id}");
        }
    }

    #[test]
    fn ambiguous_patterns_are_refused_and_disjoint_ones_are_not() {
        let build = |texts: [&str; 2]| Patterns::new(texts.map(|text| (text.to_owned(), ()))).map(drop);
        for texts in [["a*c", "a?c"], ["a*b*", "a*?b"], ["*.a*", "*a.*"], ["x*ab*", "x*ba*"]] {
            assert!(build(texts).is_err(), "{texts:?}");
        }
        for texts in [["com.a.*", "com.b.*"], ["*.ios", "*.web"], ["a?", "a??"], ["a*b", "a*c"], ["*", "?x"]] {
            assert!(build(texts).is_ok(), "{texts:?}");
        }
        let error = build(["a*c", "a?c"]).unwrap_err().to_string();
        assert!(error.contains("apps.\"a*c\"") && error.contains("apps.\"a?c\""), "{error}");
    }

    proptest! {
        #[test]
        fn patterns_overlap_if_a_text_matches_both(a in "[ab*?]{0,6}", b in "[ab*?]{0,6}", text in "[ab]{0,6}") {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            let (a, b, text) = (letters(&a), letters(&b), letters(&text));
            if glob_matches(&a, &text) && glob_matches(&b, &text) {
                prop_assert!(overlap(&a, &b));
            }
            prop_assert_eq!(overlap(&a, &b), overlap(&b, &a));
        }

        #[test]
        fn a_pattern_overlaps_a_text_if_it_matches_it(pattern in "[ab*?]{0,6}", text in "[ab]{0,6}") {
            let letters = |text: &str| text.chars().collect::<Vec<char>>();
            let (pattern, text) = (letters(&pattern), letters(&text));
            prop_assert_eq!(overlap(&pattern, &text), glob_matches(&pattern, &text));
        }
    }
}
