//! Loading a service's settings: a TOML file, then environment variables, into one typed structure.
//!
//! Invariant: an unknown key is an error that names the nearest known one; a setting is never silently ignored.
//!
//! Environment keys are `<PREFIX>__SECTION__KEY`, lower-cased; lists are written with commas.

mod values;

use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use values::{ByteSize, Cidr, Globs, HumanDuration, OneOrMany, glob_matches, optional_word, word};

use crate::secret::Secret;

/// Why the settings could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file that was named.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A key is unknown, a value is of the wrong form or missing.
    #[error("{0}")]
    Invalid(String),
    /// A secret is given both in place and as a file.
    #[error("{0} and {0}_file are both set: keep one of them")]
    GivenTwice(String),
}

/// Loads `T` from `file` (TOML), if there is one, then from environment variables that start with `prefix`.
///
/// # Errors
/// [`ConfigError`] with the path of the key, what was expected and, for an unknown key, the nearest known one.
pub fn load<T: DeserializeOwned>(file: Option<&Path>, prefix: &str) -> Result<T, ConfigError> {
    load_over(&[], file, prefix)
}

/// As [`load`], over values that hold where neither file nor environment says something: `("http.bind", "…")`. For
/// sections whose defaults are not the same for every service.
///
/// # Errors
/// As [`load`].
pub fn load_over<T: DeserializeOwned>(
    defaults: &[(&str, &str)],
    file: Option<&Path>,
    prefix: &str,
) -> Result<T, ConfigError> {
    load_with(defaults, file, Environment::with_prefix(prefix))
}

fn load_with<T: DeserializeOwned>(
    defaults: &[(&str, &str)],
    file: Option<&Path>,
    environment: Environment,
) -> Result<T, ConfigError> {
    let mut builder = config::Config::builder();
    for (key, value) in defaults {
        let invalid = |error: config::ConfigError| ConfigError::Invalid(error.to_string());
        builder = builder.set_default(*key, *value).map_err(invalid)?;
    }
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_path_buf(), source })?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    let settings = builder
        .add_source(environment.prefix_separator("__").separator("__").ignore_empty(true))
        .build()
        .map_err(|error| ConfigError::Invalid(in_file(file, &without_excerpt(&error.to_string()))))?;
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let path = error.path().to_string();
        ConfigError::Invalid(explain(&path, &error.into_inner().to_string()))
    })
}

/// Reads `T` from a table within the settings that was kept as it is, because what it may hold depends on one of its
/// keys. `path` is where it stands.
///
/// # Errors
/// [`ConfigError::Invalid`], as [`load`] would say it.
pub fn section<T: DeserializeOwned>(path: &str, table: serde_json::Value) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(table).map_err(|error| {
        let key = error.path().to_string();
        let message = explain(&key, &error.into_inner().to_string());
        let message = match message.strip_prefix("unknown key ") {
            Some(rest) => format!("unknown key {path}.{rest}"),
            None if key == "." => format!("{path}: {message}"),
            None => format!("{path}.{message}"),
        };
        ConfigError::Invalid(message)
    })
}

/// A syntax error of TOML comes with the line that it is in, and a password may stand in that line.
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

/// Puts the key's path in front of serde's message and, for an unknown key, adds the nearest known one.
fn explain(path: &str, message: &str) -> String {
    let path = if path == "." || path == "?" { "" } else { path };
    // config appends " for key `a.b`"; the path already says it.
    let message = message.split(" for key `").next().unwrap_or(message);
    let message = match message {
        // The standard library's word for it names no example.
        "invalid socket address syntax" => "expected an address with its port, such as \"127.0.0.1:8090\"",
        other => other,
    };
    let Some(unknown) = message.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) else {
        return if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") };
    };
    let full = match path.rsplit_once('.') {
        // serde_path_to_error's path already ends with the unknown key when it got that far.
        _ if path.is_empty() => unknown.to_owned(),
        _ if path == unknown || path.ends_with(&format!(".{unknown}")) => path.to_owned(),
        _ => format!("{path}.{unknown}"),
    };
    let known = message.split('`').skip(3).step_by(2);
    match known.min_by_key(|known| strsim::damerau_levenshtein(known, unknown)) {
        Some(nearest) => format!("unknown key {full}: did you mean {nearest}?"),
        None => format!("unknown key {full}: no key is known there"),
    }
}

/// A secret that stands either in the settings or in a file of its own (`<key>_file`), never in both.
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
                ConfigError::Invalid(format!("{key}_file: cannot read {}: {error}", path.display()))
            })?;
            let text = Zeroizing::new(text);
            Ok(Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())))
        }
        (None, None) => Ok(None),
    }
}

/// Where a service keeps its data when nobody says: systemd's `STATE_DIRECTORY`, else `name` in the user's data folder
/// (XDG Base Directory: `XDG_DATA_HOME`, `~/.local/share`). `None` without any of them.
#[expect(clippy::disallowed_methods, reason = "these variables are the system's, not settings of ours")]
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

    use super::{ConfigError, HumanDuration, OneOrMany, Secret, load_with, secret, section};

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
        load_with(&[], Some(file.path()), Environment::with_prefix("TEST").source(Some(pairs)))
    }

    #[test]
    fn a_default_of_the_service_holds_until_the_file_or_the_environment_says_something_else() {
        let bind = |toml: &str, environment: &[(&str, &str)]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(toml.as_bytes()).unwrap();
            let pairs: HashMap<String, String> = environment.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
            let environment = Environment::with_prefix("TEST").source(Some(pairs));
            let settings: Settings = load_with(&[("http.bind", "x")], Some(file.path()), environment).unwrap();
            settings.http.bind.as_slice().to_vec()
        };
        assert_eq!(bind("", &[]), ["x"]);
        assert_eq!(bind("[http]\nport = 5", &[]), ["x"]);
        assert_eq!(bind("[http]\nbind = ['a', 'b']", &[]), ["a", "b"]);
        assert_eq!(bind("[http]\nbind = 'a'", &[("TEST__HTTP__BIND", "c,d")]), ["c", "d"]);
    }

    #[test]
    fn the_environment_wins_over_the_file_and_lists_are_written_with_commas() {
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
    fn an_unknown_key_names_the_nearest_known_one() {
        let error = load("[http]\nbnid = 'x'", &[]).unwrap_err().to_string();
        assert_eq!(error, "unknown key http.bnid: did you mean bind?");
        let error = load("htpt = 1", &[]).unwrap_err().to_string();
        assert_eq!(error, "unknown key htpt: did you mean http?");
        let error = load("", &[("TEST__HTTP__PROT", "1")]).unwrap_err().to_string();
        assert_eq!(error, "unknown key http.prot: did you mean port?");
    }

    #[test]
    fn a_syntax_error_tells_the_place_and_not_the_line() {
        for line in ["password = 'hunter2", "password = hunter2", "password = 'hunter2' 'x'", "password 'hunter2'"] {
            let error = load(&format!("[http]\nport = 1\n{line}\n"), &[]).unwrap_err().to_string();
            assert!(error.contains("line 3") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_bad_value_names_its_key() {
        let error = load("[http]\ntimeout = 'soon'", &[]).unwrap_err().to_string();
        assert!(error.starts_with("http.timeout: "), "{error}");
        let error = load("[http]\nport = 'x'", &[]).unwrap_err().to_string();
        assert!(error.starts_with("http.port: "), "{error}");
        let error = load("[http]\nform = 'tall'", &[]).unwrap_err().to_string();
        assert_eq!(error, "http.form: unknown variant `tall`, expected `wide` or `narrow`");
        let error = load("[http]\naddress = 'localhost'", &[]).unwrap_err().to_string();
        assert!(error.starts_with("http.address: expected an address with its port"), "{error}");
        assert!(load("[http", &[]).is_err());
    }

    #[test]
    fn names_of_tables_keep_their_case_and_their_dots() {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Apps {
            apps: HashMap<String, serde_json::Value>,
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "[apps.'com.Example.App']\ntype = 'x'\n[apps.'com.*'.Payload]\nn = 1\n[apps.\"a[0]\"]").unwrap();
        let pairs = HashMap::from([("TEST__APPS__PLAIN__TYPE".to_owned(), "y".to_owned())]);
        let apps = load_with::<Apps>(&[], Some(file.path()), Environment::with_prefix("TEST").source(Some(pairs)));
        let apps = apps.unwrap().apps;
        assert_eq!(apps["com.Example.App"]["type"], "x");
        assert_eq!(apps["com.*"]["Payload"]["n"], 1);
        assert_eq!(apps["plain"]["type"], "y");
        assert_eq!(apps.len(), 4);
    }

    #[test]
    fn a_table_that_was_kept_is_read_with_the_same_errors() {
        let read = |value| section::<Http>("apps.\"x.y\"", value).map(drop).map_err(|error| error.to_string());
        assert_eq!(read(json!({ "port": 5 })), Ok(()));
        let unknown = read(json!({ "prot": 5 })).unwrap_err();
        assert_eq!(unknown, "unknown key apps.\"x.y\".prot: did you mean port?");
        let wrong = read(json!({ "port": "x" })).unwrap_err();
        assert!(wrong.starts_with("apps.\"x.y\".port: "), "{wrong}");
        let no_table = read(json!(5)).unwrap_err();
        assert!(no_table.starts_with("apps.\"x.y\": "), "{no_table}");
    }

    #[test]
    fn a_secret_comes_from_one_place() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "hunter2").unwrap();
        let here = Secret::new(String::from("here"));
        assert_eq!(secret("password", None, Some(file.path())).unwrap().unwrap().expose(), "hunter2");
        assert_eq!(secret("password", Some(&here), None).unwrap().unwrap().expose(), "here");
        assert!(secret("password", None, None).unwrap().is_none());
        let error = secret("password", None, Some("/nowhere".as_ref())).unwrap_err().to_string();
        assert!(error.starts_with("password_file: cannot read /nowhere: "), "{error}");
        assert!(matches!(secret("password", Some(&here), Some(file.path())), Err(ConfigError::GivenTwice(_))));
    }
}
