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
    /// `!room:hs.example`.
    Rooms,
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
        Names::Rooms => (can_be_room, "room IDs such as \"!room:example.org\" or \"!spam*\", not aliases or links"),
        Names::Users => (can_be_user, "Matrix IDs such as \"@alice:example.org\" or \"@*:example.org\""),
    };
    match patterns.patterns().iter().find(|pattern| !can_match(pattern)) {
        Some(pattern) => Err(ConfigError::invalid(key, format!("expected {expected}, found \"{pattern}\""))),
        None => Ok(()),
    }
}

fn can_be_server(pattern: &str) -> bool {
    let (host, port) = match pattern.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (pattern, None),
    };
    let is_wildcard = |c: char| "*?".contains(c);
    let can_be_port = |port: &str| {
        let is_one = port.parse::<u16>().is_ok() && port.bytes().all(|b| b.is_ascii_digit());
        is_one || port.contains(is_wildcard) && port.chars().all(|c| c.is_ascii_digit() || is_wildcard(c))
    };
    // "*:8448" and "*:*"; a pattern such as "*1:2*" may match an IPv6 address.
    let can_be_address =
        || pattern.contains('*') && pattern.chars().all(|c| "[]:.*?".contains(c) || c.is_ascii_hexdigit());
    can_be_host(host) && port.is_none_or(can_be_port) || can_be_address()
}

fn can_be_host(pattern: &str) -> bool {
    let is_of_address = |c: char| c.is_ascii_hexdigit() || ":.*?".contains(c);
    if let Some(address) = pattern.strip_prefix('[') {
        return address
            .strip_suffix(']')
            .is_some_and(|address| !address.is_empty() && address.chars().all(is_of_address));
    }
    let is_part = |c: char| c.is_alphanumeric() || !c.is_ascii() && !c.is_whitespace() || "-._*?".contains(c);
    !pattern.is_empty() && pattern.chars().all(is_part)
}

fn can_be_room(pattern: &str) -> bool {
    let is_part = |c: char| !c.is_whitespace() && !c.is_control();
    !pattern.is_empty() && !pattern.starts_with(['#', '@']) && !pattern.contains("://") && pattern.chars().all(is_part)
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
                &[
                    "hs.example",
                    "*.example:8448",
                    "[::1]:8448",
                    "[::1]",
                    "*",
                    "*:*",
                    "hs:84?8",
                    "bücher.example",
                    "hs_1",
                ][..],
                &[
                    "https://hs.example",
                    "https:hs.example",
                    "hs.example/",
                    "@a:hs",
                    "!r:hs",
                    "a b",
                    "",
                    "a;b",
                    "hs.example:99999",
                    "hs.example:",
                    "com.[ab]",
                ][..],
            ),
            (
                Names::Hosts,
                &["example.org", "*.example.org", "[::1]"],
                &["http://x", "example.org:443", "a@example.org"],
            ),
            (
                Names::Rooms,
                &["!r:hs", "!spam*", "*:evil.example"],
                &["#r:hs", "https://matrix.to/#/!r:hs", "", "!r hs"],
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
