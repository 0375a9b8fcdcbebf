//! The `data` of a message to an Android app: flat strings, from the notification and the app's own defaults.
//!
//! Invariant: every value is a string, FCM accepts every key, and the entries together never exceed the budget.

mod facts;

use std::borrow::Cow;

use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};

use self::facts::{Entry, Facts, Part};
use crate::notification::cut::cut;
use crate::notification::fit::{Droppable, Parts, fit};
use crate::notification::{Device, Kind, Notification};

/// `flatten`: the values of `content` that become `content_…` in `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flatten {
    #[default]
    Strings,
    /// Also numbers and booleans, as text.
    Scalars,
}

/// `data_layout`: the form of `data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DataLayout {
    /// One key for each value.
    #[default]
    Flat,
    /// `counts`, `content` and `devices` as JSON text, as apps on the Matrix Dart SDK read them.
    Json,
}

/// How much of a limit an entry takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Key and value, as FCM counts.
    KeysAndValues,
    /// JSON text within a string of JSON.
    JsonInString,
}

/// The form of `data`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) layout: DataLayout,
    pub(crate) flatten: Flatten,
    pub(crate) measure: Measure,
}

/// The limit for a default value in the reduced form, in bytes.
const MAX_REDUCED: usize = 256;

/// The `data` of a message.
#[derive(Debug)]
pub(crate) struct Data<'a> {
    entries: Vec<Entry<'a>>,
    measure: Measure,
    /// The length in bytes to which texts were cut.
    text_limit: Option<usize>,
    /// Whether only identifiers and counts are left.
    pub(crate) is_bare: bool,
    /// Whether defaults were left out because FCM would refuse the message for them.
    pub(crate) has_ignored_defaults: bool,
    /// Whether something was dropped or cut to make it fit.
    pub(crate) is_shortened: bool,
}

/// The data cannot be cut to the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl<'a> Data<'a> {
    /// The data about `notification` for `device`, within `budget` bytes together with the texts `beside` it in the message.
    ///
    /// # Errors
    /// [`TooLarge`] for an encrypted notification, which cannot be cut.
    pub(crate) fn new(
        notification: &'a Notification,
        device: &'a Device,
        form: Form,
        budget: usize,
        beside: &[&str],
    ) -> Result<Self, TooLarge> {
        let Form { layout, flatten, measure } = form;
        let mut facts = Facts::default();
        facts.add_defaults(device, |_| true);
        facts.add_facts(notification, device, layout);
        if notification.kind == Kind::Full {
            match layout {
                DataLayout::Flat => facts.add_content(notification, flatten, measure, budget),
                DataLayout::Json => facts.add_content_as_json(notification),
            }
        }
        if layout == DataLayout::Json {
            facts.add_device(device);
        }
        let has_cut = facts.has_cut;
        let mut data = Self::of(facts, measure);
        match notification.kind {
            Kind::Encrypted if data.size(beside) > budget => return Err(TooLarge),
            Kind::Encrypted => {}
            Kind::Full | Kind::Ids | Kind::Badge | Kind::Relayed => data.fit(budget, beside),
        }
        data.is_shortened |= has_cut;
        Ok(data)
    }

    /// The data of a silent push without counts: the app's own defaults, by which it finds its account.
    pub(crate) fn nudge(device: &'a Device, form: Form, budget: usize) -> Self {
        let mut facts = Facts::default();
        facts.add_defaults(device, |_| true);
        facts.add_nudge();
        if form.layout == DataLayout::Json {
            facts.add_device(device);
        }
        let mut data = Self::of(facts, form.measure);
        data.fit(budget, &[]);
        data
    }

    /// The reduced form: identifiers, counts, priority, and short strings of the app.
    pub(crate) fn reduced(notification: &'a Notification, device: &'a Device, form: Form, budget: usize) -> Self {
        let mut facts = Facts::default();
        facts.add_defaults(device, |value| value.as_str().is_some_and(|text| text.len() <= MAX_REDUCED));
        facts.add_facts(notification, device, form.layout);
        if form.layout == DataLayout::Json {
            facts.add_device(device);
        }
        facts.list.retain(|entry| matches!(entry.part, Part::Kept | Part::Default));
        let mut data = Self::of(facts, form.measure);
        data.fit(budget, &[]);
        data
    }

    /// The identifiers alone.
    pub(crate) fn ids(notification: &'a Notification, measure: Measure) -> Self {
        let mut facts = Facts::default();
        facts.add_ids(notification);
        Self::of(facts, measure)
    }

    /// A text beside the data, cut as those in it.
    pub(crate) fn cut<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.text_limit.map_or(Cow::Borrowed(text), |limit| cut(text, limit))
    }

    fn of(facts: Facts<'a>, measure: Measure) -> Self {
        let has_ignored_defaults = facts.has_ignored_defaults;
        let entries = facts.into_entries();
        Self { entries, measure, text_limit: None, is_bare: false, has_ignored_defaults, is_shortened: false }
    }

    fn size(&self, beside: &[&str]) -> usize {
        let entries: usize = self.entries.iter().map(|entry| self.measure.entry(&entry.key, &entry.value)).sum();
        entries + self.measure.frame() + beside.iter().map(|text| self.measure.text(text)).sum::<usize>()
    }

    fn fit(&mut self, budget: usize, beside: &[&str]) {
        let (whole, measure) = (self.size(beside), self.measure);
        if whole <= budget {
            return;
        }
        let of = |part: Part| self.entries.iter().filter(move |entry| entry.part == part);
        let droppable = |part: Part| {
            of(part)
                .map(|entry| Droppable { key: &entry.key, bytes: measure.entry(&entry.key, &entry.value) })
                .collect()
        };
        let texts = of(Part::Text).map(|entry| &*entry.value).chain(beside.iter().copied()).collect();
        let parts =
            Parts { whole, content: droppable(Part::Content), default_payload: droppable(Part::Default), texts };
        let plan = fit(budget, parts, |text| measure.text(text));
        let stays = |entry: &&Entry<'_>| match entry.part {
            Part::Kept => true,
            _ if plan.is_bare => false,
            Part::Content => !plan.without_content.contains(&*entry.key),
            Part::Default => !plan.without_default_payload.contains(&*entry.key),
            Part::Plain | Part::Text => true,
        };
        let entries = self.entries.iter().filter(stays).cloned().map(|mut entry| {
            if entry.part == Part::Text {
                entry.value = Cow::Owned(plan.text(&entry.value).into_owned());
            }
            entry
        });
        let entries = entries.collect();
        (self.text_limit, self.is_bare) = (plan.text_limit, plan.is_bare);
        self.entries = entries;
        self.is_shortened = true;
    }
}

impl Measure {
    fn entry(self, key: &str, value: &str) -> usize {
        // Four quotes with their backslashes, a colon and a comma.
        let punctuation = if self == Self::JsonInString { 10 } else { 0 };
        self.text(key) + self.text(value) + punctuation
    }

    /// The braces, without the comma after the last entry.
    fn frame(self) -> usize {
        if self == Self::JsonInString { 1 } else { 0 }
    }

    fn text(self, text: &str) -> usize {
        match self {
            Self::KeysAndValues => text.len(),
            Self::JsonInString => text.bytes().map(in_string_in_json).sum(),
        }
    }
}

/// The bytes that a byte of a string takes after it was escaped twice.
fn in_string_in_json(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' => 4,
        b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 3,
        0x00..0x20 => 7,
        _ => 1,
    }
}

impl Serialize for Data<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.entries.len()))?;
        for entry in &self.entries {
            map.serialize_entry(&entry.key, &entry.value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Measure;

    proptest! {
        #[test]
        fn the_size_of_a_text_is_that_of_json_within_json(text in any::<String>()) {
            let inner = serde_json::to_string(&text).unwrap();
            let outer = serde_json::to_string(&inner[1..inner.len() - 1]).unwrap();
            prop_assert_eq!(Measure::JsonInString.text(&text), outer.len() - 2);
        }
    }
}
