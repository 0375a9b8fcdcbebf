//! The capacity of one SMS (3GPP TS 23.038, TS 23.040): 160 characters of the GSM alphabet, or 70 of any other.
//!
//! Invariant: a text that needs several SMS is never sent. Each part costs money, and phones may show the parts out of
//! order.

/// The encoding of a text; one character outside the GSM alphabet decides for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The GSM 7 bit default alphabet, with its extension table.
    Gsm7,
    /// UTF-16, called UCS-2.
    Ucs2,
}

impl Encoding {
    /// The units that one SMS holds.
    pub const fn capacity(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }
}

/// TS 23.038 6.2.1, without the escape to the extension table.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";

/// TS 23.038 6.2.1.1; each takes an escape and a character.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// The encoding that `text` needs, and its length in units of it.
pub fn measure(text: &str) -> (Encoding, usize) {
    let mut septets = 0;
    for c in text.chars() {
        if BASIC.contains(c) {
            septets += 1;
        } else if EXTENSION.contains(c) {
            septets += 2;
        } else {
            return (Encoding::Ucs2, text.encode_utf16().count());
        }
    }
    (Encoding::Gsm7, septets)
}

/// The encoding of a non-empty text that fits into one SMS.
///
/// # Errors
/// The encoding and the units of any other text.
pub fn one_message(text: &str) -> Result<Encoding, (Encoding, usize)> {
    let (encoding, units) = measure(text);
    if (1..=encoding.capacity()).contains(&units) { Ok(encoding) } else { Err((encoding, units)) }
}

#[cfg(test)]
mod tests {
    use super::{BASIC, Encoding, measure, one_message};

    #[test]
    fn the_alphabet_has_127_different_characters() {
        let mut letters: Vec<char> = BASIC.chars().collect();
        letters.sort_unstable();
        letters.dedup();
        // 128 without the escape.
        assert_eq!((letters.len(), BASIC.chars().count()), (127, 127));
    }

    #[test]
    fn one_character_outside_the_alphabet_needs_ucs2() {
        for (text, encoding, units) in [
            ("123456 is your Matrix code", Encoding::Gsm7, 26),
            ("Ihr Code für Matrix: 123456", Encoding::Gsm7, 27),
            ("Price: 5€ [x]", Encoding::Gsm7, 16),
            ("Votre code : 123456 ê", Encoding::Ucs2, 21),
            ("Код: 123456", Encoding::Ucs2, 11),
            ("👍", Encoding::Ucs2, 2),
            ("ç", Encoding::Ucs2, 1),
            ("", Encoding::Gsm7, 0),
        ] {
            assert_eq!(measure(text), (encoding, units), "{text}");
        }
    }

    #[test]
    fn one_sms_holds_160_septets_or_70_units() {
        for (text, fits) in [
            ("a".repeat(160), true),
            ("a".repeat(161), false),
            ("€".repeat(80), true),
            (format!("{}a", "€".repeat(80)), false),
            ("ж".repeat(70), true),
            ("ж".repeat(71), false),
            ("👍".repeat(35), true),
            ("👍".repeat(36), false),
            (String::new(), false),
        ] {
            assert_eq!(one_message(&text).is_ok(), fits, "{text}");
        }
    }
}
