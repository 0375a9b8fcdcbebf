//! What the numbering plans of the world make of digits. The one place that knows the library.
//!
//! Invariant: a [`Reading`] can be dialled from abroad, and its digits with a plus in front mean the same number again.

use rlibphonenumber::{
    CountryCodeSource, NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType,
};

use super::{CANONICAL_DIGITS, NumberType};

/// The most digits of what may be a short number: one of the police, of the exchange, of a service by message. Where
/// countries have whole numbers of so few digits, these are in ranges that have been assigned.
const MAX_SHORT: usize = 6;

/// A country with a numbering plan.
#[derive(Clone, Copy)]
pub(super) struct Region(rlibphonenumber::Region);

impl Region {
    /// The country of a code of ISO 3166-1 alpha-2, in any case.
    pub(super) fn of(country: &str) -> Option<Self> {
        // Of three characters the library takes "001", the numbers that belong to no country.
        let region = (country.len() == 2).then(|| rlibphonenumber::Region::from_code(country).ok())??;
        PHONE_NUMBER_UTIL.get_country_code_for_region(region).map(|_| Self(region))
    }
}

/// One way to understand digits: a number of some country.
pub(super) struct Reading {
    number: PhoneNumber,
    /// The digits of E.164, calling code first.
    pub(super) digits: String,
}

impl Reading {
    /// `digits` as they are dialled in `region`.
    pub(super) fn as_dialled(digits: &str, region: Region) -> Option<Self> {
        Self::parse(digits, digits.len(), Some(region))
    }

    /// `digits` with a plus in front. With a `region`, its prefix for calls abroad may stand between.
    pub(super) fn with_plus(digits: &str, region: Option<Region>) -> Option<Self> {
        Self::parse(&format!("+{digits}"), digits.len(), region)
    }

    fn parse(text: &str, dialled: usize, region: Option<Region>) -> Option<Self> {
        let reading = Self::possible(text, region)?;
        let national = reading.number.get_national_significant_number().len();
        let may_be_short = dialled.min(national) <= MAX_SHORT;
        // Some plans complete a number that was dialled without its area, and would complete a short one as well.
        if may_be_short && dialled < national {
            return None;
        }
        // The library leaves a zero where the number would be too short without it. Where none belongs to the number, as
        // it does in Italy, that is the zero which is dialled only within the country.
        let has_zero = reading.number.italian_leading_zero();
        if (may_be_short || has_zero) && !reading.is_assigned() {
            return None;
        }
        // A second trunk prefix would be dropped when the number is read for the second time.
        let again = Self::possible(&format!("+{}", reading.digits), None)?;
        (again.digits == reading.digits).then_some(reading)
    }

    fn possible(text: &str, region: Option<Region>) -> Option<Self> {
        let number = PHONE_NUMBER_UTIL.parse_and_keep_raw_input(text, region.map(|Region(region)| region)).ok()?;
        // The other length that is possible is that of a number without its area.
        if number.is_possible_with_reason() != Ok(NumberLengthType::IsPossible) {
            return None;
        }
        let digits = number.format_as(PhoneNumberFormat::E164).strip_prefix('+')?.to_owned();
        CANONICAL_DIGITS.contains(&digits.len()).then_some(Self { number, digits })
    }

    /// Whether the prefix for calls abroad was dialled.
    pub(super) fn says_it_is_abroad(&self) -> bool {
        self.number.country_code_source() == CountryCodeSource::FromNumberWithIdd
    }

    /// Whether the number is in a range that has been assigned.
    pub(super) fn is_assigned(&self) -> bool {
        self.number.is_valid()
    }

    /// Nothing for a number that has not been assigned.
    pub(super) fn number_type(&self) -> Option<NumberType> {
        match self.number.get_type() {
            PhoneNumberType::FixedLine => Some(NumberType::FixedLine),
            PhoneNumberType::Mobile => Some(NumberType::Mobile),
            PhoneNumberType::FixedLineOrMobile => Some(NumberType::FixedLineOrMobile),
            PhoneNumberType::TollFree => Some(NumberType::TollFree),
            PhoneNumberType::PremiumRate => Some(NumberType::PremiumRate),
            PhoneNumberType::SharedCost => Some(NumberType::SharedCost),
            PhoneNumberType::VoIP => Some(NumberType::Voip),
            PhoneNumberType::PersonalNumber => Some(NumberType::PersonalNumber),
            PhoneNumberType::Pager => Some(NumberType::Pager),
            PhoneNumberType::UAN => Some(NumberType::Uan),
            PhoneNumberType::VoiceMail => Some(NumberType::Voicemail),
            PhoneNumberType::Unknown => None,
        }
    }

    /// As in `44` or `1`.
    pub(super) fn calling_code(&self) -> String {
        self.number.country_code.to_string()
    }

    /// The country that has assigned the number, or that alone has its calling code.
    pub(super) fn region(&self) -> Option<String> {
        let region = self.number.get_region_code().filter(|&region| region != rlibphonenumber::Region::World)?;
        Some(region.as_region_str().as_str().to_owned())
    }

    /// As in `+44 7700 900001`.
    pub(super) fn international(&self) -> String {
        self.number.format_as(PhoneNumberFormat::International).into_owned()
    }
}

/// The ASCII digit for a digit of whatever script.
pub(super) fn digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    PHONE_NUMBER_UTIL.normalize_digits_only(c.encode_utf8(&mut [0; 4])).chars().next()
}
