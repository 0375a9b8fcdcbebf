//! `[msisdn]`: which telephone numbers may receive messages.
//!
//! Invariant: incomplete numbers are always rejected.

use serde::Deserialize;
use shared::config::OneOrMany;

use crate::domain::msisdn::{NumberRules, NumberType, Require};

/// The section `[msisdn]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MsisdnConfig {
    /// Whether a number must be in an assigned range.
    #[serde(deserialize_with = "shared::config::word")]
    pub require: Require,
    /// Types of numbers that receive no messages.
    pub reject_types: OneOrMany<NumberType>,
}

impl Default for MsisdnConfig {
    fn default() -> Self {
        Self { require: Require::Possible, reject_types: vec![NumberType::PremiumRate, NumberType::SharedCost].into() }
    }
}

impl MsisdnConfig {
    pub fn rules(&self) -> NumberRules {
        NumberRules { require: self.require, reject_types: self.reject_types.as_slice().to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::{MsisdnConfig, NumberRules, NumberType, Require};

    fn load(toml: &str) -> Result<NumberRules, shared::config::ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        shared::config::load::<MsisdnConfig>(Some(file.path()), "IDENTITY_MSISDN_TEST").map(|config| config.rules())
    }

    #[test]
    fn by_default_a_number_may_be_unassigned_but_not_of_a_premium_type() {
        let rules = load("").unwrap();
        assert_eq!(rules.require, Require::Possible);
        assert_eq!(rules.reject_types, [NumberType::PremiumRate, NumberType::SharedCost]);
    }

    #[test]
    fn both_keys_are_parsed_from_words() {
        let rules = load("require = 'valid'\nreject_types = ['voip', 'toll_free']").unwrap();
        assert_eq!(rules.require, Require::Valid);
        assert_eq!(rules.reject_types, [NumberType::Voip, NumberType::TollFree]);
        assert!(load("reject_types = []").unwrap().reject_types.is_empty());
        assert!(load("require = 'assigned'").unwrap_err().to_string().contains("require"));
        assert!(load("reject_types = ['premium']").unwrap_err().to_string().contains("premium_rate"));
    }
}
