//! What every vendor asks of numbers, senders and texts (ITU-T E.164; 3GPP TS 23.038, section 6.2.1, and TS 23.040).
//!
//! Invariant: a text that needs more than one message is complained of, whatever a vendor would make of it: the user pays
//! for each.

/// The characters that take one septet.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿\
                     abcdefghijklmnopqrstuvwxyzäöñüà";

/// Those that take two.
const EXTENDED: &str = "\u{c}^{}\\[~]|€";

/// An international number in digits alone.
pub(super) fn is_number(text: &str) -> bool {
    (7..=15).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit()) && !text.starts_with('0')
}

/// The digits of an international number with its plus.
pub(super) fn e164(text: &str) -> Option<&str> {
    text.strip_prefix('+').filter(|digits| is_number(digits))
}

/// A number that works within one country only.
pub(super) fn is_short_code(text: &str) -> bool {
    (3..=8).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit())
}

/// A sender's name: up to 11 letters, digits and characters in `others`, a letter among them.
pub(super) fn is_name(text: &str, others: &str) -> bool {
    (1..=11).contains(&text.chars().count())
        && text.chars().any(|c| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}

/// Whether the text can go out in the 7-bit alphabet.
pub(super) fn is_gsm(text: &str) -> bool {
    text.chars().all(|c| BASIC.contains(c) || EXTENDED.contains(c))
}

/// How many messages the text takes, in the 7-bit alphabet or in UCS-2.
pub(super) fn segments(text: &str, is_ucs2: bool) -> usize {
    let (length, alone, joined) = if is_ucs2 {
        (text.encode_utf16().count(), 70, 67)
    } else {
        (text.chars().map(|c| if EXTENDED.contains(c) { 2 } else { 1 }).sum(), 160, 153)
    };
    if length <= alone { 1 } else { length.div_ceil(joined) }
}

/// Complains of a text that one message does not hold.
pub(super) fn complain_of_length(text: &str, is_ucs2: bool, complaints: &mut Vec<String>) {
    let segments = segments(text, is_ucs2);
    if segments > 1 {
        complaints.push(format!("the text takes {segments} messages"));
    }
}
