//! The lines of a configuration file's keys.
//!
//! Invariant: holds names and numbers only, no value.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

/// The line of each key, by its path.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(HashMap<Vec<String>, usize>);

impl Lines {
    /// None for a text that is not TOML.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        if let Ok(table) = DeTable::parse(text) {
            lines.add(text, table.get_ref(), &[]);
        }
        lines
    }

    /// The line of the key, or of the nearest section around it that has one.
    pub(super) fn of_key(&self, path: &[String]) -> Option<usize> {
        (1..=path.len()).rev().find_map(|length| self.0.get(&path[..length])).copied()
    }

    fn add(&mut self, text: &str, table: &DeTable<'_>, above: &[String]) {
        for (key, value) in table {
            let path: Vec<String> = above.iter().cloned().chain([key.get_ref().clone().into_owned()]).collect();
            let before = text.get(..key.span().start).unwrap_or_default();
            let line = before.bytes().filter(|&byte| byte == b'\n').count() + 1;
            if let DeValue::Table(below) = value.get_ref() {
                self.add(text, below, &path);
            }
            self.0.insert(path, line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn a_key_has_its_line_and_a_missing_one_that_of_its_section() {
        let lines = Lines::of("# a\n[http]\nbind = 'x'\n\n[apps.'com.example']\ntype = 'y'\nx.y = 1\n");
        let line = |path: &[&str]| lines.of_key(&path.iter().map(|&part| part.to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&["http", "bind"]), Some(3));
        assert_eq!(line(&["http", "workers"]), Some(2));
        assert_eq!(line(&["apps", "com.example", "type"]), Some(6));
        assert_eq!(line(&["apps", "com.example", "x", "y"]), Some(7));
        assert_eq!(line(&["email", "host"]), None);
        assert_eq!(Lines::of("[http").of_key(&["http".to_owned()]), None);
    }
}
