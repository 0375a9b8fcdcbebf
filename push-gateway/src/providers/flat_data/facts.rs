//! The entries of `data`: the values of a notification, each under its key, and the app's own defaults.
//!
//! Invariant: a value from outside has at most 1024 bytes; a value that is useless in part is whole or missing.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{DataLayout, Flatten, Measure};
use crate::notification::cut::cut;
use crate::notification::fit::may_stay;
use crate::notification::{Counts, Device, Kind, Notification, Priority};

/// The limit for one value, in bytes.
const MAX_VALUE: usize = 1024;

/// The prefix of the keys of `content`.
const CONTENT: &str = "content_";

/// One key of `data`.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: Cow<'a, str>,
    pub(super) part: Part,
}

/// The priority of an entry when not all of them fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An identifier or a count: stays in every case.
    Kept,
    /// Stays unless only the identifiers and counts fit.
    Plain,
    /// A text that may be cut.
    Text,
    /// A value of `content` other than its text: is dropped first.
    Content,
    /// A value of the app's `default_payload`: is dropped second.
    Default,
}

/// Collects entries: the defaults first, because later entries override them.
#[derive(Default)]
pub(super) struct Facts<'a> {
    pub(super) list: Vec<Entry<'a>>,
    pub(super) has_ignored_defaults: bool,
    /// Whether a too long value was cut or left out.
    pub(super) has_cut: bool,
}

impl<'a> Facts<'a> {
    /// Adds the app's defaults whose value passes `wanted`. `aps` has its own place in a message.
    pub(super) fn add_defaults(&mut self, device: &'a Device, wanted: impl Fn(&Value) -> bool) {
        for (key, value) in device.default_payload().into_iter().flatten() {
            let text = match value {
                _ if key == "aps" || !wanted(value) => continue,
                _ if is_reserved(key) => {
                    self.has_ignored_defaults = true;
                    continue;
                }
                Value::Null => continue,
                Value::String(text) => Cow::Borrowed(text.as_str()),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Cow::Owned(value.to_string()),
            };
            self.add_text(Cow::Borrowed(key), text, Part::Default);
        }
    }

    /// Adds the values of the notification, and how the app shows it.
    pub(super) fn add_facts(&mut self, notification: &'a Notification, device: &'a Device, layout: DataLayout) {
        let kind = notification.kind;
        self.add_ids(notification);
        if kind == Kind::Full {
            self.add("type", notification.event_type.as_deref(), Part::Plain);
            self.add("sender", notification.sender.as_deref(), Part::Plain);
            self.add("room_name", notification.room_name.as_deref(), Part::Text);
            self.add("room_alias", notification.room_alias.as_deref(), Part::Text);
            self.add("sender_display_name", notification.sender_display_name.as_deref(), Part::Text);
        }
        if kind == Kind::Full && layout == DataLayout::Flat {
            self.add("membership", notification.membership.as_deref(), Part::Plain);
            let is_target = notification.user_is_target.map(|is_target| if is_target { "true" } else { "false" });
            self.add("user_is_target", is_target, Part::Plain);
        }
        if kind == Kind::Encrypted
            && let Some(encrypted) = &notification.encrypted
        {
            // Decryption needs every byte: these are whole or missing.
            self.push("ciphertext", Cow::Borrowed(&encrypted.ciphertext), Part::Kept);
            self.push("ephemeral", Cow::Borrowed(encrypted.ephemeral.as_deref().unwrap_or_default()), Part::Kept);
            self.push("mac", Cow::Borrowed(encrypted.mac.as_deref().unwrap_or_default()), Part::Kept);
        }
        let is_high = kind != Kind::Badge && notification.priority == Priority::High;
        self.add("prio", Some(if is_high { "high" } else { "normal" }), Part::Kept);
        if let Some(mut counts) = notification.counts_for(device) {
            if kind == Kind::Badge {
                // A badge update without a count clears the badge.
                counts.unread = Some(counts.unread.unwrap_or(0));
            }
            match layout {
                DataLayout::Flat => self.add_counts(counts, kind),
                DataLayout::Json => self.push("counts", Cow::Owned(counts_as_json(counts)), Part::Kept),
            }
        }
        if matches!(kind, Kind::Full | Kind::Ids) && layout == DataLayout::Flat {
            self.add("sound", device.tweaks.get("sound").and_then(Value::as_str), Part::Plain);
            let is_highlight = !matches!(device.tweaks.get("highlight"), None | Some(Value::Null | Value::Bool(false)));
            self.add("highlight", is_highlight.then_some("true"), Part::Plain);
        }
    }

    /// Adds the identifiers.
    pub(super) fn add_ids(&mut self, notification: &'a Notification) {
        if matches!(notification.kind, Kind::Full | Kind::Ids) {
            self.add("event_id", notification.event_id.as_deref(), Part::Kept);
            self.add("room_id", notification.room_id.as_deref(), Part::Kept);
        }
    }

    /// Adds the mark of a badge update without its counts.
    pub(super) fn add_nudge(&mut self) {
        self.push("nudge", Cow::Borrowed("1"), Part::Kept);
    }

    /// Leaves out a zero, except in a badge update.
    fn add_counts(&mut self, counts: Counts, kind: Kind) {
        if let Some(unread) = counts.unread.filter(|&unread| unread > 0 || kind == Kind::Badge) {
            self.push("unread", Cow::Owned(unread.to_string()), Part::Kept);
        }
        if let Some(missed_calls) = counts.missed_calls.filter(|&calls| calls > 0) {
            self.push("missed_calls", Cow::Owned(missed_calls.to_string()), Part::Kept);
        }
    }

    /// Adds `content_<key>` for each value that is a text, or that `flatten` writes as one, as far as `budget` allows.
    pub(super) fn add_content(
        &mut self,
        notification: &'a Notification,
        flatten: Flatten,
        measure: Measure,
        budget: usize,
    ) {
        let mut others = Vec::new();
        for (key, value) in notification.content.iter().flatten() {
            let text = match (value, flatten) {
                (Value::String(text), _) => Cow::Borrowed(text.as_str()),
                (Value::Bool(_) | Value::Number(_), Flatten::Scalars) => Cow::Owned(value.to_string()),
                _ => continue,
            };
            match key.as_str() {
                "body" => self.add_text(Cow::Borrowed("content_body"), text, Part::Text),
                "msgtype" => self.add_text(Cow::Borrowed("content_msgtype"), text, Part::Plain),
                // A part of it is undecryptable.
                "ciphertext" if text.len() > MAX_VALUE => self.has_cut = true,
                _ if text.is_empty() => {}
                _ => others.push((key, self.shortened(text))),
            }
        }
        let sizes: Vec<usize> = others.iter().map(|(key, text)| CONTENT.len() + measure.entry(key, text)).collect();
        for ((key, text), stays) in others.into_iter().zip(may_stay(&sizes, budget)) {
            if stays {
                self.list.push(Entry { key: Cow::Owned([CONTENT, key].concat()), value: text, part: Part::Content });
            } else {
                self.has_cut = true;
            }
        }
    }

    /// Adds `content` as JSON text, if it is short.
    pub(super) fn add_content_as_json(&mut self, notification: &'a Notification) {
        if let Some(content) = &notification.content {
            match short_json(content) {
                Some(text) => self.push("content", Cow::Owned(text), Part::Content),
                None => self.has_cut = true,
            }
        }
    }

    /// Adds `devices`: the list of this one device, without its pushkey; if that is too long, without the app's defaults
    /// (which `data` contains already), then without its `data`.
    pub(super) fn add_device(&mut self, device: &'a Device) {
        let list = |with_data: bool, with_defaults: bool| {
            let mut member = json!({"app_id": device.app_id});
            if let Some(seconds) = device.pushkey_ts {
                member["pushkey_ts"] = json!(seconds);
            }
            if with_data {
                let mut data = device.data.clone();
                if !with_defaults {
                    data.remove("default_payload");
                }
                member["data"] = Value::Object(data);
                member["tweaks"] = Value::Object(device.tweaks.clone());
            }
            json!([member])
        };
        let forms = [(true, true), (true, false), (false, false)];
        let text = forms.iter().find_map(|&(data, defaults)| short_json(&list(data, defaults)));
        // Matrix Dart SDK apps fail without it, so it stays in the reduced forms.
        self.push("devices", Cow::Owned(text.unwrap_or_default()), Part::Kept);
    }

    fn add(&mut self, key: &'static str, value: Option<&'a str>, part: Part) {
        if let Some(value) = value {
            self.add_text(Cow::Borrowed(key), Cow::Borrowed(value), part);
        }
    }

    fn add_text(&mut self, key: Cow<'a, str>, text: Cow<'a, str>, part: Part) {
        if key.is_empty() || text.is_empty() {
            return;
        }
        let value = self.shortened(text);
        self.list.push(Entry { key, value, part });
    }

    fn shortened(&mut self, text: Cow<'a, str>) -> Cow<'a, str> {
        if text.len() <= MAX_VALUE {
            return text;
        }
        self.has_cut = true;
        Cow::Owned(cut(&text, MAX_VALUE).into_owned())
    }

    fn push(&mut self, key: &'static str, value: Cow<'a, str>, part: Part) {
        if !value.is_empty() {
            self.list.push(Entry { key: Cow::Borrowed(key), value, part });
        }
    }

    /// The entries; a default gives way to another entry with its key.
    pub(super) fn into_entries(mut self) -> Vec<Entry<'a>> {
        let is_default = |entry: &Entry<'_>| entry.part == Part::Default;
        if self.list.iter().any(is_default) {
            let ours: HashSet<&str> =
                self.list.iter().filter(|entry| !is_default(entry)).map(|entry| &*entry.key).collect();
            let stays: Vec<bool> =
                self.list.iter().map(|entry| !is_default(entry) || !ours.contains(&*entry.key)).collect();
            let mut stays = stays.into_iter();
            self.list.retain(|_| stays.next().unwrap_or(true));
        }
        self.list
    }
}

/// Whether FCM refuses this key of `data` (*projects.messages*: "should not be a reserved word").
fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type" | "gcm") || key.starts_with("google") || key.starts_with("gcm.")
}

fn counts_as_json(counts: Counts) -> String {
    let mut object = Map::new();
    let members = [("unread", counts.unread), ("missed_calls", counts.missed_calls)];
    object.extend(members.into_iter().filter_map(|(key, count)| Some((key.to_owned(), json!(count?)))));
    Value::Object(object).to_string()
}

/// JSON text that fits into one value; the serializer stops where it is too long.
fn short_json(value: &impl Serialize) -> Option<String> {
    let mut text = Short(Vec::new());
    serde_json::to_writer(&mut text, value).ok()?;
    String::from_utf8(text.0).ok()
}

/// A buffer for one value.
struct Short(Vec<u8>);

impl io::Write for Short {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_VALUE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
