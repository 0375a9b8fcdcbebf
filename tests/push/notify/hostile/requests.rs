//! Generated requests: every value in every field, and mixtures of a valid request.
//!
//! Invariant: bodies are built as text, because no JSON library writes invalid JSON.

use harness::generator::Generator;
use serde_json::Value;

use super::values::{BROKEN, VALUES};

/// JSON before it is written, or invalid text.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    /// The text in the body.
    Text(String),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
}

impl From<&Value> for Tree {
    fn from(value: &Value) -> Self {
        match value {
            Value::Object(members) => {
                Self::Object(members.iter().map(|(key, value)| (key.clone(), value.into())).collect())
            }
            Value::Array(items) => Self::List(items.iter().map(Self::from).collect()),
            other => Self::Text(other.to_string()),
        }
    }
}

impl Tree {
    pub(super) fn write(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text);
        text
    }

    fn write_to(&self, text: &mut String) {
        match self {
            Self::Text(value) => text.push_str(value),
            Self::List(items) => {
                text.push('[');
                for (place, item) in items.iter().enumerate() {
                    text.push_str(if place > 0 { "," } else { "" });
                    item.write_to(text);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (place, (key, value)) in members.iter().enumerate() {
                    text.push_str(if place > 0 { "," } else { "" });
                    text.push_str(&Value::from(key.as_str()).to_string());
                    text.push(':');
                    value.write_to(text);
                }
                text.push('}');
            }
        }
    }

    /// Sets `value` at `path`: names, and 0 for the first item of a list. Creates missing parts of the path.
    pub(super) fn put(&mut self, path: &[&str], value: &str) {
        let [first, rest @ ..] = path else {
            *self = Self::Text(value.to_owned());
            return;
        };
        match self {
            Self::List(items) => {
                if let Some(item) = items.first_mut() {
                    item.put(rest, value);
                }
            }
            Self::Object(members) => {
                let place = members.iter().position(|(key, _)| key == first).unwrap_or_else(|| {
                    members.push(((*first).to_owned(), Self::Object(Vec::new())));
                    members.len() - 1
                });
                members[place].1.put(rest, value);
            }
            Self::Text(_) => {
                *self = Self::Object(Vec::new());
                self.put(path, value);
            }
        }
    }

    /// Changes one place that the generator chooses.
    pub(super) fn mutate(&mut self, generator: &mut Generator, names: &[&str]) {
        let go_deeper = generator.below(4) > 0;
        match self {
            Self::List(items) if go_deeper && !items.is_empty() => {
                let place = generator.below(items.len());
                match generator.below(8) {
                    0 => drop(items.remove(place)),
                    1 => items.push(items[place].clone()),
                    _ => items[place].mutate(generator, names),
                }
            }
            Self::Object(members) if go_deeper && !members.is_empty() => {
                let place = generator.below(members.len());
                match generator.below(10) {
                    0 => drop(members.remove(place)),
                    1 => members.push((members[place].0.clone(), Self::Text(value(generator)))),
                    2 => members[place].0 = generator.pick(names).to_owned(),
                    3 => members.push((generator.pick(names).to_owned(), Self::Text(value(generator)))),
                    4 => members.insert(
                        generator.below(place + 1),
                        (generator.pick(names).to_owned(), members[place].1.clone()),
                    ),
                    _ => members[place].1.mutate(generator, names),
                }
            }
            _ => match generator.below(3) {
                0 => *self = Self::List(vec![self.clone(); generator.below(3)]),
                _ => *self = Self::Text(value(generator)),
            },
        }
    }
}

/// One value that the generator chooses.
fn value(generator: &mut Generator) -> String {
    match generator.below(60) {
        0 => generator.pick(&BROKEN).to_owned(),
        1 => {
            let unit = generator.pick(&["x", "é", "🪨", r"\n", r"\u0000", r#"\""#]).to_owned();
            format!("\"{}\"", unit.repeat(generator.below(6_000)))
        }
        2 => {
            let levels = generator.below(80);
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
        _ => generator.pick(&VALUES).to_owned(),
    }
}
