//! Patterns of names.
//!
//! Invariant: a match costs at most the pattern's length times the text's.

use serde::{Deserialize, Deserializer};

use super::values::OneOrMany;

/// Patterns with `*` for any sequence of characters and `?` for one; ASCII case does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globs(OneOrMany<String>);

impl Globs {
    /// Whether a pattern matches the whole `text`.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.to_ascii_lowercase().chars().collect();
        self.0.as_slice().iter().any(|pattern| {
            let pattern: Vec<char> = pattern.to_ascii_lowercase().chars().collect();
            glob_matches(&pattern, &text)
        })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the patterns matches every name.
    pub fn match_everything(&self) -> bool {
        let is_any = |pattern: &String| pattern.contains('*') && pattern.chars().all(|c| "*?.".contains(c));
        self.patterns().iter().any(is_any)
    }

    /// Adds patterns.
    pub fn extend(&mut self, patterns: impl IntoIterator<Item = String>) {
        self.0 = self.0.as_slice().iter().cloned().chain(patterns).collect::<Vec<_>>().into();
    }

    /// The patterns as configured.
    pub fn patterns(&self) -> &[String] {
        self.0.as_slice()
    }
}

impl<const N: usize> From<[&str; N]> for Globs {
    fn from(patterns: [&str; N]) -> Self {
        Self(patterns.map(str::to_owned).to_vec().into())
    }
}

impl<'de> Deserialize<'de> for Globs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        OneOrMany::deserialize(deserializer).map(Self)
    }
}

/// Whether `pattern`, with `*` for any sequence of characters and `?` for one, matches the whole `text`.
///
/// Backtracks to the last `*` only, so the cost is at most the pattern's length times the text's.
pub fn glob_matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == '*' {
            retry = Some((p, t));
            p += 1;
        } else if p < pattern.len() && (pattern[p] == '?' || pattern[p] == text[t]) {
            p += 1;
            t += 1;
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::Globs;

    #[test]
    fn globs_match_the_whole_text() {
        let matches = |pattern, text| Globs::from([pattern]).matches(text);
        assert!(matches("*.example.org", "HS.example.org"));
        assert!(!matches("*.example.org", "example.org"));
        assert!(matches("*", "anything"));
        assert!(matches("a?c*", "abc"));
        assert!(!matches("a?c", "abcd"));
        assert!(!matches("", "x"));
        assert!(matches("*a*b*", "xxaxxbxx"));
        assert!(!matches(&"*a".repeat(40), &"a".repeat(39)));
        for (pattern, expected) in
            [("*", true), ("?*", true), ("*.*", true), ("*.org", false), ("?", false), ("", false)]
        {
            assert_eq!(Globs::from(["x", pattern]).match_everything(), expected, "{pattern}");
        }
    }
}
