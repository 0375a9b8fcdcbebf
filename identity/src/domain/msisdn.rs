//! Telephone numbers that are already in international form.
//!
//! Invariant: no country is guessed; what needs one to be understood is refused here.

/// The text is no telephone number in international form. It does not say which text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a telephone number in international form")]
pub struct InvalidMsisdn;

/// The form in which a number is stored, compared and hashed: the digits of E.164, country code first, without `+`.
///
/// A leading `+` and the usual separators (blank, `-`, `.`, `/`, parentheses) are taken out.
///
/// # Errors
/// [`InvalidMsisdn`] unless 5 to 15 digits are left of which the first is not 0, or if a zero that is dialled only
/// within the country is given as `(0)`.
pub fn canonical(typed: &str) -> Result<String, InvalidMsisdn> {
    if typed.contains("(0") {
        return Err(InvalidMsisdn);
    }
    let number = typed.strip_prefix('+').unwrap_or(typed);
    let digits: String = number.chars().filter(|&c| !is_separator(c)).collect();
    let right =
        (5..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    if right { Ok(digits) } else { Err(InvalidMsisdn) }
}

fn is_separator(c: char) -> bool {
    matches!(c, ' ' | '\u{a0}' | '-' | '.' | '/' | '(' | ')')
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn international_numbers_are_reduced_to_their_digits() {
        for (typed, expected) in [
            ("447700900001", "447700900001"),
            ("+447700900001", "447700900001"),
            ("+44 7700 900001", "447700900001"),
            ("+1 (800) 555-2067", "18005552067"),
            ("+1.800.555/2067", "18005552067"),
            ("12345", "12345"),
            ("123456789012345", "123456789012345"),
        ] {
            assert_eq!(canonical(typed).as_deref(), Ok(expected), "{typed}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let zeros = "0".repeat(40);
        for typed in [
            "",
            "+",
            "+44",
            "12",
            "999",
            "1234",
            "abc",
            "07700900001",
            "07700900001 ext 5",
            "+447700900001;ext=5",
            "+44 (0)7700 900001",
            "++447700900001",
            "44+7700900001",
            "1234567890123456",
            "0041446681800",
            "٤٤٧٧٠٠٩٠٠٠٠١",
            "447700900001\n",
            "447700900001\0",
            zeros.as_str(),
        ] {
            assert!(canonical(typed).is_err(), "{typed:?}");
        }
    }
}
