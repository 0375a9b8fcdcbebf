//! Placeholders in the operator's texts.
//!
//! Invariant: a placeholder that would reach users as it stands is an error.

use shared::config::ConfigError;

use crate::domain::placeholders::{list, unknown};

/// Rejects a text with a placeholder that is none of `names`, and lists these.
pub(super) fn placeholders_are_known(key: &str, text: &str, names: &[&'static str]) -> Result<(), ConfigError> {
    match unknown(text, names) {
        Some(found) => Err(ConfigError::invalid(key, format!("unknown placeholder {found}; write {}", list(names)))),
        None => Ok(()),
    }
}
