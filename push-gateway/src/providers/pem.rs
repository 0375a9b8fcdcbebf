//! PEM as it reaches a server: through mail, shells, secrets of a platform, and JSON.
//!
//! Invariant: only the form changes; a text without a PEM header stays as it is.

use shared::secret::Secret;

/// `text` as PEM: line breaks that were written as `\\n`, turned into spaces or lost are there again, a byte order mark and
/// blanks around are gone.
pub(crate) fn normalize(text: &Secret<String>) -> Secret<String> {
    let text = text.expose().trim_start_matches('\u{feff}').replace("\\r", "").replace("\\n", "\n");
    match blocks(&text) {
        Some(pem) => Secret::new(pem),
        None => Secret::new(text),
    }
}

/// Writes each block of `text` again: its header line, the base64 in lines, its end line.
fn blocks(text: &str) -> Option<String> {
    const BEGIN: &str = "-----BEGIN ";
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(BEGIN) {
        let after = &rest[start + BEGIN.len()..];
        let (label, body) = after.split_once("-----")?;
        let end = format!("-----END {label}-----");
        let (body, next) = body.split_once(&end)?;
        // An encrypted key in the older form has header fields, whose lines matter.
        if body.contains(':') {
            return None;
        }
        let base64: String = body.split_whitespace().collect();
        out.push_str(&format!("{BEGIN}{label}-----\n"));
        let mut left = base64.as_str();
        while !left.is_empty() {
            let (line, after) = left.split_at_checked(64.min(left.len()))?;
            out.push_str(line);
            out.push('\n');
            left = after;
        }
        out.push_str(&end);
        out.push('\n');
        rest = next;
    }
    (!out.is_empty()).then_some(out)
}

/// Whether the key in `pem` is encrypted with a password.
pub(crate) fn is_encrypted(pem: &Secret<String>) -> bool {
    pem.expose().contains("ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use shared::secret::Secret;

    use super::{is_encrypted, normalize};

    #[test]
    fn line_breaks_come_back_whatever_happened_to_them() {
        let base64 = "A".repeat(100);
        let good =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n{}\n-----END PRIVATE KEY-----\n", &base64[..64], &base64[64..]);
        let one_line = good.trim_end().replace('\n', "");
        for form in [
            good.clone(),
            good.replace('\n', "\r\n"),
            good.replace('\n', "\\n"),
            good.replace('\n', "\\r\\n"),
            good.replace('\n', " "),
            one_line,
            format!("\u{feff}\n\n{good}\n\n"),
            good.lines().map(|line| format!("  {line}\n")).collect(),
        ] {
            assert_eq!(normalize(&Secret::new(form.clone())).expose(), &good, "{form:?}");
        }
        assert_eq!(normalize(&Secret::new("no key".to_owned())).expose(), "no key");
    }

    #[test]
    fn an_encrypted_key_is_recognized() {
        let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert!(is_encrypted(&normalize(&Secret::new(text.to_owned()))));
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert_eq!(normalize(&Secret::new(old.to_owned())).expose(), old);
    }
}
