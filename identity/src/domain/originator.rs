//! The sender of an SMS: a telephone number, a short code or a name.
//!
//! Invariant: a number always receives SMS from the same one of several senders, so that its owner recognizes the sender.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A sender, written `long:447700900000`, `short:12345` or `alpha:Matrix`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Originator {
    /// A telephone number, in the digits of E.164 without `+`.
    Long(String),
    /// A short code of one country.
    Short(String),
    /// A name: at most 11 characters that every provider accepts, one of them a letter (3GPP TS 23.040 9.1.2.5).
    Alpha(String),
}

/// The text is not a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected \"long:\" and a number in international form without \"+\", \"short:\" and a short code, or \"alpha:\" and a name of at most 11 letters, digits, blanks and + - _ &"
)]
pub struct NoOriginator;

impl FromStr for Originator {
    type Err = NoOriginator;

    fn from_str(text: &str) -> Result<Self, NoOriginator> {
        let (kind, value) = text.split_once(':').ok_or(NoOriginator)?;
        let digits = |length: std::ops::RangeInclusive<usize>| {
            length.contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit())
        };
        match kind {
            "long" if digits(6..=15) && !value.starts_with('0') => Ok(Self::Long(value.to_owned())),
            "short" if digits(3..=8) => Ok(Self::Short(value.to_owned())),
            "alpha" if is_name(value) => Ok(Self::Alpha(value.to_owned())),
            _ => Err(NoOriginator),
        }
    }
}

impl TryFrom<String> for Originator {
    type Error = NoOriginator;

    fn try_from(text: String) -> Result<Self, NoOriginator> {
        text.parse()
    }
}

impl fmt::Display for Originator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Long(value) | Self::Short(value) | Self::Alpha(value)) = self;
        f.write_str(value)
    }
}

fn is_name(value: &str) -> bool {
    (1..=11).contains(&value.len())
        && value.trim() == value
        && value.bytes().any(|b| b.is_ascii_alphabetic())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b" +-_&".contains(&b))
}

impl Originator {
    /// The sender, with a `+` if it is a telephone number in international form.
    pub fn with_plus(&self) -> String {
        match self {
            Self::Long(digits) => format!("+{digits}"),
            Self::Short(value) | Self::Alpha(value) => value.clone(),
        }
    }

    /// The sender for the number with these digits. The sum of the digits chooses, so the result is always the same. `None`
    /// without candidates.
    pub fn choose<'a>(candidates: &'a [Self], digits: &str) -> Option<&'a Self> {
        let sum: usize = digits.bytes().filter(u8::is_ascii_digit).map(|digit| usize::from(digit - b'0')).sum();
        candidates.get(sum.checked_rem(candidates.len())?)
    }
}

#[cfg(test)]
mod tests {
    use super::{NoOriginator, Originator};

    #[test]
    fn three_kinds_are_parsed_and_everything_else_is_rejected() {
        assert_eq!("long:447000000000".parse(), Ok(Originator::Long("447000000000".into())));
        assert_eq!("short:12345".parse(), Ok(Originator::Short("12345".into())));
        assert_eq!("alpha:Matrix".parse(), Ok(Originator::Alpha("Matrix".into())));
        assert_eq!("alpha:A & B 2".parse(), Ok(Originator::Alpha("A & B 2".into())));
        for text in [
            "",
            "Matrix",
            "long:",
            "long:+447000000000",
            "long:07000000000",
            "long:12345",
            "long:4470000000001234",
            "short:12",
            "short:123456789",
            "short:12a45",
            "alpha:",
            "alpha:12345",
            "alpha:Matrix.org id",
            "alpha: Matrix",
            "alpha:Матрица",
            "alpha:Müller",
            "alpha:Mat\nrix",
            "Alpha:Matrix",
            "mobile:447000000000",
        ] {
            assert_eq!(text.parse::<Originator>(), Err(NoOriginator), "{text:?}");
        }
    }

    #[test]
    fn the_sum_of_the_digits_chooses() {
        let three: Vec<Originator> = ["alpha:A", "alpha:B", "alpha:C"].map(|text| text.parse().unwrap()).into();
        assert_eq!(Originator::choose(&three, "447700900001"), Some(&three[2]));
        assert_eq!(Originator::choose(&three, "447700900002"), Some(&three[0]));
        assert_eq!(Originator::choose(&three[..1], "447700900001"), Some(&three[0]));
        assert_eq!(Originator::choose(&[], "447700900001"), None);
    }
}
