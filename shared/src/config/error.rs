//! The errors of a configuration.
//!
//! Invariant: an error about a key begins with `[section] key`.

use std::fmt;
use std::path::PathBuf;

use super::key::{components, key_name};

/// Why the configuration is rejected.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The configuration file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// A key is unknown or missing, or its value is invalid.
    #[error("{0}")]
    Invalid(String),
    /// A secret is set both in place and as a file. Holds the key's dotted path.
    #[error("{} and {}_file are both set; keep one of them", key_name(.0), last_component(.0))]
    GivenTwice(String),
}

impl ConfigError {
    /// The value at the dotted `path` is invalid: `[section] key: problem`.
    pub fn invalid(path: &str, problem: impl fmt::Display) -> Self {
        Self::Invalid(format!("{}: {problem}", key_name(path)))
    }
}

fn last_component(path: &str) -> String {
    components(path).pop().unwrap_or_default()
}

/// All errors of a configuration, each with its place, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(Vec<String>);

impl ConfigErrors {
    pub(super) fn new(lines: Vec<String>) -> Self {
        Self(lines)
    }

    /// One line for each error.
    pub fn lines(&self) -> &[String] {
        &self.0
    }

    /// The errors of both.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl From<ConfigError> for ConfigErrors {
    fn from(error: ConfigError) -> Self {
        Self(vec![error.to_string()])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [error] => f.write_str(error),
            errors => {
                write!(f, "the configuration has {} errors", errors.len())?;
                errors.iter().try_for_each(|error| write!(f, "\n  {error}"))
            }
        }
    }
}
