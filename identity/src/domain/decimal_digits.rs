//! Decimal digits of all scripts.
//!
//! Invariant: every entry is the zero of ten consecutive digits (Unicode, general category Nd).

/// The zeros of all scripts, in ascending order.
const ZEROS: [char; 66] = [
    '\u{30}',
    '\u{660}',
    '\u{6f0}',
    '\u{7c0}',
    '\u{966}',
    '\u{9e6}',
    '\u{a66}',
    '\u{ae6}',
    '\u{b66}',
    '\u{be6}',
    '\u{c66}',
    '\u{ce6}',
    '\u{d66}',
    '\u{de6}',
    '\u{e50}',
    '\u{ed0}',
    '\u{f20}',
    '\u{1040}',
    '\u{1090}',
    '\u{17e0}',
    '\u{1810}',
    '\u{1946}',
    '\u{19d0}',
    '\u{1a80}',
    '\u{1a90}',
    '\u{1b50}',
    '\u{1bb0}',
    '\u{1c40}',
    '\u{1c50}',
    '\u{a620}',
    '\u{a8d0}',
    '\u{a900}',
    '\u{a9d0}',
    '\u{a9f0}',
    '\u{aa50}',
    '\u{abf0}',
    '\u{ff10}',
    '\u{104a0}',
    '\u{10d30}',
    '\u{11066}',
    '\u{110f0}',
    '\u{11136}',
    '\u{111d0}',
    '\u{112f0}',
    '\u{11450}',
    '\u{114d0}',
    '\u{11650}',
    '\u{116c0}',
    '\u{11730}',
    '\u{118e0}',
    '\u{11950}',
    '\u{11c50}',
    '\u{11d50}',
    '\u{11da0}',
    '\u{16a60}',
    '\u{16ac0}',
    '\u{16b50}',
    '\u{1d7ce}',
    '\u{1d7d8}',
    '\u{1d7e2}',
    '\u{1d7ec}',
    '\u{1d7f6}',
    '\u{1e140}',
    '\u{1e2f0}',
    '\u{1e950}',
    '\u{1fbf0}',
];

/// The value of a decimal digit of any script.
pub(super) fn value(c: char) -> Option<char> {
    let last = ZEROS.partition_point(|zero| *zero <= c).checked_sub(1)?;
    char::from_digit(u32::from(c) - u32::from(ZEROS[last]), 10)
}

/// The decimal digits in `text`, in ASCII; all other characters are dropped.
pub fn to_ascii(text: &str) -> String {
    text.chars().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::to_ascii;

    #[test]
    fn digits_of_every_script_count_and_nothing_else_does() {
        for (text, digits) in [
            (" 123-456 ", "123456"),
            ("١٢٣٤٥٦", "123456"),
            ("۱۲۳ ۴۵۶", "123456"),
            ("१२३४५६", "123456"),
            ("１２３４５６", "123456"),
            ("\u{1d7d8}\u{1d7e1}\u{1d7e2}", "090"),
            ("\u{1fbf0}9:/", "09"),
            ("²½Ⅷ一x", ""),
        ] {
            assert_eq!(to_ascii(text), digits, "{text}");
        }
    }
}
