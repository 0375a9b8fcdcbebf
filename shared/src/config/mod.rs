//! Loads a service's settings into one typed structure: a TOML file, then environment variables over it.
//!
//! Invariant: an unknown key is an error that suggests the nearest known key; no setting is silently ignored. Every error
//! reads `[section] key: problem; action`.
//!
//! Environment keys are `<PREFIX>__SECTION__KEY`, lower-cased; lists are separated by commas. A part with a dot, such as an
//! app_id, stays as it is written.

mod consequences;
mod environment;
mod error;
mod explain;
mod files;
mod foreign;
mod globs;
mod key;
mod layers;
mod lines;
mod secrets;
mod source;
mod value;
mod values;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use error::{ConfigError, ConfigErrors};
pub use files::{digest_of_files, exposure_notice};
pub use globs::{Globs, glob_matches};
pub use key::key_name;
pub use source::ConfigSource;
pub use values::{ByteSize, Cidr, HumanDuration, OneOrMany, optional_word, word};

use self::explain::{explain, unknown_field};
use crate::secret::Secret;
use crate::text_file;

/// Keys that need more than their type. Paths are dotted.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpecialKeys<'a> {
    /// Defaults of this service for sections whose defaults differ between services: `("http.bind", "…")`.
    pub defaults: &'a [(&'a str, &'a str)],
    /// Old and new paths of moved keys; the old path is an error that names the new one.
    pub moved: &'a [(&'a str, &'a str)],
    /// Paths of removed keys, and what to do instead.
    pub removed: &'a [(&'a str, &'a str)],
}

/// Loads `T` from the TOML `file`, if given, then from environment variables that start with `prefix`.
///
/// # Errors
/// [`ConfigError`] for the first error, with the key, the expected value and, for an unknown key, the nearest known key.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, prefix: &str) -> Result<T, ConfigError> {
    let source = ConfigSource::read(SpecialKeys::default(), file, prefix);
    let invalid = |errors: ConfigErrors| ConfigError::Invalid(errors.to_string());
    source.map_err(invalid)?.parse()
}

/// Reads `T` from a table that was first loaded as a plain value, because one of its keys decides which keys it has.
/// `path` is the dotted path of the section.
///
/// # Errors
/// [`ConfigError::Invalid`], as for [`load`].
pub fn section<T: DeserializeOwned>(path: &str, table: serde_json::Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(table).map_err(|error| {
        let below = key::of_path(error.path());
        let message = error.into_inner().to_string();
        let is_whole = below.is_empty() && unknown_field(&message).is_none();
        ConfigError::Invalid(if is_whole {
            format!("[{path}]: {message}")
        } else {
            explain(key::components(path).into_iter().chain(below).collect(), &message)
        })
    })
}

/// A secret that is set either in the configuration or in a file of its own (`<key>_file`), never in both. `key` is the
/// dotted path.
///
/// A byte order mark and final line breaks of the file are not part of the secret.
///
/// # Errors
/// [`ConfigError::GivenTwice`], or [`ConfigError::Invalid`] if the file cannot be read or does not hold one line of text.
pub fn secret(
    key: &str,
    in_place: Option<&Secret<String>>,
    file: Option<&Path>,
) -> Result<Option<Secret<String>>, ConfigError> {
    let Some(path) = file else { return Ok(in_place.cloned()) };
    let Some(content) = secret_content(key, in_place, file)? else { return Ok(None) };
    let invalid = |problem: &dyn std::fmt::Display| {
        ConfigError::invalid(&format!("{key}_file"), format!("{} {problem}", path.display()))
    };
    let text = text_file::decode(&content).map_err(|error| invalid(&error))?.trim_end_matches(['\r', '\n']);
    if text.contains(['\r', '\n']) {
        return Err(invalid(&"has several lines; keep only the secret, on one line"));
    }
    Ok(Some(Secret::new(text.to_owned())))
}

/// As [`secret`], for a key or a certificate: the file may have any content.
///
/// # Errors
/// [`ConfigError::GivenTwice`], or [`ConfigError::Invalid`] if the file cannot be read.
pub fn secret_content(
    key: &str,
    in_place: Option<&Secret<String>>,
    file: Option<&Path>,
) -> Result<Option<Zeroizing<Vec<u8>>>, ConfigError> {
    match (in_place, file) {
        (Some(_), Some(_)) => Err(ConfigError::GivenTwice(key.to_owned())),
        (Some(secret), None) => Ok(Some(Zeroizing::new(secret.expose().clone().into_bytes()))),
        (None, Some(path)) => std::fs::read(path).map(|content| Some(Zeroizing::new(content))).map_err(|error| {
            ConfigError::invalid(&format!("{key}_file"), format!("cannot read {}: {error}", path.display()))
        }),
        (None, None) => Ok(None),
    }
}

/// The default data folder of a service: systemd's `STATE_DIRECTORY`, else `name` in the user's data folder (XDG Base
/// Directory: `XDG_DATA_HOME`, `~/.local/share`). `None` if the environment has none of these variables.
#[expect(clippy::disallowed_methods, reason = "the system sets these variables; they are not configuration keys")]
pub fn data_dir(name: &str) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("STATE_DIRECTORY")
        .or_else(|| variable("XDG_DATA_HOME").map(|data| data.join(name)))
        .or_else(|| variable("HOME").map(|home| home.join(".local/share").join(name)))
}

#[cfg(test)]
mod tests;
