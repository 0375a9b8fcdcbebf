//! `[terms]`: the terms of service, in a file of their own or in the configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shared::config::ConfigError;

use crate::domain::terms::Terms;

/// The section `[terms]` as written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawTerms {
    /// YAML or JSON; reloaded on SIGHUP.
    file: Option<PathBuf>,
    /// `[terms.policies.<id>]` with `version`, `required` and, for each language, `{ name, url }`.
    policies: BTreeMap<String, serde_json::Value>,
}

/// Where the terms of service are.
#[derive(Clone, Debug)]
pub enum TermsSource {
    /// A YAML or JSON file.
    File(PathBuf),
    /// The configuration.
    Policies(Terms),
}

impl RawTerms {
    pub(super) fn complete(self, base: &Path) -> Result<TermsSource, ConfigError> {
        match self.file {
            Some(_) if !self.policies.is_empty() => {
                Err(ConfigError::Invalid("[terms] file and [terms.policies] are both set; keep one of them".to_owned()))
            }
            Some(file) => Ok(TermsSource::File(base.join(file))),
            None => Terms::from_policies(&self.policies.into_iter().collect())
                .map(TermsSource::Policies)
                .map_err(|error| ConfigError::Invalid(format!("[terms.policies]: {error}"))),
        }
    }
}

impl TermsSource {
    /// Reads the terms; a file is read each time.
    ///
    /// # Errors
    /// A sentence that names the file and the policy.
    pub fn read(&self) -> Result<Terms, String> {
        match self {
            Self::File(path) => {
                let invalid = |error: &dyn std::fmt::Display| format!("[terms] file: {}: {error}", path.display());
                let text = std::fs::read_to_string(path).map_err(|error| invalid(&error))?;
                Terms::parse(&text).map_err(|error| invalid(&error))
            }
            Self::Policies(terms) => Ok(terms.clone()),
        }
    }
}
