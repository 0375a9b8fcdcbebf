//! Requests that are made up: every field as everything, and mixtures of a valid one by dice.
//!
//! Invariant: bodies are put together as texts, because no JSON library writes what is no JSON.

use harness::dice::Dice;
use serde_json::Value;

use super::values::{BROKEN, VALUES};

/// JSON before it is written, or something like it.
#[derive(Clone, Debug)]
pub(super) enum Tree {
    /// As it stands in the body.
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

    /// `value` at `path`: names, and 0 for the first of a list. What is missing on the way there is made.
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

    /// Changes one place that the dice choose.
    pub(super) fn mutate(&mut self, dice: &mut Dice, names: &[&str]) {
        let go_deeper = dice.roll(4) > 0;
        match self {
            Self::List(items) if go_deeper && !items.is_empty() => {
                let place = dice.roll(items.len());
                match dice.roll(8) {
                    0 => drop(items.remove(place)),
                    1 => items.push(items[place].clone()),
                    _ => items[place].mutate(dice, names),
                }
            }
            Self::Object(members) if go_deeper && !members.is_empty() => {
                let place = dice.roll(members.len());
                match dice.roll(10) {
                    0 => drop(members.remove(place)),
                    1 => members.push((members[place].0.clone(), Self::Text(value(dice)))),
                    2 => members[place].0 = dice.pick(names).to_owned(),
                    3 => members.push((dice.pick(names).to_owned(), Self::Text(value(dice)))),
                    4 => members.insert(dice.roll(place + 1), (dice.pick(names).to_owned(), members[place].1.clone())),
                    _ => members[place].1.mutate(dice, names),
                }
            }
            _ => match dice.roll(3) {
                0 => *self = Self::List(vec![self.clone(); dice.roll(3)]),
                _ => *self = Self::Text(value(dice)),
            },
        }
    }
}

/// One value that the dice choose.
fn value(dice: &mut Dice) -> String {
    match dice.roll(60) {
        0 => dice.pick(&BROKEN).to_owned(),
        1 => {
            let unit = dice.pick(&["x", "é", "🪨", r"\n", r"\u0000", r#"\""#]).to_owned();
            format!("\"{}\"", unit.repeat(dice.roll(6_000)))
        }
        2 => {
            let levels = dice.roll(80);
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
        _ => dice.pick(&VALUES).to_owned(),
    }
}
