//! Case folding, for comparison, and lower-casing as ECMAScript does it.
//!
//! Invariant: neither normalizes (no NFC, no NFKC) nor depends on a language, so both give the same result on every host.

use icu_casemap::CaseMapper;

/// Full Unicode case folding: `CaseFolding.txt`, statuses C and F, not T (specification, "3PID types": `email`).
///
/// Folding is idempotent.
pub fn fold(text: &str) -> String {
    CaseMapper::new().fold_string(text).into_owned()
}

/// The result of ECMAScript's `String.prototype.toLowerCase`: full lower-casing, with the final sigma as the only rule that
/// depends on neighbouring characters. Clients that do not fold hash this form.
pub fn lower_case_form(text: &str) -> String {
    text.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::{fold, lower_case_form};

    #[test]
    fn folding_is_idempotent_for_every_character() {
        for c in (0..=u32::from(char::MAX)).filter_map(char::from_u32) {
            let once = fold(c.encode_utf8(&mut [0; 4]));
            assert_eq!(fold(&once), once, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn folding_maps_letters_together_that_lower_casing_keeps_apart() {
        assert_eq!((fold("ß"), lower_case_form("ß")), ("ss".into(), "ß".into()));
        assert_eq!((fold("\u{1E9E}"), lower_case_form("\u{1E9E}")), ("ss".into(), "ß".into()));
        assert_eq!((fold("\u{13A0}"), lower_case_form("\u{13A0}")), ("\u{13A0}".into(), "\u{AB70}".into()));
    }

    #[test]
    fn the_last_sigma_of_a_word_is_final_only_in_the_lower_case_form() {
        for (text, lower) in [("ΑΣ@x", "ας@x"), ("ΑΣ.Β", "ασ.β"), ("Σ", "σ"), ("Α\u{301}Σ\u{301}", "α\u{301}ς\u{301}")]
        {
            assert_eq!(lower_case_form(text), lower, "{text}");
            assert!(!fold(text).contains('ς'), "{text}");
        }
    }

    #[test]
    fn no_turkish_rule_applies() {
        assert_eq!(
            (fold("I\u{130}\u{131}"), lower_case_form("I\u{130}\u{131}")),
            ("ii\u{307}\u{131}".into(), "ii\u{307}\u{131}".into())
        );
    }
}
