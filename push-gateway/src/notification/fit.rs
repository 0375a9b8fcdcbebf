//! Shrinks a payload to the limit of a push service.
//!
//! Invariant: identifiers and counts always stay, and no part that fits is dropped. The time is that of sorting the keys.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashSet;

use super::cut::cut;

/// The minimum length of a cut text, before all texts are left out.
const MIN_TEXT: usize = 16;

/// A key that may be left out of a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Droppable<'a> {
    /// Its name in its object.
    pub(crate) key: &'a str,
    /// The bytes that it takes in the payload.
    pub(crate) bytes: usize,
}

/// The parts of a payload before it is fitted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parts<'a> {
    /// The size of the whole payload.
    pub(crate) whole: usize,
    /// The keys of `content` other than `body` and `msgtype`.
    pub(crate) content: Vec<Droppable<'a>>,
    /// The keys of the default payload.
    pub(crate) default_payload: Vec<Droppable<'a>>,
    /// `content.body`, `room_name`, `room_alias`, `sender_display_name`, as far as present.
    pub(crate) texts: Vec<&'a str>,
}

/// What to leave out of a payload so that it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan<'a> {
    /// The keys of `content` to leave out.
    pub(crate) without_content: HashSet<&'a str>,
    /// The keys of the default payload to leave out.
    pub(crate) without_default_payload: HashSet<&'a str>,
    /// The length in bytes to which the four texts are cut; `None` to keep them whole.
    pub(crate) text_limit: Option<usize>,
    /// Whether only identifiers and counts are left. Then the other fields are meaningless.
    pub(crate) is_bare: bool,
}

impl Plan<'_> {
    /// One of the four texts as it appears in the payload.
    pub(crate) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.text_limit.map_or(Cow::Borrowed(text), |limit| cut(text, limit))
    }
}

/// Plans a payload of `parts` with at most `limit` bytes. `cost` is the number of bytes that a text takes in it.
pub(crate) fn fit<'a>(limit: usize, parts: Parts<'a>, cost: impl Fn(&str) -> usize) -> Plan<'a> {
    let mut plan = Plan::default();
    if parts.whole <= limit {
        return plan;
    }
    let Parts { whole, content, default_payload, mut texts } = parts;
    texts.sort_by_key(|text| text.len());
    let texts_bytes = |max: usize| texts.iter().map(|text| cost(&cut(text, max))).sum::<usize>();
    let uncut: usize = texts.iter().map(|text| cost(text)).sum();

    let mut size = whole;
    plan.without_content = drop_largest(content, &mut size, |size| size <= limit);
    if size <= limit {
        return plan;
    }
    let shortest = texts_bytes(MIN_TEXT);
    let fits_cut = |size: usize| size.saturating_sub(uncut) + shortest <= limit;
    plan.without_default_payload = drop_largest(default_payload, &mut size, fits_cut);
    if !fits_cut(size) {
        return Plan { is_bare: true, ..Plan::default() };
    }
    if size > limit {
        let room = limit - size.saturating_sub(uncut);
        let longest = texts.last().map_or(MIN_TEXT, |text| text.len().max(MIN_TEXT));
        // The texts grow with the limit: a binary search finds the largest one that fits.
        let (mut fits, mut too_long) = (MIN_TEXT, longest);
        while too_long - fits > 1 {
            let middle = fits + (too_long - fits) / 2;
            if texts_bytes(middle) <= room { fits = middle } else { too_long = middle }
        }
        plan.text_limit = Some(fits);
    }
    plan
}

/// Which keys of `content` with these sizes [`fit`] may keep within `limit`, independent of the other parts. It keeps the
/// smallest, and of equal ones the later. For content with thousands of keys this saves naming and sorting them for each of
/// many devices.
pub(crate) fn may_stay(sizes: &[usize], limit: usize) -> Vec<bool> {
    if sizes.iter().sum::<usize>() <= limit {
        return vec![true; sizes.len()];
    }
    let mut of_size = vec![0_usize; limit + 1];
    for &size in sizes {
        if let Some(number) = of_size.get_mut(size) {
            *number += 1;
        }
    }
    let mut room = limit;
    for (size, number) in of_size.iter_mut().enumerate().skip(1) {
        let fit = (room / size).min(*number);
        // If one of these is dropped, every larger one is too.
        room = if fit < *number { 0 } else { room - fit * size };
        *number = fit;
    }
    let mut stays = vec![false; sizes.len()];
    for (&size, stays) in sizes.iter().zip(&mut stays).rev() {
        if let Some(number) = of_size.get_mut(size).filter(|number| **number > 0) {
            *number -= 1;
            *stays = true;
        }
    }
    stays
}

/// Drops the largest keys, of equal ones the earlier, until `is_enough`; lowers `size` by each.
fn drop_largest<'a>(
    mut keys: Vec<Droppable<'a>>,
    size: &mut usize,
    is_enough: impl Fn(usize) -> bool,
) -> HashSet<&'a str> {
    let mut dropped = HashSet::new();
    if is_enough(*size) {
        return dropped;
    }
    keys.sort_by_key(|key| Reverse(key.bytes));
    for Droppable { key, bytes } in keys {
        if is_enough(*size) {
            break;
        }
        dropped.insert(key);
        *size = size.saturating_sub(bytes);
    }
    dropped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Droppable, Parts, Plan, fit, may_stay};

    /// Keys with the sizes of their values, texts with theirs, and so much besides.
    fn parts<'a>(
        content: &[(&'a str, usize)],
        payload: &[(&'a str, usize)],
        texts: &[&'a str],
        rest: usize,
    ) -> Parts<'a> {
        let keys = |keys: &[(&'a str, usize)]| -> Vec<Droppable<'a>> {
            keys.iter().map(|&(key, bytes)| Droppable { key, bytes }).collect()
        };
        let (content, default_payload) = (keys(content), keys(payload));
        let whole = content.iter().chain(&default_payload).map(|key| key.bytes).sum::<usize>();
        let whole = whole + texts.iter().map(|text| text.len()).sum::<usize>() + rest;
        Parts { whole, content, default_payload, texts: texts.to_vec() }
    }

    /// The size that `plan` leads to.
    fn size(parts: &Parts<'_>, plan: &Plan<'_>) -> usize {
        let dropped = |keys: &[Droppable<'_>], without: &std::collections::HashSet<&str>| -> usize {
            keys.iter().filter(|key| without.contains(key.key)).map(|key| key.bytes).sum()
        };
        let cut: usize = parts.texts.iter().map(|text| text.len() - plan.text(text).len()).sum();
        parts.whole
            - dropped(&parts.content, &plan.without_content)
            - dropped(&parts.default_payload, &plan.without_default_payload)
            - cut
    }

    #[test]
    fn a_payload_that_fits_is_unchanged() {
        let parts = parts(&[("a", 50)], &[("b", 50)], &["text"], 10);
        assert_eq!(fit(114, parts.clone(), str::len), Plan::default());
        assert_ne!(fit(113, parts, str::len), Plan::default());
    }

    #[test]
    fn content_is_dropped_first_largest_first_and_only_as_needed() {
        let parts = parts(&[("small", 10), ("large", 100), ("middle", 50)], &[("cs", 200)], &["text"], 10);
        let plan = fit(parts.whole - 101, parts, str::len);
        assert!(plan.without_content.contains("large") && plan.without_content.contains("middle"));
        assert_eq!((plan.without_content.len(), plan.without_default_payload.len(), plan.text_limit), (2, 0, None));
    }

    #[test]
    fn texts_are_cut_before_the_default_payload_is_dropped() {
        let (body, name) = ("x".repeat(300), "y".repeat(40));
        let parts = parts(&[("a", 20)], &[("cs", 100)], &[&body, &name], 10);
        let plan = fit(250, parts.clone(), str::len);
        assert_eq!((plan.without_content.len(), plan.without_default_payload.len()), (1, 0));
        assert_eq!(plan.text_limit, Some(100));
        assert_eq!(size(&parts, &plan), 250);
    }

    #[test]
    fn the_default_payload_is_dropped_only_for_texts_of_sixteen_bytes() {
        let body = "x".repeat(300);
        let parts = parts(&[], &[("large", 200), ("small", 100)], &[&body], 10);
        let plan = fit(126, parts.clone(), str::len);
        assert!(plan.without_default_payload.contains("large") && plan.without_default_payload.len() == 1);
        assert_eq!(plan.text_limit, Some(16));
        let plan = fit(125, parts, str::len);
        assert_eq!(plan.without_default_payload.len(), 2);
        assert_eq!(plan.text_limit, Some(115));
    }

    #[test]
    fn of_too_many_keys_the_smallest_may_stay_and_of_equal_ones_the_later() {
        assert_eq!(may_stay(&[4, 3, 4], 11), [true, true, true]);
        assert_eq!(may_stay(&[4, 3, 4], 10), [false, true, true]);
        assert_eq!(may_stay(&[9, 2, 3, 5, 2, 100], 6), [false, true, false, false, true, false]);
        assert_eq!(may_stay(&[0, 1, 0], 0), [true, false, true]);
    }

    #[test]
    fn in_the_last_resort_only_identifiers_and_counts_are_left() {
        let body = "x".repeat(300);
        assert!(fit(100, parts(&[("a", 50)], &[("b", 50)], &[&body], 90), str::len).is_bare);
    }

    #[test]
    fn the_cost_of_a_text_is_what_it_takes_in_the_payload() {
        // Each quotation mark takes two bytes once it is written as JSON.
        let body = "\"".repeat(100);
        let cost = |text: &str| text.len() + text.matches('"').count();
        let parts = Parts { whole: 210, texts: vec![&body], ..Parts::default() };
        let plan = fit(100, parts, cost);
        assert!(10 + cost(&plan.text(&body)) <= 100);
        assert_eq!(plan.text_limit, Some(46));
    }

    proptest! {
        #[test]
        fn keys_that_may_not_stay_would_be_dropped(
            content in prop::collection::vec(0..40_usize, 0..30),
            texts in prop::collection::vec("[aé😀]{0,40}", 0..4),
            rest in 0..100_usize,
            limit in 0..300_usize,
        ) {
            let names: Vec<String> = (0..30).map(|n| n.to_string()).collect();
            let keys: Vec<(&str, usize)> = names.iter().map(String::as_str).zip(content.iter().copied()).collect();
            let stay = may_stay(&content, limit);
            let few: Vec<(&str, usize)> = keys.iter().zip(stay).filter(|(_, stays)| *stays).map(|(key, _)| *key).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let kept = |keys: &[(&str, usize)]| {
                let plan = fit(limit, parts(keys, &[], &texts, rest), str::len);
                let kept: Vec<String> =
                    keys.iter().filter(|key| !plan.without_content.contains(key.0)).map(|key| key.0.to_owned()).collect();
                if plan.is_bare { (Vec::new(), None) } else { (kept, plan.text_limit) }
            };
            prop_assert_eq!(kept(&keys), kept(&few));
        }

        #[test]
        fn it_fits_or_is_bare_and_one_byte_more_of_text_would_not(
            content in prop::collection::vec(0..200_usize, 0..8),
            payload in prop::collection::vec(0..200_usize, 0..8),
            texts in prop::collection::vec("[aé😀]{0,80}", 0..4),
            rest in 0..100_usize,
            limit in 0..600_usize,
        ) {
            let names: Vec<String> = (0..8).map(|n| n.to_string()).collect();
            let keys = |sizes: &[usize]| -> Vec<(&str, usize)> {
                names.iter().map(String::as_str).zip(sizes.iter().copied()).collect()
            };
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let parts = parts(&keys(&content), &keys(&payload), &texts, rest);
            let plan = fit(limit, parts.clone(), str::len);
            if plan.is_bare {
                let least = Plan {
                    without_content: parts.content.iter().map(|key| key.key).collect(),
                    without_default_payload: parts.default_payload.iter().map(|key| key.key).collect(),
                    text_limit: Some(16),
                    is_bare: false,
                };
                prop_assert!(size(&parts, &least) > limit);
            } else {
                prop_assert!(size(&parts, &plan) <= limit);
                if let Some(max) = plan.text_limit {
                    let more = Plan { text_limit: Some(max + 1), ..plan };
                    prop_assert!(size(&parts, &more) > limit);
                }
            }
        }
    }
}
