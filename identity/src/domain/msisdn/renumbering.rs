//! Numbers that are still written as before a change of their country's plan, and forms that reach one subscriber.
//!
//! Invariant: pure functions of digits; a number without an older form stays as it is.

use std::borrow::Cow;

/// What Mexico's mobile numbers had between the calling code, or the caller's own line, and their ten digits until 2019.
const MEXICO: [&str; 4] = ["1", "01", "044", "045"];

/// The current form of digits with their calling code.
pub(super) fn international(digits: &str) -> Cow<'_, str> {
    match digits.strip_prefix("52").and_then(mexico) {
        Some(national) => format!("52{national}").into(),
        None => digits.into(),
    }
}

/// The ten digits of a Mexican number behind an old prefix.
pub(super) fn mexico(national: &str) -> Option<&str> {
    MEXICO.iter().filter_map(|prefix| national.strip_prefix(prefix)).find(|rest| rest.len() == 10)
}

/// One form for all canonical forms that reach one subscriber. For limits only: no number is dialled in it.
pub fn subscriber(canonical: &str) -> Cow<'_, str> {
    let digits = international(canonical);
    let rest = |calling_code: &str, length: usize| {
        digits.strip_prefix(calling_code).filter(|rest| rest.len() == length).map(str::to_owned)
    };
    // Argentina: mobile numbers have a 9 from abroad, and work without it.
    if let Some(national) = rest("549", 10) {
        return format!("54{national}").into();
    }
    // Brazil: mobile numbers got a 9 after the area code until 2016; operators still route the old form.
    if let Some(national) = rest("55", 11)
        && national.as_bytes()[2] == b'9'
    {
        return format!("55{}{}", &national[..2], &national[3..]).into();
    }
    // Gabon: numbers of seven digits, also written with a leading zero, got another first digit in 2019.
    if let Some(national) = rest("241", 8) {
        return format!("241{}", &national[1..]).into();
    }
    // Benin: numbers of eight digits got 01 in front in 2024.
    if let Some(national) = rest("229", 10).filter(|national| national.starts_with("01")) {
        return format!("229{}", &national[2..]).into();
    }
    // San Marino: fixed numbers are written with and without the area code, and are reached through Italy too.
    for prefix in ["3780549", "390549"] {
        if let Some(national) = digits.strip_prefix(prefix).filter(|rest| rest.len() == 6) {
            return format!("378{national}").into();
        }
    }
    // French overseas departments: their mobile numbers are reached through France too.
    for (metropolitan, overseas) in [
        ("33690", "590"),
        ("33691", "590"),
        ("33692", "262"),
        ("33693", "262"),
        ("33694", "594"),
        ("33696", "596"),
        ("33697", "596"),
    ] {
        if digits.len() == 11 && digits.starts_with(metropolitan) {
            return format!("{overseas}{}", &digits[2..]).into();
        }
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::{international, subscriber};

    #[test]
    fn old_mexican_forms_become_the_current_one() {
        for old in ["5215541637145", "52015541637145", "520445541637145", "520455541637145", "525541637145"] {
            assert_eq!(international(old), "525541637145");
        }
        for other in ["52155416371", "521554163714555", "15541637145", "447700900001"] {
            assert_eq!(international(other), other);
        }
    }

    #[test]
    fn all_forms_of_one_subscriber_are_one() {
        for (forms, one) in [
            (&["5491123456789", "541123456789"][..], "541123456789"),
            (&["2290197123456", "22997123456"], "22997123456"),
            (&["3780549123456", "390549123456", "378123456"], "378123456"),
            (&["590690123456", "33690123456"], "590690123456"),
            (&["5511987654321", "551187654321"], "551187654321"),
            (&["24106123456", "24166123456", "2416123456"], "2416123456"),
            (&["5215541637145", "525541637145"], "525541637145"),
            (&["447700900001"], "447700900001"),
        ] {
            for form in forms {
                assert_eq!(subscriber(form), one, "{form}");
            }
        }
    }
}
