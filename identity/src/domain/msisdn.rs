//! Telephone numbers: as dialled, and in the canonical form that is stored, compared and hashed.
//!
//! Invariants: the country is never guessed. Every spelling of a number has one canonical form: [`canonical`] of the digits
//! of an [`Msisdn`] returns these digits. Neither `Debug` nor an error shows a number.

mod number_type;
mod reading;
mod renumbering;
mod written;

use std::fmt;

use serde::Deserialize;

pub use self::number_type::NumberType;
use self::reading::{Reading, Region};
pub use self::renumbering::subscriber;
use self::written::Written;

/// The digits of a canonical form with its calling code (ITU-T E.164, section 6; the minimum is this server's own).
const CANONICAL_DIGITS: std::ops::RangeInclusive<usize> = 5..=15;

/// A telephone number that may receive messages.
#[derive(Clone, PartialEq, Eq)]
pub struct Msisdn {
    digits: String,
    calling_code: String,
    region: Option<String>,
    international: String,
}

/// Why a dialled number is rejected. The error does not quote the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// It is not a complete number of any country: `M_INVALID_ADDRESS` on the wire.
    #[error("not a telephone number that can be reached from that country")]
    Invalid,
    /// Its type receives no messages: `M_DESTINATION_REJECTED` on the wire.
    #[error("no messages are sent to this kind of telephone number")]
    Rejected,
}

/// Which numbers may receive messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumberRules {
    /// Whether the number must be in an assigned range.
    pub require: Require,
    /// Types of numbers that receive no messages. An unassigned number has no known type.
    pub reject_types: Vec<NumberType>,
}

/// What a number must satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Require {
    /// It has a possible number of digits for its country.
    Possible,
    /// It is also in an assigned range. Ranges assigned after this build are rejected.
    Valid,
}

impl Msisdn {
    /// The number that a user in `country` (ISO 3166-1 alpha-2, in any case) dials as `typed`.
    ///
    /// A plus makes the country irrelevant, unless only the country's international prefix after it gives a number. A plus or
    /// that prefix allows one reading. Without either, the number is
    ///
    /// 1. a number of the country, if that is assigned;
    /// 2. a full number without its plus, if it is not possible in the country;
    /// 3. invalid, if it is possible in the country and assigned in another country with a plus in front: it is ambiguous, and
    ///    a message could reach a stranger;
    /// 4. an unassigned number of the country.
    ///
    /// # Errors
    /// [`NumberError::Invalid`] if `country` is not a country; if the text has letters, an extension or other characters that
    /// numbers do not have; or if the number is short, cannot be dialled from abroad, or fails `rules.require`.
    /// [`NumberError::Rejected`] if `rules.reject_types` has its type.
    pub fn dialled(typed: &str, country: &str, rules: &NumberRules) -> Result<Self, NumberError> {
        let region = Region::of(country).ok_or(NumberError::Invalid)?;
        let written = Written::read(typed).ok_or(NumberError::Invalid)?;
        let reading = read(&written, region).ok_or(NumberError::Invalid)?;
        if rules.require == Require::Valid && !reading.is_assigned() {
            return Err(NumberError::Invalid);
        }
        if reading.number_type().is_some_and(|number_type| rules.reject_types.contains(&number_type)) {
            return Err(NumberError::Rejected);
        }
        Ok(Self {
            calling_code: reading.calling_code(),
            region: reading.region(),
            international: reading.international(),
            digits: reading.digits,
        })
    }

    /// The canonical form: the digits of E.164, calling code first, without `+`.
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The calling code: `44`, `1`.
    pub fn calling_code(&self) -> &str {
        &self.calling_code
    }

    /// The country of the number (ISO 3166-1 alpha-2). `None` if it belongs to no country, or if several countries share its
    /// calling code and none has assigned it.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// The international spelling: `+44 7700 900001`.
    pub fn international(&self) -> &str {
        &self.international
    }
}

impl fmt::Debug for Msisdn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Msisdn(***)")
    }
}

/// The text is not a telephone number in international form. The error does not quote the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a telephone number in international form")]
pub struct InvalidMsisdn;

/// The canonical form of a number in international form, with or without its plus: the digits of E.164, calling code first.
///
/// A number outside its country's numbering plan, as in imported rows, is its bare digits.
///
/// # Errors
/// [`InvalidMsisdn`] unless it is a number of a numbering plan, or 5 to 15 digits that do not start with 0. A national trunk
/// zero, written `(0)`, is valid only in the former.
pub fn canonical(typed: &str) -> Result<String, InvalidMsisdn> {
    let written = Written::read(typed).ok_or(InvalidMsisdn)?;
    if let Some(reading) = Reading::with_plus(&written.digits, None) {
        return Ok(reading.digits);
    }
    let is_bare = CANONICAL_DIGITS.contains(&written.digits.len())
        && !written.digits.starts_with('0')
        && !written.zero_in_brackets;
    if is_bare { Ok(written.digits) } else { Err(InvalidMsisdn) }
}

/// Whether this is a country (ISO 3166-1 alpha-2, in any case) that has telephone numbers.
pub fn is_country(code: &str) -> bool {
    Region::of(code).is_some()
}

/// The calling code of a number in canonical form; `None` if its digits begin with none.
pub fn calling_code(canonical: &str) -> Option<String> {
    Reading::with_plus(canonical, None).map(|reading| reading.calling_code())
}

/// The reading of `written` in `region`, by the order of [`Msisdn::dialled`].
fn read(written: &Written, region: Region) -> Option<Reading> {
    if written.has_plus {
        // The digits after a plus may begin with the country's international prefix and still be a full number: +81 0… in a
        // country that dials 810.
        let full = Reading::with_plus(&written.digits, None);
        return full.or_else(|| Reading::with_plus(&written.digits, Some(region)));
    }
    let within = Reading::as_dialled(&written.digits, region);
    if within.as_ref().is_some_and(|within| within.has_international_prefix() || within.is_assigned()) {
        return within;
    }
    let plus_left_out = Reading::with_plus(&written.digits, None);
    match (within, plus_left_out) {
        (None, abroad) => abroad,
        (Some(within), Some(abroad)) if abroad.is_assigned() && abroad.digits != within.digits => None,
        (within, _) => within,
    }
}

#[cfg(test)]
mod tests;
