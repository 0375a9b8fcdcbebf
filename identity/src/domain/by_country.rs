//! Settings by country or by range of numbers, in tables such as `[sms.rules]`.
//!
//! Invariant: the narrowest key decides, in every order of the table: a range of numbers within a country, then the
//! country, then its calling code.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::msisdn::{Msisdn, is_country};

/// Values by country: the keys are the first digits of numbers in international form (`"44"`, `"1876"`) or regions of
/// ISO 3166 (`"GB"`), in any case.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, T>", bound = "T: Deserialize<'de>")]
pub struct ByCountry<T>(BTreeMap<String, T>);

/// A key of a wrong form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a calling code (\"44\"), the first digits of numbers (\"1876\") or a country (\"GB\"), found \"{0}\""
)]
pub struct NoCountry(String);

impl<T> TryFrom<BTreeMap<String, T>> for ByCountry<T> {
    type Error = NoCountry;

    fn try_from(written: BTreeMap<String, T>) -> Result<Self, NoCountry> {
        let mut values = BTreeMap::new();
        for (key, value) in written {
            let name = key.to_ascii_uppercase();
            let is_region = is_country(&name);
            let is_prefix =
                (1..=15).contains(&name.len()) && !name.starts_with('0') && name.bytes().all(|b| b.is_ascii_digit());
            if !(is_region || is_prefix) || values.insert(name, value).is_some() {
                return Err(NoCountry(key));
            }
        }
        Ok(Self(values))
    }
}

impl<T> ByCountry<T> {
    /// The value of the narrowest key for the number.
    pub fn find(&self, number: &Msisdn) -> Option<&T> {
        let (digits, calling_code) = (number.digits(), number.calling_code());
        let ranges = (calling_code.len() + 1..=digits.len()).rev().filter_map(|length| digits.get(..length));
        let country = number.region().into_iter().chain([calling_code]);
        ranges.chain(country).find_map(|key| self.0.get(key))
    }

    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.0.values()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl<T> Default for ByCountry<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: fmt::Debug> fmt::Debug for ByCountry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::ByCountry;
    use crate::config::msisdn::MsisdnConfig;
    use crate::domain::msisdn::Msisdn;

    fn table(entries: &[(&str, u8)]) -> Result<ByCountry<u8>, super::NoCountry> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect::<BTreeMap<_, _>>().try_into()
    }

    fn number(typed: &str) -> Msisdn {
        Msisdn::dialled(typed, "US", &MsisdnConfig::default().rules()).unwrap()
    }

    #[test]
    fn the_narrowest_key_decides() {
        let table = table(&[("1", 1), ("jm", 2), ("1876555", 3), ("44", 4), ("GB", 5)]).unwrap();
        for (typed, found) in [
            ("+12125550123", Some(1)),
            ("+18765550123", Some(3)),
            ("+18769220123", Some(2)),
            ("+447400123456", Some(5)),
            // This number is not assigned, so only its digits decide.
            ("+447700900001", Some(4)),
            ("+441481960194", Some(4)),
            ("+33612345678", None),
        ] {
            assert_eq!(table.find(&number(typed)).copied(), found, "{typed}");
        }
    }

    #[test]
    fn a_key_is_a_country_or_the_first_digits_of_a_number() {
        for key in ["UK", "ZZ", "", "0", "044", "+44", "GBR", "G", "4a", "1234567890123456", "default", "é", "44 "] {
            assert!(table(&[(key, 0)]).is_err(), "{key}");
        }
        assert!(table(&[("gb", 0), ("GB", 1)]).is_err());
        assert_eq!(table(&[]).unwrap().values().count(), 0);
    }
}
