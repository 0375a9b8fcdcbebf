//! `deploy/identity.toml` against the code: every key is there, with the value it has anyway, or with an example that
//! works.

use identity::RawConfig;
use serde_json::{Value, json};

use super::in_workspace;

/// One line of the example file that sets a key.
struct Line {
    section: String,
    key: String,
    /// The line without the `#` of an unset key.
    text: String,
    is_unset: bool,
    is_explained: bool,
}

fn example() -> String {
    std::fs::read_to_string(in_workspace("deploy/identity.toml")).unwrap()
}

fn lines() -> Vec<Line> {
    let (mut section, mut is_explained) = (String::new(), false);
    let mut lines = Vec::new();
    for line in example().lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
            is_explained = false;
        } else if line.is_empty() || line.starts_with("# ") || line == "#" {
            is_explained = line.starts_with("# ");
        } else {
            let text = line.strip_prefix('#').unwrap_or(line);
            let key = text.split([' ', '.', '=']).next().unwrap().to_owned();
            lines.push(Line {
                section: section.clone(),
                key,
                text: text.to_owned(),
                is_unset: line.starts_with('#'),
                is_explained,
            });
        }
    }
    lines
}

/// The keys that are known below `path`, in their order: what serde says when it is given one that is not.
fn known_keys(path: Option<&str>) -> Vec<String> {
    let nonsense = json!({ "no such key": 0 });
    let settings = match path {
        Some(section) => json!({ section: nonsense }),
        None => nonsense,
    };
    let error = serde_json::from_value::<RawConfig>(settings).unwrap_err().to_string();
    let (_, expected) = error.split_once("expected ").unwrap_or_else(|| panic!("{path:?}: {error}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every section with its keys, as the code knows them.
pub(crate) fn known() -> Vec<(String, String)> {
    let keys = |section: String| {
        let keys = known_keys(Some(&section));
        keys.into_iter().map(move |key| (section.clone(), key))
    };
    known_keys(None).into_iter().flat_map(keys).collect()
}

fn load(toml: &str) -> Result<RawConfig, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    // A prefix without variables, so that the environment of the test has no effect.
    shared::config::load(Some(file.path()), "EXAMPLE_CONFIG_TEST").map_err(|error| error.to_string())
}

fn shown(config: &RawConfig) -> Vec<String> {
    format!("{config:#?}").lines().map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_it_once_and_in_the_order_of_the_code() {
    let mut there: Vec<_> = lines().into_iter().map(|line| (line.section, line.key)).collect();
    there.dedup();
    assert_eq!(there, known());
    assert!(there.len() > 70, "{}", there.len());
}

#[test]
fn every_key_is_explained() {
    for line in lines() {
        assert!(line.is_explained, "[{}] {}", line.section, line.key);
    }
}

#[test]
fn every_value_that_it_sets_is_the_default() {
    assert_eq!(shown(&load(&example()).unwrap()), shown(&RawConfig::default()));
}

#[test]
fn every_line_that_it_leaves_out_works_and_sets_what_was_not_set() {
    for Line { section, text, .. } in lines().into_iter().filter(|line| line.is_unset) {
        let config =
            load(&format!("[{section}]\n{text}")).unwrap_or_else(|error| panic!("[{section}] {text}: {error}"));
        assert_ne!(shown(&config), shown(&RawConfig::default()), "[{section}] {text}");
    }
}

#[test]
fn a_key_with_a_default_is_not_left_out() {
    let default = shown(&RawConfig::default());
    for Line { section, key, .. } in lines().into_iter().filter(|line| line.is_unset) {
        let unset = [format!("{key}: None,"), format!("{key}: {{}},")];
        assert!(default.iter().any(|line| unset.contains(&line.trim().to_owned())), "[{section}] {key}");
    }
}

#[test]
fn the_settings_that_the_readme_recommends_are_understood() {
    let readme = std::fs::read_to_string(in_workspace("identity/README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (toml, _) = rest.split_once("```").unwrap();
    assert!(toml.contains("public_base_url"), "{toml}");
    load(toml).unwrap();
}

#[test]
fn the_error_of_an_unknown_key_lists_the_known_keys() {
    assert_eq!(known_keys(Some("account")), ["list_own_bindings"]);
    assert_eq!(known_keys(Some("unbind")), ["allow_owner_token", "notify_owner"]);
    assert!(serde_json::from_value::<RawConfig>(Value::Object(serde_json::Map::new())).is_ok());
}
