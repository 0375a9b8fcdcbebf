//! Loads a service's settings into one typed structure: a TOML file, then environment variables over it.
//!
//! Invariant: an unknown key is an error that suggests the nearest known key; no setting is silently ignored. Every error
//! reads `[section] key: problem; action`.
//!
//! Environment keys are `<PREFIX>__SECTION__KEY`, lower-cased; lists are separated by commas. A part with a dot, such as an
//! app_id, stays as it is written.

mod environment;
mod key;
mod values;

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use config::{Environment, File, FileFormat};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use key::key_name;
pub use values::{ByteSize, Cidr, Globs, HumanDuration, OneOrMany, glob_matches, optional_word, word};

use crate::secret::Secret;

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
    pub fn invalid(path: &str, problem: impl std::fmt::Display) -> Self {
        Self::Invalid(format!("{}: {problem}", key_name(path)))
    }
}

/// Keys that need more than their type. Paths are dotted.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpecialKeys<'a> {
    /// Defaults of this service for sections whose defaults differ between services: `("http.bind", "…")`.
    pub defaults: &'a [(&'a str, &'a str)],
    /// Old and new paths of moved keys; the old path is an error that names the new one.
    pub moved: &'a [(&'a str, &'a str)],
}

/// Loads `T` from the TOML `file`, if given, then from environment variables that start with `prefix`.
///
/// # Errors
/// [`ConfigError`] with the key, the expected value and, for an unknown key, the nearest known key.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, prefix: &str) -> Result<T, ConfigError> {
    load_special(SpecialKeys::default(), file, prefix)
}

/// As [`load`], with [`SpecialKeys`].
///
/// # Errors
/// As [`load`], and [`ConfigError::Invalid`] for a moved key.
pub fn load_special<T: DeserializeOwned>(
    keys: SpecialKeys<'_>,
    file: Option<&Path>,
    prefix: &str,
) -> Result<T, ConfigError> {
    let (environment, dotted) = environment::read(prefix);
    load_with(keys, file, environment, &dotted)
}

fn load_with<T: DeserializeOwned>(
    keys: SpecialKeys<'_>,
    file: Option<&Path>,
    environment: Environment,
    dotted: &str,
) -> Result<T, ConfigError> {
    let mut builder = config::Config::builder();
    for (key, value) in keys.defaults {
        let invalid = |error: config::ConfigError| ConfigError::Invalid(error.to_string());
        builder = builder.set_default(*key, *value).map_err(invalid)?;
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let settings = builder
        .add_source(File::from_str(dotted, FileFormat::Toml))
        .add_source(environment.prefix_separator("__").separator("__").ignore_empty(true))
        .build()
        .map_err(|error| ConfigError::Invalid(in_file(file, &without_excerpt(&error.to_string()))))?;
    for (old, new) in keys.moved {
        if settings.get::<config::Value>(old).is_ok() {
            return Err(ConfigError::invalid(old, format!("moved; write {}", key_name(new))));
        }
    }
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let keys = key::of_path(error.path());
        ConfigError::Invalid(explain(keys, &error.into_inner().to_string()))
    })
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

/// A syntax error of TOML quotes the line, and the line may hold a password.
fn without_excerpt(message: &str) -> String {
    let excerpt = |line: &&str| line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|');
    message.lines().filter(|line| !excerpt(line)).collect::<Vec<_>>().join(": ")
}

fn in_file(file: Option<&Path>, message: &str) -> String {
    match file {
        Some(path) => format!("{}: {message}", path.display()),
        None => message.to_owned(),
    }
}

/// Puts the key in front of serde's message. An unknown key gets the nearest known key.
fn explain(mut keys: Vec<String>, message: &str) -> String {
    // config appends " for key `a.b`"; the path already has it.
    let message = message.split(" for key `").next().unwrap_or(message);
    let message = match message {
        // The standard library's message has no example.
        "invalid socket address syntax" => "expected an address with its port, such as \"127.0.0.1:8090\"",
        other => other,
    };
    let Some(unknown) = unknown_field(message) else {
        return if keys.is_empty() { message.to_owned() } else { format!("{}: {message}", key::print(&keys)) };
    };
    // serde_path_to_error's path may already end with the unknown key.
    if keys.last().is_none_or(|last| last != unknown) {
        keys.push(unknown.to_owned());
    }
    let known = message.split('`').skip(3).step_by(2);
    let nearest = known.min_by_key(|known| strsim::damerau_levenshtein(known, unknown));
    let (name, is_section) = (key::print(&keys), keys.len() == 1);
    match nearest {
        Some(nearest) if is_section => format!("{name}: unknown section; did you mean [{nearest}]?"),
        Some(nearest) => format!("{name}: unknown key; did you mean {nearest}?"),
        None => format!("{name}: unknown key; the section has no keys"),
    }
}

/// The key in serde's message about a key that the type does not have.
fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

fn last_component(path: &str) -> String {
    key::components(path).pop().unwrap_or_default()
}

/// A secret that is set either in the configuration or in a file of its own (`<key>_file`), never in both. `key` is the
/// dotted path.
///
/// A final line break in the file is not part of the secret.
///
/// # Errors
/// [`ConfigError::GivenTwice`], or [`ConfigError::Invalid`] if the file cannot be read.
pub fn secret(
    key: &str,
    in_place: Option<&Secret<String>>,
    file: Option<&Path>,
) -> Result<Option<Secret<String>>, ConfigError> {
    match (in_place, file) {
        (Some(_), Some(_)) => Err(ConfigError::GivenTwice(key.to_owned())),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                ConfigError::invalid(&format!("{key}_file"), format!("cannot read {}: {error}", path.display()))
            })?;
            let text = Zeroizing::new(text);
            Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
        }
        (None, None) => Ok(None),
    }
}

/// A digest of the contents of files; it differs if they changed. A missing file counts as an empty one.
pub fn digest_of_files<'a>(files: impl IntoIterator<Item = &'a Path>) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    for file in files {
        let content = std::fs::read(file).unwrap_or_default();
        digest.update(&content.len().to_be_bytes());
        digest.update(&content);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
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
mod tests {
    use std::collections::HashMap;
    use std::io::Write;
    use std::net::SocketAddr;
    use std::time::Duration;

    use config::Environment;
    use serde::Deserialize;
    use serde_json::json;

    use super::{ConfigError, HumanDuration, OneOrMany, Secret, SpecialKeys, load_with, secret, section};

    #[derive(Debug, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Settings {
        http: Http,
        password: Option<Secret<String>>,
    }

    #[derive(Debug, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    struct Http {
        bind: OneOrMany<String>,
        timeout: Option<HumanDuration>,
        port: Option<u16>,
        #[serde(deserialize_with = "super::optional_word")]
        form: Option<Form>,
        address: OneOrMany<SocketAddr>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Form {
        Wide,
        Narrow,
    }

    fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let pairs: HashMap<String, String> = environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        load_with(SpecialKeys::default(), Some(file.path()), Environment::with_prefix("TEST").source(Some(pairs)), "")
    }

    #[test]
    fn the_file_and_the_environment_override_a_default_of_the_service() {
        let bind = |toml: &str, environment: &[(&str, &str)]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(toml.as_bytes()).unwrap();
            let pairs: HashMap<String, String> = environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let environment = Environment::with_prefix("TEST").source(Some(pairs));
            let keys = SpecialKeys { defaults: &[("http.bind", "x")], ..SpecialKeys::default() };
            let settings: Settings = load_with(keys, Some(file.path()), environment, "").unwrap();
            settings.http.bind.as_slice().to_vec()
        };
        assert_eq!(bind("", &[]), ["x"]);
        assert_eq!(bind("[http]\nport = 5", &[]), ["x"]);
        assert_eq!(bind("[http]\nbind = ['a', 'b']", &[]), ["a", "b"]);
        assert_eq!(bind("[http]\nbind = 'a'", &[("TEST__HTTP__BIND", "c,d")]), ["c", "d"]);
    }

    #[test]
    fn a_moved_key_is_an_error_that_names_the_new_place() {
        let keys = SpecialKeys { moved: &[("federation.proxy", "outbound.proxy")], ..SpecialKeys::default() };
        let load = |toml: &str, environment: &[(&str, &str)]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(toml.as_bytes()).unwrap();
            let pairs: HashMap<String, String> = environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let environment = Environment::with_prefix("TEST").source(Some(pairs));
            let loaded = load_with::<serde_json::Value>(keys, Some(file.path()), environment, "");
            loaded.map(drop).map_err(|error| error.to_string())
        };
        let moved = Err("[federation] proxy: moved; write [outbound] proxy".to_owned());
        assert_eq!(load("[federation]\nproxy = 'http://user:hunter2@a.example:1'", &[]), moved);
        assert_eq!(load("", &[("TEST__FEDERATION__PROXY", "x")]), moved);
        assert_eq!(load("[outbound]\nproxy = 'x'\n[federation]\ntimeout = '1s'", &[]), Ok(()));
    }

    #[test]
    fn the_environment_overrides_the_file_and_lists_are_separated_by_commas() {
        let settings = load(
            "password = 'x'\n[http]\nbind = ['a', 'b']\ntimeout = '3s'",
            &[("TEST__HTTP__BIND", "c, d"), ("TEST__PASSWORD", "007"), ("TEST__HTTP__PORT", "8090")],
        )
        .unwrap();
        assert_eq!(settings.http.bind.as_slice(), ["c", "d"]);
        assert_eq!(settings.http.timeout.unwrap().get(), Duration::from_secs(3));
        assert_eq!(settings.http.port, Some(8090));
        assert_eq!(settings.password.unwrap().expose(), "007");
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest_known_key() {
        let error = load("[http]\nbnid = 'x'", &[]).unwrap_err().to_string();
        assert_eq!(error, "[http] bnid: unknown key; did you mean bind?");
        let error = load("htpt = 1", &[]).unwrap_err().to_string();
        assert_eq!(error, "[htpt]: unknown section; did you mean [http]?");
        let error = load("", &[("TEST__HTTP__PROT", "1")]).unwrap_err().to_string();
        assert_eq!(error, "[http] prot: unknown key; did you mean port?");
    }

    #[test]
    fn a_syntax_error_names_the_line_number_and_does_not_quote_the_line() {
        for line in ["password = 'hunter2", "password = hunter2", "password = 'hunter2' 'x'", "password 'hunter2'"] {
            let error = load(&format!("[http]\nport = 1\n{line}\n"), &[]).unwrap_err().to_string();
            assert!(error.contains("line 3") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_bad_value_names_its_key() {
        let error = load("[http]\ntimeout = 'soon'", &[]).unwrap_err().to_string();
        assert!(error.starts_with("[http] timeout: "), "{error}");
        let error = load("[http]\nport = 'x'", &[]).unwrap_err().to_string();
        assert!(error.starts_with("[http] port: "), "{error}");
        let error = load("[http]\nform = 'tall'", &[]).unwrap_err().to_string();
        assert_eq!(error, "[http] form: unknown variant `tall`, expected `wide` or `narrow`");
        let error = load("[http]\naddress = 'localhost'", &[]).unwrap_err().to_string();
        assert!(error.starts_with("[http] address: expected an address with its port"), "{error}");
        assert!(load("[http", &[]).is_err());
    }

    #[test]
    fn table_names_keep_their_case_and_their_dots() {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Apps {
            apps: HashMap<String, serde_json::Value>,
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[apps.'com.Example.App']\ntype = 'x'\n[apps.'com.*'.Payload]\nn = 1\n[apps.\"a[0]\"]").unwrap();
        let pairs = HashMap::from([("TEST__APPS__PLAIN__TYPE".to_owned(), "y".to_owned())]);
        let apps = load_with::<Apps>(
            SpecialKeys::default(),
            Some(file.path()),
            Environment::with_prefix("TEST").source(Some(pairs)),
            "",
        );
        let apps = apps.unwrap().apps;
        assert_eq!(apps["com.Example.App"]["type"], "x");
        assert_eq!(apps["com.*"]["Payload"]["n"], 1);
        assert_eq!(apps["plain"]["type"], "y");
        assert_eq!(apps.len(), 4);
    }

    #[test]
    fn a_section_read_later_gives_the_same_errors() {
        let read = |value| section::<Http>("apps.\"x.y\"", value).map(drop).map_err(|error| error.to_string());
        assert_eq!(read(json!({ "port": 5 })), Ok(()));
        let unknown = read(json!({ "prot": 5 })).unwrap_err();
        assert_eq!(unknown, "[apps.\"x.y\"] prot: unknown key; did you mean port?");
        let wrong = read(json!({ "port": "x" })).unwrap_err();
        assert!(wrong.starts_with("[apps.\"x.y\"] port: "), "{wrong}");
        let no_table = read(json!(5)).unwrap_err();
        assert!(no_table.starts_with("[apps.\"x.y\"]: "), "{no_table}");
    }

    #[test]
    fn a_secret_is_set_in_one_place_only() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "hunter2").unwrap();
        let here = Secret::new(String::from("here"));
        assert_eq!(secret("password", None, Some(file.path())).unwrap().unwrap().expose(), "hunter2");
        assert_eq!(secret("password", Some(&here), None).unwrap().unwrap().expose(), "here");
        assert!(secret("password", None, None).unwrap().is_none());
        let error = secret("password", None, Some("/nowhere".as_ref())).unwrap_err().to_string();
        assert!(error.starts_with("password_file: cannot read /nowhere: "), "{error}");
        let error = secret("email.password", Some(&here), Some(file.path())).unwrap_err();
        assert!(matches!(error, ConfigError::GivenTwice(_)));
        assert_eq!(error.to_string(), "[email] password and password_file are both set; keep one of them");
    }
}
