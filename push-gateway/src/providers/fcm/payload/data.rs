//! The `data` of a message: flat strings for the app, from the notification and the app's own defaults.
//!
//! Invariant: every value is a string, FCM accepts every key, and keys and values together never exceed the budget.

use std::borrow::Cow;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::super::settings::{DataLayout, Flatten};
use super::facts::{Entry, Facts, Part};
use crate::notification::fit::{Droppable, Parts, fit};
use crate::notification::{Device, Kind, Notification};

/// The limit for all keys and values of `data`, in bytes (*About FCM messages*: 4096 for the payload).
pub(super) const BUDGET: usize = 4096;

/// The limit for a default value in the reduced form, in bytes.
const MAX_REDUCED: usize = 256;

/// The `data` of a message.
#[derive(Debug)]
pub(super) struct Data<'a> {
    entries: Vec<Entry<'a>>,
    /// Whether defaults were left out because FCM would refuse the message for them.
    pub(super) has_ignored_defaults: bool,
    /// Whether something was dropped or cut to make it fit.
    pub(super) is_shortened: bool,
}

/// The data cannot be cut to the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl<'a> Data<'a> {
    /// The data about `notification` for `device`, within `budget` bytes.
    ///
    /// # Errors
    /// [`TooLarge`] for an encrypted notification, which cannot be cut.
    pub(super) fn new(
        notification: &'a Notification,
        device: &'a Device,
        layout: DataLayout,
        flatten: Flatten,
        budget: usize,
    ) -> Result<Self, TooLarge> {
        let mut facts = Facts::default();
        facts.add_defaults(device, |_| true);
        facts.add_facts(notification, device, layout);
        if notification.kind == Kind::Full {
            match layout {
                DataLayout::Flat => facts.add_content(notification, flatten, budget),
                DataLayout::Json => facts.add_content_as_json(notification),
            }
        }
        if layout == DataLayout::Json {
            facts.add_device(device);
        }
        let has_cut = facts.has_cut;
        let mut data = Self::of(facts);
        match notification.kind {
            Kind::Encrypted if size(&data.entries) > budget => return Err(TooLarge),
            Kind::Encrypted => {}
            Kind::Full | Kind::Ids | Kind::Badge => data.fit(budget),
        }
        data.is_shortened |= has_cut;
        Ok(data)
    }

    /// The data of a silent push without counts: the app's own defaults, by which it finds its account.
    pub(super) fn nudge(device: &'a Device, layout: DataLayout, budget: usize) -> Self {
        let mut facts = Facts::default();
        facts.add_defaults(device, |_| true);
        facts.add_nudge();
        if layout == DataLayout::Json {
            facts.add_device(device);
        }
        let mut data = Self::of(facts);
        data.fit(budget);
        data
    }

    /// The reduced form: identifiers, counts, priority, and short strings of the app.
    pub(super) fn reduced(
        notification: &'a Notification,
        device: &'a Device,
        layout: DataLayout,
        budget: usize,
    ) -> Self {
        let mut facts = Facts::default();
        facts.add_defaults(device, |value| value.as_str().is_some_and(|text| text.len() <= MAX_REDUCED));
        facts.add_facts(notification, device, layout);
        if layout == DataLayout::Json {
            facts.add_device(device);
        }
        facts.list.retain(|entry| matches!(entry.part, Part::Kept | Part::Default));
        let mut data = Self::of(facts);
        data.fit(budget);
        data
    }

    fn of(facts: Facts<'a>) -> Self {
        let has_ignored_defaults = facts.has_ignored_defaults;
        Self { entries: facts.into_entries(), has_ignored_defaults, is_shortened: false }
    }

    fn fit(&mut self, budget: usize) {
        let whole = size(&self.entries);
        if whole <= budget {
            return;
        }
        let of = |part: Part| self.entries.iter().filter(move |entry| entry.part == part);
        let droppable =
            |part: Part| of(part).map(|entry| Droppable { key: &entry.key, bytes: entry.size() }).collect::<Vec<_>>();
        let texts = of(Part::Text).map(|entry| &*entry.value).collect();
        let parts =
            Parts { whole, content: droppable(Part::Content), default_payload: droppable(Part::Default), texts };
        let plan = fit(budget, parts, str::len);
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
        self.entries = entries.collect();
        self.is_shortened = true;
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

fn size(entries: &[Entry<'_>]) -> usize {
    entries.iter().map(Entry::size).sum()
}
