//! Environment variables as settings: `<PREFIX>__SECTION__KEY`.
//!
//! The configuration library reads a dot as the separator of sections, but app_ids and server names contain dots:
//! `PUSH_GATEWAY__APPS__com.example.app__KEY`.
//!
//! Invariant: no other variable is a setting. One that looks like a setting and is none gives a notice.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use config::Environment;

/// Variables that the command line reads itself.
const OF_THE_COMMAND_LINE: [&str; 1] = ["CONFIG"];

/// The variables of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    prefix: String,
    plain: HashMap<String, String>,
    /// Those with a dot in their name, as TOML.
    pub(super) dotted: String,
    /// The name of each variable, by the path of its key.
    names: BTreeMap<Vec<String>, String>,
    /// Names that look like settings and are none.
    ignored: Vec<String>,
}

impl Variables {
    /// The process's variables that start with `prefix`.
    pub(super) fn read(prefix: &str) -> Self {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
        Self::of(prefix, variables)
    }

    pub(super) fn of(prefix: &str, variables: impl Iterator<Item = (String, String)>) -> Self {
        let prefix_of_names = format!("{}__", prefix.to_uppercase());
        let mut read = Self { prefix: prefix.to_owned(), ..Self::default() };
        for (name, value) in variables {
            let Some(path) = path(&name, &prefix_of_names) else {
                if is_near(&name, &value, &prefix.to_uppercase()) {
                    read.ignored.push(name);
                }
                continue;
            };
            if value.is_empty() {
                continue;
            }
            if name.contains('.') {
                let keys: Vec<String> = path.iter().map(|part| quoted(part)).collect();
                // Writing to a string never fails.
                let _ = writeln!(read.dotted, "{} = {}", keys.join("."), quoted(&value));
            } else {
                read.plain.insert(name.clone(), value);
            }
            read.names.insert(path, name);
        }
        read.ignored.sort_unstable();
        read
    }

    /// The variables without a dot.
    pub(super) fn plain(&self) -> Environment {
        Environment::with_prefix(&self.prefix).source(Some(self.plain.clone()))
    }

    /// The variable that sets the key, or a part of it.
    pub(super) fn name_of(&self, path: &[String]) -> Option<&str> {
        let is_part = |known: &Vec<String>| known == path || (known.starts_with(path) && path.len() > 1);
        self.names.iter().find(|(known, _)| is_part(known)).map(|(_, name)| name.as_str())
    }

    /// The number of variables that are settings.
    pub(super) fn number(&self) -> usize {
        self.names.len()
    }

    /// Variables that look like settings and are none.
    pub(super) fn notices(&self) -> Vec<String> {
        let prefix = self.prefix.to_uppercase();
        let notice = |name: &String| {
            let rest = name.strip_prefix(&format!("{prefix}_")).unwrap_or_default();
            let meant = match rest.split_once('_') {
                Some((section, key)) if !name.contains("__") => format!("{prefix}__{section}__{key}"),
                _ => format!("{prefix}__SECTION__KEY"),
            };
            format!(
                "environment variable {name} is not read: settings are {prefix}__SECTION__KEY, with two underscores between \
                 the parts; write {meant}, or remove it"
            )
        };
        self.ignored.iter().map(notice).collect()
    }
}

/// The path of the key that the variable sets. A part with a dot stays as it is written.
fn path(name: &str, prefix: &str) -> Option<Vec<String>> {
    let has_prefix = name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if !has_prefix || (name.contains('.') && !name.starts_with(prefix)) {
        return None;
    }
    let part = |part: &str| if part.contains('.') { part.to_owned() } else { part.to_lowercase() };
    Some(name[prefix.len()..].split("__").map(part).collect())
}

/// Whether a variable that is no setting looks like one: with single underscores, or with a misspelt prefix.
fn is_near(name: &str, value: &str, prefix: &str) -> bool {
    if let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) {
        return !OF_THE_COMMAND_LINE.contains(&rest) && !is_of_kubernetes(rest, value);
    }
    name.split_once("__")
        .is_some_and(|(start, _)| start != prefix && strsim::damerau_levenshtein(&start.to_uppercase(), prefix) <= 2)
}

/// Kubernetes sets such variables in every container for each service, which may be named as we are.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    let of_port = |number: &str| number.starts_with(|c: char| c.is_ascii_digit());
    value.contains("://") && (rest == "PORT" || rest.ends_with("_PORT") || rest.contains("PORT_"))
        || rest.contains("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.split_once("PORT_").is_some_and(|(_, number)| of_port(number))
}

/// A basic string of TOML. JSON escapes the same characters in the same way.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use super::Variables;

    fn read(variables: &[(&str, &str)]) -> Variables {
        let owned = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Variables::of("push_gateway", owned)
    }

    #[test]
    fn a_part_with_a_dot_is_one_key_as_written() {
        let variables = read(&[
            ("PUSH_GATEWAY__APPS__com.Example.ios__KEY", "line 1\nline \"2\""),
            ("PUSH_GATEWAY__HTTP__BIND", "127.0.0.1:1"),
            ("OTHER__a.b", "x"),
        ]);
        assert_eq!(variables.dotted, "\"apps\".\"com.Example.ios\".\"key\" = \"line 1\\nline \\\"2\\\"\"\n");
        let name = |path: &[&str]| variables.name_of(&path.iter().map(|&part| part.to_owned()).collect::<Vec<_>>());
        assert_eq!(name(&["http", "bind"]), Some("PUSH_GATEWAY__HTTP__BIND"));
        assert_eq!(name(&["apps", "com.Example.ios"]), Some("PUSH_GATEWAY__APPS__com.Example.ios__KEY"));
        assert_eq!(name(&["http", "workers"]), None);
    }

    #[test]
    fn a_variable_that_looks_like_a_setting_and_is_none_gives_a_notice() {
        let ignored = |name: &str, value: &str| read(&[(name, value)]).notices().pop();
        let notice = ignored("PUSH_GATEWAY_HTTP_BIND", "x").unwrap();
        assert!(notice.contains("PUSH_GATEWAY__HTTP__BIND"), "{notice}");
        for name in ["PUSH_GATWAY__HTTP__BIND", "PUSHGATEWAY__HTTP__BIND", "PUSH_GATEWAY_HTTP__BIND"] {
            assert!(ignored(name, "x").is_some(), "{name}");
        }
        for (name, value) in [
            ("PUSH_GATEWAY_CONFIG", "/etc/x.toml"),
            ("PUSH_GATEWAY__HTTP__BIND", "x"),
            ("PUSH_GATEWAY_PORT", "tcp://10.0.0.1:5000"),
            ("PUSH_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("PUSH_GATEWAY_SERVICE_PORT_HTTP", "5000"),
            ("PUSH_GATEWAY_PORT_5000_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
            ("IDENTITY__HTTP__BIND", "x"),
        ] {
            assert_eq!(ignored(name, value), None, "{name}");
        }
    }
}
