//! Readings of digits by the world's numbering plans. The only module that uses the library.
//!
//! Invariant: a [`Reading`] can be dialled from abroad, and its digits with a plus in front give the same number.

use rlibphonenumber::{
    CountryCodeSource, NumberLengthType, PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, PhoneNumberType,
};

use super::{CANONICAL_DIGITS, NumberType, renumbering};

/// The most digits of a short number: of the police, of the exchange, of an SMS service. Complete numbers with so few digits
/// are in assigned ranges.
const MAX_SHORT: usize = 6;

/// A country with a numbering plan.
#[derive(Clone, Copy)]
pub(super) struct Region(rlibphonenumber::Region);

impl Region {
    /// The country of a code of ISO 3166-1 alpha-2, in any case.
    pub(super) fn of(country: &str) -> Option<Self> {
        // The library also has the region "001", for numbers without a country.
        let region = (country.len() == 2).then(|| rlibphonenumber::Region::from_code(country).ok())??;
        PHONE_NUMBER_UTIL.get_country_code_for_region(region).map(|_| Self(region))
    }
}

/// One reading of digits: a number of some country.
pub(super) struct Reading {
    number: PhoneNumber,
    /// The digits of E.164, calling code first.
    pub(super) digits: String,
}

impl Reading {
    /// `digits` as they are dialled in `region`.
    pub(super) fn as_dialled(digits: &str, region: Region) -> Option<Self> {
        if region.0 == rlibphonenumber::Region::MX
            && let Some(national) = renumbering::mexico(digits)
            && Self::with_plus(digits, None).is_none_or(|abroad| !abroad.is_assigned())
        {
            return Self::parse(national, digits.len(), Some(region));
        }
        Self::parse(digits, digits.len(), Some(region))
    }

    /// `digits` with a plus in front. With a `region`, its international prefix may follow the plus.
    pub(super) fn with_plus(digits: &str, region: Option<Region>) -> Option<Self> {
        Self::parse(&format!("+{}", renumbering::international(digits)), digits.len(), region)
    }

    fn parse(text: &str, dialled: usize, region: Option<Region>) -> Option<Self> {
        let reading = Self::possible(text, region)?;
        let national = reading.number.get_national_significant_number().len();
        let may_be_short = dialled.min(national) <= MAX_SHORT;
        // Some plans complete a number that was dialled without its area code, and would also complete a short number.
        if may_be_short && dialled < national {
            return None;
        }
        // The library keeps a zero if the number would be too short without it. Where numbers have no leading zero, unlike in
        // Italy, that is a national trunk zero.
        let has_zero = reading.number.italian_leading_zero();
        if (may_be_short || has_zero) && !reading.is_assigned() {
            return None;
        }
        // A second parse would drop a second trunk prefix.
        let again = Self::possible(&format!("+{}", reading.digits), None)?;
        (again.digits == reading.digits).then_some(reading)
    }

    fn possible(text: &str, region: Option<Region>) -> Option<Self> {
        let number = PHONE_NUMBER_UTIL.parse_and_keep_raw_input(text, region.map(|Region(region)| region)).ok()?;
        // The other possible length is that of a number without its area code.
        if number.is_possible_with_reason() != Ok(NumberLengthType::IsPossible) {
            return None;
        }
        let digits = number.format_as(PhoneNumberFormat::E164).strip_prefix('+')?.to_owned();
        CANONICAL_DIGITS.contains(&digits.len()).then_some(Self { number, digits })
    }

    /// Whether the number was dialled with the international prefix.
    pub(super) fn has_international_prefix(&self) -> bool {
        self.number.country_code_source() == CountryCodeSource::FromNumberWithIdd
    }

    /// Whether the number is in an assigned range.
    pub(super) fn is_assigned(&self) -> bool {
        self.number.is_valid()
    }

    /// `None` for an unassigned number.
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

    /// Such as `44` or `1`.
    pub(super) fn calling_code(&self) -> String {
        self.number.country_code.to_string()
    }

    /// The country that assigned the number, or the only country with its calling code.
    pub(super) fn region(&self) -> Option<String> {
        let region = self.number.get_region_code().filter(|&region| region != rlibphonenumber::Region::World)?;
        Some(region.as_region_str().as_str().to_owned())
    }

    /// Such as `+44 7700 900001`.
    pub(super) fn international(&self) -> String {
        self.number.format_as(PhoneNumberFormat::International).into_owned()
    }
}

/// The ASCII digit for a digit of any script.
pub(super) fn digit(c: char) -> Option<char> {
    if c.is_ascii() {
        return c.is_ascii_digit().then_some(c);
    }
    PHONE_NUMBER_UTIL.normalize_digits_only(c.encode_utf8(&mut [0; 4])).chars().next()
}
