//! The configuration as a table: the TOML file, and the environment over it.
//!
//! Invariant: an error names the file and the line, or the environment variable, that its value comes from.

use std::path::{Path, PathBuf};

use config::{File, FileFormat, Map, Source, Value, ValueKind};
use serde::de::DeserializeOwned;

use super::environment::Variables;
use super::error::{ConfigError, ConfigErrors};
use super::explain::{explain, with_found};
use super::lines::Lines;
use super::{SpecialKeys, files, foreign, key};
use crate::text_file::{self, TextError};

/// After this many errors the rest is not reported.
const MAX_ERRORS: usize = 50;

/// A configuration before it is typed. It has no `Debug`: its values may be secrets.
#[derive(Clone)]
pub struct ConfigSource {
    file: Option<PathBuf>,
    lines: Lines,
    variables: Variables,
    table: Map<String, Value>,
}

impl ConfigSource {
    /// Reads the TOML `file`, if given, then environment variables that start with `prefix`.
    ///
    /// # Errors
    /// [`ConfigErrors`] for a file that cannot be read or is not TOML, and for moved and removed keys.
    pub fn read(keys: SpecialKeys<'_>, file: Option<&Path>, prefix: &str) -> Result<Self, ConfigErrors> {
        Self::read_with(keys, file, Variables::read(prefix))
    }

    pub(super) fn read_with(
        keys: SpecialKeys<'_>,
        file: Option<&Path>,
        variables: Variables,
    ) -> Result<Self, ConfigErrors> {
        let text = file.map(text_of).transpose()?.unwrap_or_default();
        let in_file = |message: &str| match file {
            Some(path) => ConfigError::Invalid(format!("{}: {message}", path.display())),
            None => ConfigError::Invalid(message.to_owned()),
        };
        if let Some(advice) = foreign::recognise(&text) {
            return Err(in_file(advice).into());
        }
        let invalid = |error: config::ConfigError| in_file(&without_excerpt(&error.to_string()));
        let mut builder = config::Config::builder();
        for (key, value) in keys.defaults {
            builder = builder.set_default(*key, *value).map_err(invalid)?;
        }
        let settings = builder
            .add_source(File::from_str(&text, FileFormat::Toml))
            .add_source(File::from_str(&variables.dotted, FileFormat::Toml))
            .add_source(variables.plain().prefix_separator("__").separator("__").ignore_empty(true))
            .build()
            .map_err(|error| {
                let message = without_excerpt(&error.to_string());
                in_file(&format!("{message}{}", foreign::expected_form(file)))
            })?;
        let table = settings.collect().map_err(invalid)?;
        let table = files::without_empty_paths(table);
        let source = Self { file: file.map(Path::to_path_buf), lines: Lines::of(&text), variables, table };
        let mut errors = Vec::new();
        for (old, new) in keys.moved {
            if source.value(&key::components(old)).is_some() {
                errors.push(ConfigError::invalid(old, format!("moved; write {}", key::key_name(new))));
            }
        }
        for (key, action) in keys.removed {
            if source.value(&key::components(key)).is_some() {
                errors.push(ConfigError::invalid(key, format!("removed; {action}")));
            }
        }
        if errors.is_empty() { Ok(source) } else { Err(source.located(&errors)) }
    }

    /// The configuration without all keys but those at or below these dotted paths: for a command that needs no others.
    #[must_use]
    pub fn only(mut self, paths: &[&str]) -> Self {
        let mut kept = Map::new();
        for path in paths.iter().map(|path| key::components(path)) {
            if let Some(value) = self.value(&path) {
                insert(&mut kept, &path, value.clone());
            }
        }
        self.table = kept;
        self
    }

    /// The typed settings.
    ///
    /// # Errors
    /// [`ConfigError`] for the first wrong key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let table = Value::new(None, ValueKind::Table(self.table.clone()));
        serde_path_to_error::deserialize(table).map_err(|error| {
            let keys = key::of_path(error.path());
            let message = explain(keys, &error.into_inner().to_string());
            ConfigError::Invalid(format!("{message}{}", foreign::expected_form(self.file.as_deref())))
        })
    }

    /// The result of `attempt`. After an error `attempt` is repeated without the key of the error, to find further errors.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error, in the order of the file.
    pub fn complete<T>(&self, attempt: impl Fn(&Self) -> Result<T, ConfigError>) -> Result<T, ConfigErrors> {
        let mut rest = self.clone();
        let (mut errors, mut shortened) = (Vec::new(), Vec::<Vec<String>>::new());
        loop {
            let error = match attempt(&rest) {
                Ok(complete) if errors.is_empty() => return Ok(complete),
                Ok(_) => break,
                Err(error) => error,
            };
            let Some(path) = key::named_in(&error.to_string()) else {
                // After another error it may be its consequence.
                if errors.is_empty() {
                    errors.push(error);
                }
                break;
            };
            let section = path[..path.len().saturating_sub(1).max(1)].to_vec();
            if remove(&mut rest.table, &path) {
                if let ConfigError::GivenTwice(_) = error {
                    let file = path.last().map(|key| format!("{key}_file"));
                    remove(&mut rest.table, &section.iter().cloned().chain(file).collect::<Vec<_>>());
                }
                errors.push(error);
                shortened.push(section);
            } else {
                // A key that is not set; perhaps because it was removed above, or one that it goes with.
                if !shortened.contains(&section) {
                    errors.push(error);
                }
                if !remove(&mut rest.table, &section) {
                    break;
                }
                shortened.push(section);
            }
            if errors.len() >= MAX_ERRORS {
                break;
            }
        }
        Err(self.located(&errors))
    }

    /// The errors with the places of their keys, in the order of the file.
    pub fn located(&self, errors: &[ConfigError]) -> ConfigErrors {
        let mut lines: Vec<(usize, String)> = errors
            .iter()
            .map(|error| {
                let text = error.to_string();
                let Some(path) = key::named_in(&text) else { return (0, text) };
                let text = with_found(&text, self.value(&path), path.last().map_or("", String::as_str));
                if let Some(name) = self.variables.name_of(&path) {
                    return (usize::MAX, format!("environment variable {name}: {text}"));
                }
                match (&self.file, self.lines.of_key(&path)) {
                    (Some(file), Some(line)) => (line, format!("{}:{line}: {text}", file.display())),
                    (Some(file), None) => (usize::MAX - 1, format!("{}: {text}", file.display())),
                    (None, _) => (usize::MAX - 1, text),
                }
            })
            .collect();
        lines.sort();
        lines.dedup();
        ConfigErrors::new(lines.into_iter().map(|(_, text)| text).collect())
    }

    /// The files that the configuration names, with the dotted paths of their keys. Relative paths start at the folder of
    /// the configuration.
    pub fn named_files(&self) -> Vec<(String, PathBuf)> {
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let mut found = Vec::new();
        files::named(&self.table, "", folder, &mut found);
        found
    }

    /// The path at a dotted key; a relative one starts at the folder of the configuration.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        match &self.value(&key::components(key))?.kind {
            ValueKind::String(path) => Some(folder.join(path)),
            _ => None,
        }
    }

    /// Where the configuration comes from, for the operator.
    pub fn describe(&self) -> String {
        let variables = match self.variables.number() {
            0 => String::new(),
            1 => " and 1 environment variable".to_owned(),
            number => format!(" and {number} environment variables"),
        };
        match &self.file {
            Some(file) => format!("configuration: {}{variables}", file.display()),
            None if variables.is_empty() => "configuration: no file; every setting has its default".to_owned(),
            None => format!("configuration: no file{variables}"),
        }
    }

    /// Variables that look like settings and are none.
    pub fn notices(&self) -> Vec<String> {
        self.variables.notices()
    }

    fn value(&self, path: &[String]) -> Option<&Value> {
        let (last, sections) = path.split_last()?;
        let mut table = &self.table;
        for section in sections {
            table = match &table.get(section)?.kind {
                ValueKind::Table(below) => below,
                _ => return None,
            };
        }
        table.get(last)
    }
}

/// Sets the key, in a section that is made if it is missing.
fn insert(table: &mut Map<String, Value>, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => drop(table.insert(key.clone(), value)),
        [section, rest @ ..] => {
            let below = table.entry(section.clone()).or_insert_with(|| Value::new(None, ValueKind::Table(Map::new())));
            if let ValueKind::Table(below) = &mut below.kind {
                insert(below, rest, value);
            }
        }
    }
}

/// Removes the key; false if it is not set.
fn remove(table: &mut Map<String, Value>, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => table.remove(key).is_some(),
        [section, rest @ ..] => match table.get_mut(section).map(|value| &mut value.kind) {
            Some(ValueKind::Table(below)) => remove(below, rest),
            _ => false,
        },
    }
}

/// The text of the configuration file; an empty file is valid.
fn text_of(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let content = std::fs::read(path).map_err(unreadable)?;
    match text_file::decode(&content) {
        Ok(text) => Ok(text.to_owned()),
        Err(TextError::Empty) => Ok(String::new()),
        Err(error) => Err(ConfigError::Invalid(format!("{} {error}", path.display()))),
    }
}

/// A syntax error of TOML quotes the line, and the line may hold a password.
fn without_excerpt(message: &str) -> String {
    let excerpt = |line: &&str| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|');
    message.lines().filter(|line| !excerpt(line)).collect::<Vec<_>>().join(": ")
}
