//! Patterns that no name can match, because they were copied with a scheme, a path or another kind of name.
//!
//! Invariant: a pattern that matches nothing is an error, because an operator takes it for a rule that holds.

use shared::config::{ConfigError, Globs};

/// What the patterns of a key are compared with.
#[derive(Clone, Copy)]
pub(super) enum Names {
    /// `hs.example`, `hs.example:8448`.
    Servers,
    /// `example.org`, without a port.
    Hosts,
    /// `@alice:hs.example`.
    Users,
}

/// # Errors
/// The first pattern that can match none of the names.
pub(super) fn check(key: &str, patterns: &Globs, names: Names) -> Result<(), ConfigError> {
    let (can_match, expected): (fn(&str) -> bool, _) = match names {
        Names::Servers => {
            (can_be_server, "server names such as \"example.org\" or \"*.example.org\", without a scheme or path")
        }
        Names::Hosts => {
            (can_be_host, "host names such as \"example.org\" or \"*.example.org\", without a scheme, port or path")
        }
        Names::Users => (can_be_user, "Matrix IDs such as \"@alice:example.org\" or \"@*:example.org\""),
    };
    match patterns.patterns().iter().find(|pattern| !can_match(pattern)) {
        Some(pattern) => Err(ConfigError::invalid(key, format!("expected {expected}, found \"{pattern}\""))),
        None => Ok(()),
    }
}

fn can_be_server(pattern: &str) -> bool {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control() && !"/@#\\,;\"'".contains(c);
    !pattern.is_empty() && pattern.chars().all(is_part)
}

fn can_be_host(pattern: &str) -> bool {
    can_be_server(pattern) && (!pattern.contains(':') || pattern.starts_with('['))
}

fn can_be_user(pattern: &str) -> bool {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control();
    let has_wildcard = pattern.contains('*');
    pattern.starts_with(['@', '*', '?']) && (pattern.contains(':') || has_wildcard) && pattern.chars().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::{Globs, Names, check};

    #[test]
    fn a_pattern_that_matches_no_name_is_an_error_that_shows_it() {
        for (names, good, bad) in [
            (
                Names::Servers,
                &["hs.example", "*.example:8448", "[::1]:8448", "*", "bücher.example"][..],
                &["https://hs.example", "hs.example/", "@a:hs", "a b", "", "a;b"][..],
            ),
            (
                Names::Hosts,
                &["example.org", "*.example.org", "[::1]"],
                &["http://x", "example.org:443", "a@example.org"],
            ),
            (Names::Users, &["@a:hs", "*", "@*:hs", "*:hs", "?a:hs"], &["alice", "hs.example", "a:hs", "@alice", ""]),
        ] {
            for pattern in good {
                assert!(check("x.y", &Globs::from([*pattern]), names).is_ok(), "{pattern}");
            }
            for pattern in bad {
                let error = check("x.y", &Globs::from(["*", *pattern]), names).unwrap_err().to_string();
                let end = format!(", found \"{pattern}\"");
                assert!(error.starts_with("[x] y: expected ") && error.ends_with(&end), "{error}");
            }
        }
    }
}
