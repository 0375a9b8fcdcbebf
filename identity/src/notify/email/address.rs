//! Addresses in the form that an SMTP envelope can carry.

/// The envelope form of `to`, or `None` if no envelope can carry it.
///
/// A domain outside ASCII becomes A-labels, so that SMTPUTF8 is not needed while the local part is ASCII. With another
/// local part the address stays as it is, and the relay must support SMTPUTF8 (RFC 6531).
pub(super) fn sendable(to: &str) -> Option<String> {
    let (local, domain) = to.rsplit_once('@')?;
    let forbidden =
        |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | ',' | ';' | '"' | '@' | '\\');
    if local.is_empty() || domain.is_empty() || local.contains(forbidden) || domain.contains(forbidden) {
        return None;
    }
    if domain.is_ascii() || !local.is_ascii() {
        return Some(to.to_owned());
    }
    let domain = idna::domain_to_ascii_strict(domain).ok()?;
    Some(format!("{local}@{domain}"))
}

/// The local part as an SMTP command writes it: quoted unless it is a dot-atom (RFC 5321 section 4.1.2).
pub(super) fn quoted(local: &str) -> String {
    let is_dot_atom = !local.starts_with('.') && !local.ends_with('.') && !local.contains("..");
    if is_dot_atom { local.to_owned() } else { format!("\"{local}\"") }
}

/// An address as a header field writes it (RFC 5322 section 3.4.1).
pub(super) fn written(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{domain}", quoted(local)),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{quoted, sendable};

    #[test]
    fn a_local_part_is_quoted_only_where_the_grammar_asks_for_it() {
        for (local, written) in
            [("a.b", "a.b"), ("a..b", "\"a..b\""), ("a.", "\"a.\""), (".a", "\".a\""), ("jürgen", "jürgen")]
        {
            assert_eq!(quoted(local), written);
        }
    }

    #[test]
    fn a_domain_outside_ascii_becomes_a_labels_unless_the_local_part_needs_utf8() {
        for (to, sent) in [
            ("Bob@Example.com", Some("Bob@Example.com")),
            ("bob@bücher.example", Some("bob@xn--bcher-kva.example")),
            ("jürgen@bücher.example", Some("jürgen@bücher.example")),
            ("bob", None),
            ("@x.org", None),
            ("a@", None),
            ("a@x\r\nRCPT TO:<b@y>", None),
            ("a@x>,<b@y", None),
            ("a@good@bad", None),
            ("a@\u{ad}ü..x", None),
        ] {
            assert_eq!(sendable(to).as_deref(), sent, "{to:?}");
        }
    }
}
