//! The lines of a configuration file's keys.
//!
//! Invariant: holds names and numbers only, no value.

use std::collections::HashMap;

use toml::de::{DeTable, DeValue};

use super::key;
use super::value::{Table, Value};

/// The line of each key, by its path.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(HashMap<Vec<String>, usize>);

impl Lines {
    /// The table of a TOML text, and the lines of its keys.
    ///
    /// # Errors
    /// Every mistake in the syntax, with its line.
    pub(super) fn parse(text: &str) -> Result<(Table, Self), Vec<(usize, String)>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut lines = Self::default();
        lines.add(text, table.get_ref(), &[]);
        if errors.is_empty() {
            return Ok((Value::table(table.get_ref()), lines));
        }
        let mut mistakes: Vec<(usize, String)> = Vec::new();
        for error in errors {
            let line = line_at(text, error.span().map_or(0, |span| span.start));
            // Further errors in one line are consequences.
            if mistakes.last().is_none_or(|(last, _)| *last != line) {
                let part = error.span().and_then(|span| text.get(span)).unwrap_or_default();
                let problem = match error.message() {
                    "duplicate key" => "set twice; keep one of them",
                    other => other,
                };
                let mut path = lines.path_at(line);
                let is_header = text.lines().nth(line - 1).is_some_and(|line| line.trim_start().starts_with('['));
                if error.message() == "duplicate key" && !is_header && path.last().is_none_or(|last| last != part) {
                    path.push(part.to_owned());
                }
                let name = key::print(&path.iter().map(|part| key::quoted(part)).collect::<Vec<_>>());
                let name = if name.is_empty() { name } else { format!("{name}: ") };
                mistakes.push((line, format!("{name}{problem}")));
            }
        }
        mistakes.sort();
        Err(mistakes)
    }

    /// The line of the key, if the file has it.
    pub(super) fn of(&self, path: &[String]) -> Option<usize> {
        self.0.get(path).copied()
    }

    /// The path of the key in this line, else of the section around it.
    fn path_at(&self, line: usize) -> Vec<String> {
        let before = self.0.iter().filter(|(_, of_key)| **of_key <= line);
        let Some((path, of_key)) = before.max_by_key(|(path, of_key)| (**of_key, path.len())) else {
            return Vec::new();
        };
        // A line without a readable key belongs to the section of the key above it.
        let is_section = self.0.keys().any(|other| other.len() > path.len() && other.starts_with(path));
        let length = if *of_key == line || is_section { path.len() } else { path.len() - 1 };
        path[..length].to_vec()
    }

    fn add(&mut self, text: &str, table: &DeTable<'_>, above: &[String]) {
        for (key, value) in table {
            let path: Vec<String> = above.iter().cloned().chain([key.get_ref().clone().into_owned()]).collect();
            match value.get_ref() {
                DeValue::Table(below) => self.add(text, below, &path),
                // Tables in a list: `[[section]]`.
                DeValue::Array(entries) => {
                    for below in entries.iter().filter_map(|entry| entry.get_ref().as_table()) {
                        self.add(text, below, &path);
                    }
                }
                _ => {}
            }
            self.0.insert(path, line_at(text, key.span().start));
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).bytes().filter(|&byte| byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::Lines;

    #[test]
    fn a_key_has_its_line() {
        let text = "# a\n[http]\nbind = 'x'\n\n[apps.'com.example']\ntype = 'y'\nx.y = 1\n";
        let Ok((_, lines)) = Lines::parse(text) else { panic!("is TOML") };
        let line = |path: &[&str]| lines.of(&path.iter().map(|&part| part.to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&["http", "bind"]), Some(3));
        assert_eq!(line(&["http"]), Some(2));
        assert_eq!(line(&["http", "workers"]), None);
        assert_eq!(line(&["apps", "com.example", "type"]), Some(6));
        assert_eq!(line(&["apps", "com.example", "x", "y"]), Some(7));
    }

    #[test]
    fn every_mistake_in_the_syntax_has_its_line_and_its_key() {
        let text = "[http]\nport = 1\nport = 2\n[email]\nhost = mx\npassword 'hunter2'\n[log\n";
        let mistakes = Lines::parse(text).err().unwrap();
        let lines: Vec<usize> = mistakes.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [3, 5, 6, 7], "{mistakes:?}");
        assert_eq!(mistakes[0].1, "[http] port: set twice; keep one of them");
        assert!(mistakes[1].1.starts_with("[email]"), "{mistakes:?}");
        assert!(mistakes.iter().all(|(_, text)| !text.contains("hunter2")));
    }
}
