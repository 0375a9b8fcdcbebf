//! Loading: file, environment, errors.

use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::environment::Variables;
use super::{ConfigError, ConfigErrors, ConfigSource, HumanDuration, OneOrMany, Secret, SpecialKeys, secret, section};

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

fn read(keys: SpecialKeys<'_>, file: &Path, environment: &[(&str, &str)]) -> Result<ConfigSource, ConfigErrors> {
    let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    ConfigSource::read_with(keys, Some(file), "TEST", Variables::of("TEST", variables))
}

fn load(toml: &str, environment: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    typed(file.path(), environment)
}

fn typed<T: DeserializeOwned>(file: &Path, environment: &[(&str, &str)]) -> Result<T, ConfigError> {
    let source = read(SpecialKeys::default(), file, environment);
    source.map_err(|errors| ConfigError::Invalid(errors.to_string()))?.parse()
}

#[test]
fn the_file_and_the_environment_override_a_default_of_the_service() {
    let bind = |toml: &str, environment: &[(&str, &str)]| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(toml.as_bytes()).unwrap();
        let keys = SpecialKeys { defaults: &[("http.bind", "x")], ..SpecialKeys::default() };
        let settings: Settings = read(keys, file.path(), environment).unwrap().parse().unwrap();
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
        let source = read(keys, file.path(), environment).unwrap();
        let parsed = source.complete(|source| source.parse::<serde::de::IgnoredAny>().map_err(|error| vec![error]));
        parsed.map(drop).map_err(|errors| {
            let text = errors.to_string();
            text.split_once(": [").map(|(_, rest)| format!("[{rest}")).unwrap_or(text)
        })
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
        assert!(error.contains(":3: [http]") && !error.contains("hunter2"), "{error}");
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
    write!(file, "key_file = ''\n[apps.'a.b']\nfile = ' '\npassword = ''\nname_file = 'x.txt'").unwrap();
    let files: Files = typed(file.path(), &[]).unwrap();
    assert_eq!(files.key_file, None);
    let expected = [("password", ""), ("name_file", "x.txt")].map(|(key, value)| (key.to_owned(), value.to_owned()));
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
        let error = typed::<Settings>(&path, &[]).unwrap_err().to_string();
        assert_eq!(error.contains("expects a TOML file"), is_toml_expected, "{error}");
    }
    let path = folder.path().join("utf16.toml");
    let utf16: Vec<u8> = "[http]\nport = 1".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&path, utf16).unwrap();
    let load = || typed::<Settings>(&path, &[]);
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
    assert_eq!(error, "[http] form: found \"tall\"; expected \"wide\" or \"narrow\"");
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
    let apps = typed::<Apps>(file.path(), &[("TEST__APPS__PLAIN__TYPE", "y")]).unwrap().apps;
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

#[test]
fn every_error_is_reported_with_its_line_or_variable_and_its_consequences_are_not() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let lines = |toml: &str, environment: &[(&str, &str)]| {
        std::fs::write(file.path(), toml).unwrap();
        let source = read(SpecialKeys::default(), file.path(), environment).unwrap();
        let complete = source.complete(|source| {
            let settings: Settings = source.parse().map_err(|error| vec![error])?;
            // A check of two keys, of which one needs the other.
            match (settings.http.port, settings.http.timeout) {
                (Some(0), _) => Err(vec![ConfigError::invalid("http.port", "expected at least 1")]),
                (None, Some(_)) => Err(vec![ConfigError::invalid("http.port", "not set; timeout needs it")]),
                _ => Ok(()),
            }
        });
        complete.map_err(|errors| errors.lines().iter().map(|line| line.replace(&path, "x")).collect::<Vec<_>>())
    };
    assert_eq!(lines("[http]\nport = 1\ntimeout = '1s'", &[]), Ok(()));
    assert_eq!(
        lines("[http]\nport = 0\ntimeout = '1s'\nform = 'tall'\n\n[htpt]\n", &[("TEST__HTTP__BNID", "y")]).unwrap_err(),
        [
            "x:2: [http] port: found 0; expected at least 1",
            "x:4: [http] form: found \"tall\"; expected \"wide\" or \"narrow\"",
            "x:6: [htpt]: unknown section; did you mean [http]?",
            "environment variable TEST__HTTP__BNID: [http] bnid: unknown key; did you mean bind?",
        ]
    );
    assert_eq!(lines("[http]\ntimeout = '1s'", &[]).unwrap_err(), ["x:1: [http] port: not set; timeout needs it"]);
}
