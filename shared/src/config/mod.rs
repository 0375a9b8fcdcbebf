//! Loads a service's settings into one typed structure: a TOML file, then environment variables over it.
//!
//! Invariant: an unknown key is an error that suggests the nearest known key; no setting is silently ignored. Every error
//! reads `[section] key: problem; action`.
//!
//! Environment keys are `<PREFIX>__SECTION__KEY`, lower-cased; lists are separated by commas. A part with a dot, such as an
//! app_id, stays as it is written.

mod environment;
mod files;
mod key;
mod values;

use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat, Source};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use files::{digest_of_files, exposure_notice};
pub use key::key_name;
pub use values::{ByteSize, Cidr, Globs, HumanDuration, OneOrMany, glob_matches, optional_word, word};

use crate::secret::Secret;
use crate::text_file::{self, TextError};

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
    /// Paths of removed keys, and what to do instead.
    pub removed: &'a [(&'a str, &'a str)],
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
        builder = builder.add_source(File::from_str(&read(path)?, FileFormat::Toml));
    }
    let settings = builder
        .add_source(File::from_str(dotted, FileFormat::Toml))
        .add_source(environment.prefix_separator("__").separator("__").ignore_empty(true))
        .build()
        .map_err(|error| {
            let message = in_file(file, &without_excerpt(&error.to_string()));
            ConfigError::Invalid(format!("{message}{}", expected_form(file)))
        })?;
    for (old, new) in keys.moved {
        if settings.get::<config::Value>(old).is_ok() {
            return Err(ConfigError::invalid(old, format!("moved; write {}", key_name(new))));
        }
    }
    for (key, action) in keys.removed {
        if settings.get::<config::Value>(key).is_ok() {
            return Err(ConfigError::invalid(key, format!("removed; {action}")));
        }
    }
    let table = settings.collect().map_err(|error| ConfigError::Invalid(error.to_string()))?;
    let settings = config::Value::new(None, files::without_empty_paths(table));
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let keys = key::of_path(error.path());
        let message = explain(keys, &error.into_inner().to_string());
        ConfigError::Invalid(format!("{message}{}", expected_form(file)))
    })
}

/// The text of the configuration file; an empty file is valid.
fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_path_buf(), source };
    let content = std::fs::read(path).map_err(unreadable)?;
    match text_file::decode(&content) {
        Ok(text) => Ok(text.to_owned()),
        Err(TextError::Empty) => Ok(String::new()),
        Err(error) => Err(ConfigError::Invalid(format!("{} {error}", path.display()))),
    }
}

/// A hint for the configuration files of other programs, which have other formats.
fn expected_form(file: Option<&Path>) -> &'static str {
    let extension = file.and_then(Path::extension).and_then(|extension| extension.to_str());
    match extension {
        Some("yaml" | "yml" | "conf" | "cfg" | "ini" | "json") => {
            "; --config expects a TOML file, and this one is named as another format: see the example in deploy/"
        }
        _ => "",
    }
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
        let keys = SpecialKeys {
            moved: &[("federation.proxy", "outbound.proxy")],
            removed: &[("limits.wrong", "delete the line")],
            ..SpecialKeys::default()
        };
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
        let removed = Err("[limits] wrong: removed; delete the line".to_owned());
        assert_eq!(load("[limits.wrong]\nburst = 1", &[]), removed);
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
    fn an_empty_path_is_an_unset_one() {
        #[derive(Deserialize, Default)]
        #[serde(default)]
        struct Files {
            key_file: Option<std::path::PathBuf>,
            apps: HashMap<String, HashMap<String, String>>,
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "key_file = ''\n[apps.'a.b']\nfile = ' '\npassword = ''\nname_file = 'x'").unwrap();
        let environment = Environment::with_prefix("TEST").source(Some(HashMap::new()));
        let files: Files = load_with(SpecialKeys::default(), Some(file.path()), environment, "").unwrap();
        assert_eq!(files.key_file, None);
        let expected = [("password", ""), ("name_file", "x")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(files.apps["a.b"], HashMap::from(expected));
    }

    #[test]
    fn a_file_in_another_format_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text, is_toml_expected) in [
            ("homeserver.yaml", "server_name: a\n", true),
            ("sydent.conf", "[general]\nserver.name = a\n", true),
            ("sydent.conf", "[DEFAULT]\n[general]\n", true),
            ("identity.toml", "server_name: a\n", false),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            let environment = Environment::with_prefix("TEST").source(Some(HashMap::new()));
            let loaded = load_with::<Settings>(SpecialKeys::default(), Some(&path), environment, "");
            let error = loaded.unwrap_err().to_string();
            assert_eq!(error.contains("expects a TOML file"), is_toml_expected, "{error}");
        }
        let path = folder.path().join("utf16.toml");
        let utf16: Vec<u8> = "[http]\nport = 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
        std::fs::write(&path, utf16).unwrap();
        let environment = || Environment::with_prefix("TEST").source(Some(HashMap::new()));
        let load = || load_with::<Settings>(SpecialKeys::default(), Some(&path), environment(), "");
        assert!(load().unwrap_err().to_string().contains("UTF-16"));
        std::fs::write(&path, "\u{feff}[http]\r\nport = 1\r\n").unwrap();
        assert_eq!(load().unwrap().http.port, Some(1));
        std::fs::write(&path, "").unwrap();
        assert!(load().is_ok());
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

    #[test]
    fn the_file_of_a_secret_holds_one_line_of_text() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |content: &[u8]| {
            std::fs::write(file.path(), content).unwrap();
            let secret = secret("email.password", None, Some(file.path())).map_err(|error| error.to_string())?;
            Ok::<_, String>(secret.unwrap().expose().clone())
        };
        for (content, expected) in
            [("\u{feff}hunter2\r\n", "hunter2"), ("hunter2\n\n", "hunter2"), (" 'quoted' ", " 'quoted' ")]
        {
            assert_eq!(read(content.as_bytes()).as_deref(), Ok(expected));
        }
        let utf16: Vec<u8> = "hunter2".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (content, problem) in [
            (b"hunter2\nhunter3\n".as_slice(), "several lines"),
            (b"\n", "is empty"),
            (&utf16, "UTF-16"),
            (&[0xff, 0x30], "is not UTF-8 text"),
        ] {
            let error = read(content).unwrap_err();
            assert!(error.starts_with("[email] password_file: /") && error.contains(problem), "{error}");
            assert!(!error.contains("hunter"), "{error}");
        }
    }
}
