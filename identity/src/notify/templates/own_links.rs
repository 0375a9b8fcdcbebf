//! Links to an identity server that a template spells out instead of using a variable.
//!
//! Sydent's own templates name matrix.org: an invitation's private key would go there. So a foreign address is replaced by
//! this server's, and named.
//!
//! Invariant: only literal text changes; a placeholder in the address stays as it is.

/// The path of every identity server's API, in segments.
const PATH: [&str; 2] = ["_matrix", "identity"];
/// A colon and a slash as templates spell them: plain, percent-encoded, and both again where `%` is written `%%`.
const SPELLINGS: [(&str, &str); 5] =
    [(":", "/"), ("%3a", "%2f"), ("%%3a", "%%2f"), ("%253a", "%252f"), ("%%253a", "%%252f")];
const MAX_LENGTH: usize = 300;

/// The template with links to `base_url` alone, and the foreign addresses that it had.
pub(super) fn with_own_links(source: &str, base_url: &str) -> (String, Vec<String>) {
    let (mut text, mut foreign) = (source.to_owned(), Vec::new());
    for (colon, slash) in SPELLINGS {
        let path = format!("{slash}{}{slash}{}", PATH[0], PATH[1]);
        let own = base_url.replace(':', &colon.to_ascii_uppercase()).replace('/', &slash.to_ascii_uppercase());
        let mut from = 0;
        // An ASCII lower-case copy has the same positions.
        while let Some(end) = text.to_ascii_lowercase()[from..].find(&path).map(|at| from + at) {
            from = end + path.len();
            let Some(start) = start_of_url(&text[..end], colon, slash) else { continue };
            let base = &text[start..end];
            let is_literal =
                base.len() <= MAX_LENGTH && !base.contains(|c: char| c.is_whitespace() || "{}()<>\"'".contains(c));
            if !is_literal || base.eq_ignore_ascii_case(&own) {
                continue;
            }
            let shown = base.to_ascii_lowercase().replace(colon, ":").replace(slash, "/");
            if !foreign.contains(&shown) {
                foreign.push(shown);
            }
            from = from + own.len() - base.len();
            text.replace_range(start..end, &own);
        }
    }
    (text, foreign)
}

/// The start of the last URL in `text`.
fn start_of_url(text: &str, colon: &str, slash: &str) -> Option<usize> {
    let lower = text.to_ascii_lowercase();
    ["https", "http"].iter().filter_map(|scheme| lower.rfind(&format!("{scheme}{colon}{slash}{slash}"))).max()
}

#[cfg(test)]
mod tests {
    use super::with_own_links;

    const OWN: &str = "https://id.example";

    #[test]
    fn a_foreign_address_is_replaced_in_every_spelling() {
        for (source, expected, foreign) in [
            (
                "x?signurl=https%3A%2F%2Fmatrix.org%2F_matrix%2Fidentity%2Fapi%2Fv1%2Fsign-ed25519%3Ftoken%3D{{ token }}",
                "x?signurl=https%3A%2F%2Fid.example%2F_matrix%2Fidentity%2Fapi%2Fv1%2Fsign-ed25519%3Ftoken%3D{{ token }}",
                "https://matrix.org",
            ),
            (
                "https%%3a%%2f%%2Fvector.im%%2F_matrix%%2Fidentity%%2F%(token)s",
                "https%%3A%%2F%%2Fid.example%%2F_matrix%%2Fidentity%%2F%(token)s",
                "https://vector.im",
            ),
            (
                "<a href=\"http://old.example:8090/id/_matrix/identity/v2/x?t={{ token }}\">",
                "<a href=\"https://id.example/_matrix/identity/v2/x?t={{ token }}\">",
                "http://old.example:8090/id",
            ),
        ] {
            assert_eq!(with_own_links(source, OWN), (expected.to_owned(), vec![foreign.to_owned()]));
        }
    }

    #[test]
    fn own_addresses_placeholders_and_other_links_stay() {
        for source in [
            "{{ link }} {{ signurl }}",
            "https://id.example/_matrix/identity/v2",
            "{{ public_base_url }}/_matrix/identity/v2",
            "https://{{ host }}/_matrix/identity/v2",
            "https://example.org/terms and /_matrix/identity/v2",
            "https://matrix.to/#/!room",
            "https%3A%2F%2Fid.example%2F_matrix%2Fidentity",
        ] {
            assert_eq!(with_own_links(source, OWN), (source.to_owned(), Vec::new()));
        }
    }
}
