//! `deploy/push-gateway.toml` against the code: every key is there, with the value it has anyway, or with an example that
//! works.

#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect has nothing better to do than panic")]

use std::path::{Path, PathBuf};

use push_gateway::config::Config;
use push_gateway::{ApnsSettings, AppRelay, DeliveryKeys, EndpointSettings, FcmSettings, HttpSettings, HuaweiSettings};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// One line of the example file that sets a key.
struct Line {
    /// Counted from 0.
    number: usize,
    section: String,
    key: String,
    /// The line without the `#` of a key that is not set.
    text: String,
    is_unset: bool,
}

fn in_workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn example() -> String {
    std::fs::read_to_string(in_workspace("deploy/push-gateway.toml")).unwrap()
}

fn lines() -> Vec<Line> {
    let mut section = String::new();
    let mut lines = Vec::new();
    for (number, line) in example().lines().enumerate() {
        if let Some(name) = line.strip_prefix('[') {
            name.split(']').next().unwrap().clone_into(&mut section);
            continue;
        }
        let text = line.strip_prefix("# ").unwrap_or(line);
        // In prose there is no `=` after the first word.
        let Some((key, _)) = text.split_once(" = ").filter(|(key, _)| !key.contains(' ')) else { continue };
        let (key, text) = (key.to_owned(), text.to_owned());
        lines.push(Line { number, section: section.clone(), key, text, is_unset: line.starts_with('#') });
    }
    lines
}

/// The keys that are known, in their order: what serde says when it is given one that is not.
fn known_keys<T: DeserializeOwned>(nonsense: Value) -> Vec<String> {
    let error = serde_json::from_value::<T>(nonsense).map(drop).unwrap_err().to_string();
    let (_, expected) = error.split_once("expected ").unwrap_or_else(|| panic!("{error}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The keys of Push Kit that only one version has.
const HUAWEI_1: [&str; 7] =
    ["version", "app_id_number", "client_id", "client_secret", "client_secret_file", "token_url", "badge_class"];
const HUAWEI_3: [&str; 11] = [
    "service_account_file",
    "service_account",
    "category",
    "call_category",
    "missed_call_category",
    "click_action",
    "click_uri",
    "foreground_show",
    "notify_id",
    "app_message_id",
    "profile_id",
];

/// The keys of Web Push that browsers alone have.
const DECLARATIVE: [&str; 8] = [
    "declarative",
    "navigate_template",
    "title_template",
    "title_fallback",
    "body_template",
    "body_fallback",
    "lang",
    "icon",
];

/// Every section with its keys, as the code knows them.
fn known() -> Vec<(String, String)> {
    let nonsense = json!({ "no such key": 0 });
    let mut known = Vec::new();
    for section in known_keys::<Config>(nonsense.clone()).into_iter().filter(|section| section != "apps") {
        let keys = known_keys::<Config>(json!({ section.as_str(): nonsense }));
        known.extend(keys.into_iter().map(|key| (section.clone(), key)));
    }
    let of_relay = known_keys::<AppRelay>(nonsense.clone());
    let of_every_type = known_keys::<DeliveryKeys>(nonsense.clone());
    let mut of_apns = known_keys::<ApnsSettings>(nonsense.clone());
    of_apns.extend(of_every_type.clone());
    let mut of_fcm = known_keys::<FcmSettings>(nonsense.clone());
    of_fcm.extend(of_every_type.clone());
    of_apns.extend(of_relay.clone());
    of_fcm.extend(of_relay);
    let mut of_web = known_keys::<EndpointSettings>(nonsense.clone());
    of_web.extend(of_every_type.clone());
    let mut of_huawei = known_keys::<HuaweiSettings>(nonsense.clone());
    let mut of_bridge = known_keys::<HttpSettings>(nonsense);
    of_bridge.extend(of_every_type.clone());
    of_huawei.extend(of_every_type);
    // Another name of a key.
    of_huawei.retain(|key| key != "class");
    let without = |others: &[&str]| of_huawei.iter().filter(|key| !others.contains(&key.as_str())).cloned().collect();
    let (of_harmony, of_hms): (Vec<String>, Vec<String>) = (without(&HUAWEI_1[1..]), without(&HUAWEI_3));
    // What an app of FCM takes for pushkeys that are not Google's.
    let is_of_browsers = |key: &&String| DECLARATIVE.contains(&key.as_str());
    let of_endpoints = of_web.iter().filter(|key| !is_of_browsers(key));
    of_fcm.extend(of_endpoints.clone().filter(|key| !of_fcm.contains(key)).cloned().collect::<Vec<_>>());
    let of_unified = of_endpoints.filter(|key| !["unifiedpush", "up_ttl"].contains(&key.as_str())).cloned().collect();
    for (app, keys) in [
        ("ios", of_apns),
        ("android", of_fcm),
        ("web", of_web),
        ("unifiedpush", of_unified),
        ("harmony", of_harmony),
        ("hms", of_hms),
        ("bridge", of_bridge),
    ] {
        let section = format!("apps.\"com.example.app.{app}\"");
        known.push((section.clone(), "type".to_owned()));
        // Known only to be refused with what takes its place, or another name of a key.
        let is_documented = |key: &String| !["api_key", "credentials_file"].contains(&key.as_str());
        known.extend(keys.into_iter().filter(is_documented).map(|key| (section.clone(), key)));
    }
    known
}

/// The settings of a file in a folder in which lies what the example names; shown, the folder left out.
fn shown(toml: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("proxy-url"), "http://proxy.example.org:3128\n").unwrap();
    // Without a point or a slash a missing file counts as a secret in the wrong place.
    for name in toml.split('"').filter(|text| text.ends_with("-secret")) {
        std::fs::write(folder.path().join(name), "x\n").unwrap();
    }
    let file = folder.path().join("push-gateway.toml");
    std::fs::write(&file, toml).unwrap();
    let config = Config::load(Some(&file)).unwrap_or_else(|error| panic!("{error}"));
    let text = format!("{config:#?}").replace(&folder.path().display().to_string(), "");
    // Which keys have no effect depends on the others.
    let mut is_about_effects = false;
    let lines = text.lines().filter(|line| {
        let is_first = line.trim_start().starts_with("useless: [");
        is_about_effects = (is_first && !line.ends_with("],")) || (is_about_effects && line.trim() != "],");
        !is_first && !is_about_effects
    });
    lines.filter(|line| line.trim() != "],").map(str::to_owned).collect()
}

/// The example, in which the line of that number is `text`.
fn with(number: usize, text: &str) -> String {
    let line = |(at, line): (usize, &str)| format!("{}\n", if at == number { text } else { line });
    example().lines().enumerate().map(line).collect()
}

#[test]
fn every_key_is_in_it_once() {
    let mut there: Vec<_> = lines().into_iter().map(|line| (line.section, line.key)).collect();
    let mut known = known();
    there.sort();
    known.sort();
    assert_eq!(there, known);
    assert!(there.len() > 80, "{}", there.len());
}

#[test]
fn every_key_is_explained() {
    let example = example();
    let lines_of_file: Vec<&str> = example.lines().collect();
    for Line { number, section, key, text, .. } in lines() {
        let above = lines_of_file[number - 1].strip_prefix("# ").is_some_and(|above| !above.contains(" = "));
        assert!(text.contains(" # ") || above || key == "type", "[{section}] {key}");
    }
}

#[test]
fn a_key_that_it_leaves_out_has_the_value_that_stands_there_or_none() {
    let as_it_is = shown(&example());
    for Line { number, section, text, .. } in lines().into_iter().filter(|line| line.is_unset) {
        let with_line = shown(&with(number, &text));
        let differs = as_it_is.iter().zip(&with_line).find(|(before, after)| before != after);
        let was_unset = differs.is_none_or(|(before, _)| before.ends_with(": None,"));
        assert!(was_unset, "[{section}] {text}: without that line it is {differs:?}");
    }
}

#[test]
fn a_key_that_it_sets_is_one_that_an_app_cannot_do_without() {
    for Line { section, key, .. } in lines().into_iter().filter(|line| !line.is_unset) {
        let needed = [
            "type",
            "topic",
            "key_file",
            "key_id",
            "team_id",
            "service_account_file",
            "vapid_private_key_file",
            "vapid_contact",
            "version",
            "app_id_number",
            "client_secret_file",
            "url",
        ];
        // The table alone would be a relay without keys.
        let is_off = section == "relay" && key == "enabled";
        assert!(is_off || section.starts_with("apps.") && needed.contains(&key.as_str()), "[{section}] {key}");
    }
}

#[test]
fn the_settings_that_the_readme_recommends_are_understood() {
    let readme = std::fs::read_to_string(in_workspace("push-gateway/README.md")).unwrap();
    let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let ours: Vec<&str> = blocks.filter(|toml| toml.contains("[apps.")).collect();
    assert_eq!(ours.len(), 5);
    ours.iter().for_each(|toml| drop(shown(toml)));
}
