//! Environment variables as settings: `<PREFIX>__SECTION__KEY`.
//!
//! A part with a dot, such as an app_id or a server name, stays as it is written: `PUSH_GATEWAY__APPS__com.example.app__KEY`.
//!
//! Invariant: no other variable is a setting. One that looks like a setting and is none gives a notice.

use std::collections::BTreeMap;

/// Variables that the command line reads itself.
const OF_THE_COMMAND_LINE: [&str; 1] = ["CONFIG"];

/// Sections whose names have an underscore.
const SECTIONS_OF_TWO_WORDS: [&str; 2] = ["LEGACY_V1", "REJECTION_BREAKER"];

/// The variables of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Variables {
    prefix: String,
    /// The name and the value of each variable, by the path of its key.
    settings: BTreeMap<Vec<String>, (String, String)>,
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
            read.settings.insert(path, (name, value));
        }
        read.ignored.sort_unstable();
        read
    }

    /// The path and the value of each variable.
    pub(super) fn settings(&self) -> impl Iterator<Item = (&[String], &str)> {
        self.settings.iter().map(|(path, (_, value))| (path.as_slice(), value.as_str()))
    }

    /// The variable that sets the key.
    pub(super) fn exact(&self, path: &[String]) -> Option<&str> {
        self.settings.get(path).map(|(name, _)| name.as_str())
    }

    /// A variable that sets a key below this path.
    pub(super) fn below(&self, path: &[String]) -> Option<&str> {
        self.settings.iter().find(|(known, _)| known.starts_with(path)).map(|(_, (name, _))| name.as_str())
    }

    /// The number of variables that are settings.
    pub(super) fn number(&self) -> usize {
        self.settings.len()
    }

    /// Variables that look like settings and are none.
    pub(super) fn notices(&self) -> Vec<String> {
        let prefix = self.prefix.to_uppercase();
        let notice = |name: &String| {
            let rest = after_prefix(name, &prefix).unwrap_or_default();
            if rest.starts_with("CONFIG_") || rest.starts_with("CONFIG__") {
                return format!(
                    "environment variable {name} is not read: {prefix}_CONFIG names the configuration file; write that, or \
                     remove it"
                );
            }
            let section = SECTIONS_OF_TWO_WORDS.iter().find(|section| rest.starts_with(**section));
            let (section, key) = match (rest.split_once("__"), section) {
                (Some(parts), _) => parts,
                (None, Some(section)) => (*section, rest[section.len()..].trim_start_matches('_')),
                (None, None) => rest.split_once('_').unwrap_or((rest.as_str(), "KEY")),
            };
            format!(
                "environment variable {name} is not read: settings are {prefix}__SECTION__KEY, with two underscores between \
                 the parts; write {prefix}__{section}__{key}, or remove it"
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

/// Whether a variable that is no setting looks like one: with other separators, or with a misspelt prefix.
fn is_near(name: &str, value: &str, prefix: &str) -> bool {
    if let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) {
        return !OF_THE_COMMAND_LINE.contains(&rest) && !is_of_kubernetes(rest, value);
    }
    after_prefix(name, prefix).is_some()
}

/// What follows a prefix that is written with other separators or, before two underscores, misspelt.
fn after_prefix(name: &str, prefix: &str) -> Option<String> {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    let wanted = prefix.replace('_', "");
    let number = prefix.split('_').count();
    // Of as many words, or of one.
    let after = |words: usize| {
        let (mut rest, mut start) = (plain.as_str(), String::new());
        for _ in 0..words {
            let (word, below) = rest.split_once('_')?;
            start.push_str(word);
            rest = below.trim_start_matches('_');
        }
        let is_misspelt = || name.contains("__") && strsim::damerau_levenshtein(&start, &wanted) <= 2;
        (!rest.is_empty() && (start == wanted || is_misspelt())).then(|| rest.to_owned())
    };
    after(number).or_else(|| after(1))
}

/// Kubernetes sets such variables in every container for each service, which may be named as we are.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    let of_port = |number: &str| number.starts_with(|c: char| c.is_ascii_digit());
    value.contains("://") && (rest == "PORT" || rest.ends_with("_PORT") || rest.contains("PORT_"))
        || rest.contains("SERVICE_HOST")
        || rest.contains("SERVICE_PORT")
        || rest.split_once("PORT_").is_some_and(|(_, number)| of_port(number))
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
        let path = |path: &[&str]| path.iter().map(|&part| part.to_owned()).collect::<Vec<_>>();
        let key = path(&["apps", "com.Example.ios", "key"]);
        let values: Vec<_> = variables.settings().filter(|(path, _)| *path == key).map(|(_, value)| value).collect();
        assert_eq!(values, ["line 1\nline \"2\""]);
        assert_eq!(variables.exact(&path(&["http", "bind"])), Some("PUSH_GATEWAY__HTTP__BIND"));
        assert_eq!(
            variables.below(&path(&["apps", "com.Example.ios"])),
            Some("PUSH_GATEWAY__APPS__com.Example.ios__KEY")
        );
        assert_eq!(variables.exact(&path(&["http", "workers"])), None);
    }

    #[test]
    fn a_variable_that_looks_like_a_setting_and_is_none_gives_a_notice() {
        let ignored = |name: &str, value: &str| read(&[(name, value)]).notices().pop();
        let notice = ignored("PUSH_GATEWAY_HTTP_BIND", "x").unwrap();
        assert!(notice.contains("PUSH_GATEWAY__HTTP__BIND"), "{notice}");
        for name in [
            "PUSH_GATWAY__HTTP__BIND",
            "PUSHGATEWAY__HTTP__BIND",
            "PUSH_GATEWAY_HTTP__BIND",
            "PUSH_GATEWAY.HTTP.BIND",
            "PUSH-GATEWAY-HTTP-BIND",
            "PUSH__GATEWAY__HTTP__BIND",
        ] {
            let notice = ignored(name, "x").unwrap_or_else(|| panic!("{name}"));
            assert!(notice.contains("write PUSH_GATEWAY__HTTP__BIND,"), "{notice}");
        }
        let notice = ignored("PUSH_GATEWAY_REJECTION_BREAKER_ENABLED", "x").unwrap();
        assert!(notice.contains("PUSH_GATEWAY__REJECTION_BREAKER__ENABLED"), "{notice}");
        let notice = ignored("PUSH_GATEWAY_CONFIG_FILE", "x").unwrap();
        assert!(notice.contains("PUSH_GATEWAY_CONFIG names the configuration file"), "{notice}");
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
