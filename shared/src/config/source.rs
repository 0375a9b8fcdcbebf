//! The configuration as a table: the TOML file, and the environment over it.
//!
//! Invariant: an error names the file and the line, or the environment variable, that its value comes from.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::environment::Variables;
use super::error::{ConfigError, ConfigErrors};
use super::explain::{explain, with_found};
use super::layers::laid_over;
use super::lines::Lines;
use super::value::{Table, Value};
use super::{SpecialKeys, consequences, files, foreign, key, secrets};
use crate::text_file::{self, TextError};

/// After this many errors the rest is not reported.
const MAX_ERRORS: usize = 50;

/// A configuration before it is typed. It has no `Debug`: its values may be secrets.
#[derive(Clone)]
pub struct ConfigSource {
    file: Option<PathBuf>,
    lines: Lines,
    variables: Variables,
    table: Table,
    /// Errors of keys that are removed from the table.
    mistakes: Vec<String>,
}

impl ConfigSource {
    /// Reads the TOML `file`, if given, then environment variables that start with `prefix`.
    ///
    /// # Errors
    /// [`ConfigErrors`] for a file that cannot be read or is not TOML.
    pub fn read(keys: SpecialKeys<'_>, file: Option<&Path>, prefix: &str) -> Result<Self, ConfigErrors> {
        Self::read_with(keys, file, prefix, Variables::read(prefix))
    }

    pub(super) fn read_with(
        keys: SpecialKeys<'_>,
        file: Option<&Path>,
        prefix: &str,
        variables: Variables,
    ) -> Result<Self, ConfigErrors> {
        let text = file.map(text_of).transpose()?.unwrap_or_default();
        let place = file.map(|path| format!("{}:", path.display())).unwrap_or_default();
        if let Some(advice) = foreign::recognise(&text, prefix) {
            return Err(ConfigError::Invalid(format!("{place} {advice}")).into());
        }
        let (in_file, lines) = Lines::parse(&text).map_err(|errors| {
            let form = foreign::expected_form(file);
            ConfigErrors::new(errors.into_iter().map(|(line, text)| format!("{place}{line}: {text}{form}")).collect())
        })?;
        let (mut defaults, mut in_environment) = (Table::new(), Table::new());
        for (key, value) in keys.defaults {
            Value::insert(&mut defaults, &key::components(key), Value::Text((*value).to_owned()));
        }
        for (path, value) in variables.settings() {
            Value::insert(&mut in_environment, path, Value::Text(value.to_owned()));
        }
        let table = laid_over([defaults, in_file, in_environment]);
        let table = table.map_err(|error| ConfigError::Invalid(format!("{place} {error}")))?;
        let table = files::without_empty_paths(table);
        let mut source = Self { file: file.map(Path::to_path_buf), lines, variables, table, mistakes: Vec::new() };
        let moved = keys.moved.iter().map(|(old, new)| (*old, format!("moved; write {}", key::key_name(new))));
        let removed = keys.removed.iter().map(|(key, action)| (*key, format!("removed; {action}")));
        for (key, problem) in moved.chain(removed) {
            source.refuse(&key::components(key), key, &problem);
        }
        for (key, file) in source.named_files() {
            let path: Vec<String> = key::components(&key).iter().map(|part| key::unquoted(part)).collect();
            let mut in_place = path.clone();
            if let Some(last) = in_place.last_mut() {
                *last = last.trim_end_matches("_file").to_owned();
            }
            if in_place != path && Value::at(&source.table, &in_place).is_some() {
                // Set twice, which is an error of its own.
                continue;
            }
            if let Some(Value::Text(written)) = Value::at(&source.table, &path)
                && let Some(problem) = files::not_a_name(&key, written, &file)
            {
                // The names of apps are always in quotes.
                let is_app = |index: usize| index == 1 && path[0] == "apps";
                let parts = path.iter().enumerate();
                let shown = parts.map(|(i, part)| if is_app(i) { format!("{part:?}") } else { key::quoted(part) });
                let shown = shown.collect::<Vec<_>>().join(".");
                source.refuse(&path, &shown, &problem);
            }
        }
        Ok(source)
    }

    /// Removes a key that cannot be used, and remembers the problem.
    fn refuse(&mut self, path: &[String], key: &str, problem: &str) {
        if Value::remove(&mut self.table, path) {
            self.mistakes.push(ConfigError::invalid(key, problem).to_string());
        }
    }

    /// The configuration without all keys but those at or below these dotted paths: for a command that needs no others.
    #[must_use]
    pub fn only(mut self, paths: &[&str]) -> Self {
        let mut kept = Table::new();
        let paths: Vec<Vec<String>> = paths.iter().map(|path| key::components(path)).collect();
        for path in &paths {
            if let Some(value) = Value::at(&self.table, path) {
                Value::insert(&mut kept, path, value.clone());
            }
        }
        self.table = kept;
        self.mistakes
            .retain(|text| key::named_in(text).is_none_or(|named| paths.iter().any(|path| named.starts_with(path))));
        self
    }

    /// The typed settings.
    ///
    /// # Errors
    /// [`ConfigError`] for the first wrong key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        if let Some(mistake) = self.mistakes.first() {
            return Err(ConfigError::Invalid(mistake.clone()));
        }
        let table = Value::Table(self.table.clone());
        serde_path_to_error::deserialize(table).map_err(|error| {
            let keys = key::of_path(error.path());
            let message = explain(keys, &error.into_inner().to_string());
            ConfigError::Invalid(format!("{message}{}", foreign::expected_form(self.file.as_deref())))
        })
    }

    /// The result of `attempt`. After errors `attempt` is repeated without the keys of these, to find further errors.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every error, in the order of the file.
    pub fn complete<T>(&self, attempt: impl Fn(&Self) -> Result<T, Vec<ConfigError>>) -> Result<T, ConfigErrors> {
        let mut rest = Self { mistakes: Vec::new(), ..self.clone() };
        let mut errors: Vec<ConfigError> = self.mistakes.iter().cloned().map(ConfigError::Invalid).collect();
        let mut removed: Vec<Vec<String>> = errors.iter().filter_map(|e| key::named_in(&e.to_string())).collect();
        loop {
            let found = match attempt(&rest) {
                Ok(complete) if errors.is_empty() => return Ok(complete),
                Ok(_) => break,
                Err(found) => found,
            };
            let (before, table) = (removed.clone(), rest.table.clone());
            let mut is_shorter = false;
            for error in found {
                let text = error.to_string();
                let Some(path) = key::named_in(&text) else {
                    // After another error it may be its consequence.
                    if before.is_empty() {
                        errors.push(error);
                    }
                    continue;
                };
                let is_set = Value::at(&table, &path).is_some();
                let is_missing_after = || !is_set && errors.iter().any(|e| consequences::names(&e.to_string(), &path));
                let is_consequence = consequences::is_one(&text, &path, is_set, &before) || is_missing_after();
                for key in consequences::keys_to_remove(&text, &path, &table, is_consequence) {
                    if Value::remove(&mut rest.table, &key) {
                        is_shorter = true;
                        removed.push(key);
                    }
                }
                if !is_consequence {
                    errors.push(error);
                }
            }
            if !is_shorter || errors.len() >= MAX_ERRORS {
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
                let Some(path) = key::named_in(&text) else { return (0, secrets::hidden(&text, None)) };
                let value = Value::at(&self.table, &path);
                let text = secrets::hidden(&with_found(&text, value, path.last().map_or("", String::as_str)), value);
                match (&self.file, self.place_of(&path)) {
                    (_, Place::Variable(name)) => (usize::MAX, format!("environment variable {name}: {text}")),
                    (Some(file), Place::Line(line)) => (line, format!("{}:{line}: {text}", file.display())),
                    (Some(file), Place::Unknown) => (usize::MAX - 1, format!("{}: {text}", file.display())),
                    (None, _) => (usize::MAX - 1, text),
                }
            })
            .collect();
        lines.sort();
        lines.dedup();
        ConfigErrors::new(lines.into_iter().map(|(_, text)| text).collect())
    }

    /// Where the key is set; of one that is not set, its section.
    fn place_of(&self, path: &[String]) -> Place<'_> {
        for length in (1..=path.len()).rev() {
            let path = &path[..length];
            if let Some(name) = self.variables.exact(path) {
                return Place::Variable(name);
            }
            if let Some(line) = self.lines.of(path) {
                return Place::Line(line);
            }
            if let Some(name) = self.variables.below(path) {
                return Place::Variable(name);
            }
        }
        Place::Unknown
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
        match Value::at(&self.table, &key::components(key))? {
            Value::Text(path) => Some(folder.join(path)),
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
}

/// Where an error is.
enum Place<'a> {
    Line(usize),
    Variable(&'a str),
    Unknown,
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
