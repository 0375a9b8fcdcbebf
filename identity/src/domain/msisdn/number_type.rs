//! Types of telephone numbers, as libphonenumber has them, and their words in the configuration.
//!
//! Invariant: every type has a word.

use std::str::FromStr;

use serde::Deserialize;

/// The type of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum NumberType {
    FixedLine,
    Mobile,
    /// Either, in countries where the number does not show which, such as those of North America.
    FixedLineOrMobile,
    /// Free for the caller.
    TollFree,
    /// Expensive for the caller, who also pays for a service.
    PremiumRate,
    /// Paid by caller and callee together.
    SharedCost,
    /// A line over the Internet.
    Voip,
    /// A number that follows a person from one line to another.
    PersonalNumber,
    Pager,
    /// One number for all offices of a company (universal access number).
    Uan,
    Voicemail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected one of {}", NumberType::ALL.map(NumberType::as_str).join(", "))]
pub struct UnknownNumberType;

impl NumberType {
    pub(super) const ALL: [Self; 11] = [
        Self::FixedLine,
        Self::Mobile,
        Self::FixedLineOrMobile,
        Self::TollFree,
        Self::PremiumRate,
        Self::SharedCost,
        Self::Voip,
        Self::PersonalNumber,
        Self::Pager,
        Self::Uan,
        Self::Voicemail,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FixedLine => "fixed_line",
            Self::Mobile => "mobile",
            Self::FixedLineOrMobile => "fixed_line_or_mobile",
            Self::TollFree => "toll_free",
            Self::PremiumRate => "premium_rate",
            Self::SharedCost => "shared_cost",
            Self::Voip => "voip",
            Self::PersonalNumber => "personal_number",
            Self::Pager => "pager",
            Self::Uan => "uan",
            Self::Voicemail => "voicemail",
        }
    }
}

impl FromStr for NumberType {
    type Err = UnknownNumberType;

    fn from_str(word: &str) -> Result<Self, UnknownNumberType> {
        Self::ALL.into_iter().find(|known| known.as_str() == word).ok_or(UnknownNumberType)
    }
}

impl TryFrom<String> for NumberType {
    type Error = UnknownNumberType;

    fn try_from(word: String) -> Result<Self, UnknownNumberType> {
        word.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::NumberType;

    #[test]
    fn each_type_has_one_word_in_the_file_and_the_environment() {
        for kind in NumberType::ALL {
            let word = kind.as_str();
            assert_eq!(word.parse(), Ok(kind));
            assert_eq!(serde_json::from_value::<NumberType>(word.into()).unwrap(), kind, "{word}");
        }
        for word in ["", "premium", "Mobile", "unknown", "mobile "] {
            let error = word.parse::<NumberType>().unwrap_err().to_string();
            assert!(error.contains("premium_rate, shared_cost"), "{error}");
        }
    }
}
