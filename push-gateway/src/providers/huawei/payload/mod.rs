//! The message for Push Kit (*push-scenariozed-api-request-struct*, *https-send-api*).
//!
//! Invariant: a message without its token never exceeds the limit, and names one token.

mod v1;
mod v3;

use std::borrow::Cow;

use serde_json::{Value, json};

use super::settings::{PushType, Settings, Version};
use crate::notification::call::Occasion;
use crate::notification::fit::{Parts, fit};
use crate::notification::{Device, Kind, Notification, Priority};
use crate::providers::flat_data::{Data, DataLayout, Flatten, Form, Measure};
use crate::providers::json_size::json_size;
use crate::providers::outcome::Reason;
use crate::providers::text_template::Texts;

/// The limit for a message without its token, in bytes.
pub(super) const LIMIT: usize = 4096;

/// How long Push Kit stores a nudge, in seconds.
const NUDGE_TTL: u64 = 60 * 60;

const FORM: Form = Form { layout: DataLayout::Flat, flatten: Flatten::Strings, measure: Measure::JsonInString };

/// The parts that all messages of an app have in common.
#[derive(Debug)]
pub(super) struct MessageTemplate {
    settings: Settings,
    texts: Texts,
}

/// A message, ready to be sent.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) body: Vec<u8>,
    /// Whether a part of `default_payload` was left out.
    pub(super) has_ignored_defaults: bool,
    /// Whether something was dropped or cut to make it fit.
    pub(super) is_shortened: bool,
}

/// What a message contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// Data alone.
    Data,
    /// Texts alone.
    Texts,
    DataAndTexts,
    /// A badge alone.
    Badge,
}

/// One message while it is composed.
struct Draft<'a> {
    notification: &'a Notification,
    device: &'a Device,
    occasion: Occasion,
    content: Content,
    /// Whether the message has identifiers alone.
    is_reduced: bool,
}

/// The values of a message that depend on the limit.
struct Filling<'a> {
    data: Cow<'a, str>,
    title: Cow<'a, str>,
    body: Cow<'a, str>,
}

impl MessageTemplate {
    pub(super) fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self { texts: settings.texts()?, settings: settings.clone() })
    }

    /// The message about `notification` for `device`, in `limit` bytes without its token.
    ///
    /// # Errors
    /// The reason why nothing is sent.
    pub(super) fn message(
        &self,
        notification: &Notification,
        device: &Device,
        occasion: Occasion,
        limit: usize,
    ) -> Result<Message, Reason> {
        let has_counts = notification.counts_for(device).is_some();
        let has_ids = notification.event_id.is_some() || notification.room_id.is_some();
        match (self.settings.push_type(), occasion, notification.kind) {
            (PushType::Voip, Occasion::Ring(_), _) => {}
            (PushType::Voip, Occasion::ExpiredCall, _) => return Err("call_expired"),
            (PushType::Voip, _, _) => return Err("not_a_call"),
            (_, Occasion::Nudge, _) => {}
            (_, _, Kind::Badge) if device.counts_disabled => return Err("badge_disabled"),
            (_, _, Kind::Full) if !has_ids && !has_counts => return Err("nothing_to_send"),
            (_, _, _) => {}
        }
        let content = self.content(notification, occasion);
        self.fitted(&Draft { notification, device, occasion, content, is_reduced: false }, limit)
    }

    /// The message that is sent if Push Kit rejects the full one: the identifiers alone. `None` if there are none.
    pub(super) fn reduced(&self, notification: &Notification, device: &Device, occasion: Occasion) -> Option<Message> {
        let has_ids = notification.event_id.is_some() || notification.room_id.is_some();
        if !matches!(notification.kind, Kind::Full | Kind::Ids) || !has_ids {
            return None;
        }
        let content = self.content(notification, occasion);
        self.fitted(&Draft { notification, device, occasion, content, is_reduced: true }, LIMIT).ok()
    }

    /// The kind of the message in its header (version 3).
    pub(super) fn push_type(&self, notification: &Notification, occasion: Occasion) -> Option<u8> {
        let number = match (self.settings.push_type(), occasion, notification.kind) {
            _ if self.settings.version == Version::V1 => return None,
            (PushType::Voip, _, _) => 10,
            (_, Occasion::Nudge, _) => 6,
            (PushType::Notification, _, _) | (_, _, Kind::Badge) => 0,
            (PushType::Data, _, _) => 6,
            (PushType::Extension, _, _) => 2,
        };
        Some(number)
    }

    fn content(&self, notification: &Notification, occasion: Occasion) -> Content {
        let is_badge = notification.kind == Kind::Badge;
        match (self.settings.version, self.settings.push_type(), occasion) {
            (_, _, Occasion::Nudge) => Content::Data,
            (Version::V1, _, _) if is_badge => Content::Data,
            (Version::V3, _, _) if is_badge => Content::Badge,
            (_, PushType::Data | PushType::Voip, _) => Content::Data,
            (Version::V3, PushType::Notification, _) => Content::Texts,
            (Version::V1, PushType::Notification, _) | (_, PushType::Extension, _) => Content::DataAndTexts,
        }
    }

    fn fitted(&self, draft: &Draft<'_>, limit: usize) -> Result<Message, Reason> {
        let Draft { notification, device, occasion, content, is_reduced } = *draft;
        let none = || Filling { data: Cow::Borrowed(""), title: Cow::Borrowed(""), body: Cow::Borrowed("") };
        // The token is between its quotes.
        let token = json_size(device.pushkey.as_str()) - 2;
        let room = limit.saturating_sub(json_size(&self.filled(draft, &none())) - token);
        // No extension of an ordinary app decrypts on arrival, so the texts say nothing about an encrypted event.
        let texts = if is_reduced || notification.is_encrypted_event() {
            [&self.texts.title_fallback, &self.texts.body_fallback].map(|text| Cow::Borrowed(text.as_str()))
        } else {
            [Cow::Owned(self.texts.title(notification)), Cow::Owned(self.texts.body(notification))]
        };
        let mut filling = none();
        let (mut has_ignored_defaults, mut is_shortened) = (false, false);
        if let Content::Data | Content::DataAndTexts = content {
            let has_texts = content == Content::DataAndTexts;
            let beside = [&*texts[0], &*texts[1]];
            let beside = if has_texts { &beside[..] } else { &[] };
            let data = match occasion {
                Occasion::Nudge => Data::nudge(device, FORM, room),
                _ if is_reduced => Data::ids(notification, FORM.measure),
                _ => Data::new(notification, device, FORM, room, beside).map_err(|_| "too_large")?,
            };
            (has_ignored_defaults, is_shortened) = (data.has_ignored_defaults, data.is_shortened);
            if has_texts {
                let fallback = [&self.texts.title_fallback, &self.texts.body_fallback];
                let text = |number: usize| match data.is_bare {
                    true => Cow::Owned(fallback[number].clone()),
                    false => Cow::Owned(data.cut(&texts[number]).into_owned()),
                };
                (filling.title, filling.body) = (text(0), text(1));
            }
            // Maps with string keys, and strings, always serialize.
            filling.data = Cow::Owned(serde_json::to_string(&data).unwrap_or_default());
        } else if content == Content::Texts {
            let cost = |text: &str| json_size(text) - 2;
            let parts = Parts {
                whole: cost(&texts[0]) + cost(&texts[1]),
                texts: vec![&texts[0], &texts[1]],
                ..Parts::default()
            };
            let plan = fit(room, parts, cost);
            is_shortened = plan.is_bare || plan.text_limit.is_some();
            let [title, body] = &texts;
            (filling.title, filling.body) = if plan.is_bare {
                (Cow::Borrowed(&*self.texts.title_fallback), Cow::Borrowed(&*self.texts.body_fallback))
            } else {
                (Cow::Owned(plan.text(title).into_owned()), Cow::Owned(plan.text(body).into_owned()))
            };
        }
        // Values always serialize.
        let body = serde_json::to_vec(&self.filled(draft, &filling)).unwrap_or_default();
        if body.len() - token > limit {
            return Err("too_large");
        }
        Ok(Message { body, has_ignored_defaults, is_shortened })
    }

    fn filled(&self, draft: &Draft<'_>, filling: &Filling<'_>) -> Value {
        match self.settings.version {
            Version::V1 => self.v1(draft, filling),
            Version::V3 => self.v3(draft, filling),
        }
    }

    /// How long Push Kit stores the message, in seconds.
    fn ttl(&self, occasion: Occasion) -> u64 {
        match occasion {
            Occasion::Ring(ring) => ring.seconds(),
            Occasion::Nudge => NUDGE_TTL,
            Occasion::Ordinary | Occasion::ExpiredCall => self.settings.ttl.get().as_secs(),
        }
    }
}

impl Draft<'_> {
    /// The sum of the counts, unless the message has identifiers alone.
    fn badge(&self) -> Option<u32> {
        let counts = self.notification.counts_for(self.device).filter(|_| !self.is_reduced);
        counts.map(crate::notification::Counts::total)
    }

    fn is_urgent(&self) -> bool {
        let is_high = self.notification.priority == Priority::High && self.notification.kind != Kind::Badge;
        is_high && self.occasion != Occasion::Nudge || self.occasion.ring().is_some()
    }

    /// The identifiers as an object.
    fn ids(&self) -> Value {
        let mut ids = json!({});
        if let Kind::Full | Kind::Ids = self.notification.kind {
            for (key, value) in [("event_id", &self.notification.event_id), ("room_id", &self.notification.room_id)] {
                if let Some(value) = value {
                    ids[key] = value.as_str().into();
                }
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests;
