//! The texts for people in each language: the Fluent messages in `identity/locales/<language>/`.
//!
//! Invariant: every language has every message, with the same variables. A text is never half in another language.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};

use super::variables::Variables;

/// The languages. Each has the direction in which it is written, and its files.
macro_rules! languages {
    ($($tag:literal $direction:literal)*) => {
        [$(($tag, $direction, [
            include_str!(concat!("../../../locales/", $tag, "/common.ftl")),
            include_str!(concat!("../../../locales/", $tag, "/mails.ftl")),
            include_str!(concat!("../../../locales/", $tag, "/pages.ftl")),
            include_str!(concat!("../../../locales/", $tag, "/sms.ftl")),
        ])),*]
    };
}

/// The first is the language of a request that asks for none of the others.
const SOURCES: [(&str, &str, [&str; 4]); 14] = languages! {
    "en" "ltr" "ar" "rtl" "cs" "ltr" "de" "ltr" "es" "ltr" "fr" "ltr" "it" "ltr" "ja" "ltr" "nl" "ltr" "pl" "ltr"
    "pt-BR" "ltr" "sv" "ltr" "uk" "ltr" "zh-Hans" "ltr"
};

static LOCALES: LazyLock<Vec<Locale>> = LazyLock::new(|| SOURCES.iter().map(Locale::parse).collect());

/// The texts of one language.
pub struct Locale {
    tag: &'static str,
    direction: &'static str,
    bundle: FluentBundle<FluentResource>,
    /// The variables of each message.
    messages: HashMap<&'static str, BTreeSet<&'static str>>,
}

impl Locale {
    /// English.
    pub fn english() -> &'static Self {
        &LOCALES[0]
    }

    /// All languages, English first.
    pub fn all() -> &'static [Self] {
        &LOCALES
    }

    /// The language of a tag in lower case, by the whole tag or by its primary subtag.
    pub(super) fn find(tag: &str) -> Option<&'static Self> {
        let primary = |locale: &Self| locale.tag.split('-').next() == Some(tag);
        let exact = LOCALES.iter().find(|locale| locale.tag.eq_ignore_ascii_case(tag));
        exact.or_else(|| LOCALES.iter().find(|locale| primary(locale)))
    }

    /// The tag (RFC 5646), for the attribute `lang` and the field Content-Language.
    pub fn tag(&self) -> &'static str {
        self.tag
    }

    /// The value of the attribute `dir`.
    pub fn direction(&self) -> &'static str {
        self.direction
    }

    /// The message `id` as plain text. In a text from right to left each value is isolated, so that it keeps its order.
    ///
    /// # Errors
    /// The mistake: an unknown message, or a variable without a value.
    pub fn text(&self, id: &str, variables: &Variables) -> Result<String, String> {
        let is_isolated = self.direction == "rtl";
        self.format(id, |name| {
            let value = variables.find(name)?;
            Some(if is_isolated { format!("\u{2068}{value}\u{2069}") } else { value.to_owned() })
        })
    }

    /// The message `id` as HTML. Each value is escaped and isolated.
    ///
    /// # Errors
    /// Those of [`Locale::text`].
    pub(super) fn html(&self, id: &str, variables: &Variables) -> Result<String, String> {
        self.format(id, |name| variables.html(name))
    }

    /// The message of a constant id and without variables.
    pub fn word(&self, id: &str) -> String {
        // The tests format every message of the built-in templates and pages.
        self.text(id, &Variables::default()).unwrap_or_default()
    }

    /// A duration in its largest unit of which there are at least two, rounded down; at least one minute.
    pub fn duration(&self, duration: Duration) -> String {
        let minutes = (duration.as_secs() + 30) / 60;
        let (unit, count) = match minutes {
            2880.. => ("duration-days", minutes / 1440),
            120.. => ("duration-hours", minutes / 60),
            _ => ("duration-minutes", minutes.max(1)),
        };
        let mut args = FluentArgs::new();
        args.set("count", count);
        self.pattern(unit, &args).unwrap_or_default()
    }

    fn format(&self, id: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
        let names = self.messages.get(id).ok_or("there is no text with this id")?;
        let mut args = FluentArgs::new();
        for name in names {
            args.set(*name, value(name).ok_or_else(|| format!("the text {id:?} needs a value of {name}"))?);
        }
        self.pattern(id, &args)
    }

    fn pattern(&self, id: &str, args: &FluentArgs<'_>) -> Result<String, String> {
        let message = self.bundle.get_message(id).and_then(|message| message.value());
        let message = message.ok_or("there is no text with this id")?;
        let mut mistakes = Vec::new();
        let text = self.bundle.format_pattern(message, Some(args), &mut mistakes).into_owned();
        if mistakes.is_empty() { Ok(text) } else { Err(format!("the text {id:?} does not format")) }
    }

    fn parse((tag, direction, sources): &(&'static str, &'static str, [&'static str; 4])) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![tag.parse().unwrap_or_default()]);
        // Isolation depends on the form of the output.
        bundle.set_use_isolating(false);
        for source in sources {
            // A test parses every file without a mistake.
            let resource = FluentResource::try_new((*source).to_owned()).unwrap_or_else(|(resource, _)| resource);
            bundle.add_resource_overriding(resource);
        }
        Self { tag, direction, bundle, messages: sources.iter().flat_map(|source| messages(source)).collect() }
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.tag)
    }
}

/// The messages of a file, with the names of their variables. A message starts at the start of a line.
fn messages(source: &'static str) -> Vec<(&'static str, BTreeSet<&'static str>)> {
    let mut messages: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for line in source.lines() {
        if line.starts_with(|c: char| c.is_ascii_alphabetic())
            && let Some((id, _)) = line.split_once(" =")
        {
            messages.push((id, BTreeSet::new()));
        }
        if let Some((_, variables)) = messages.last_mut() {
            variables.extend(line.split('$').skip(1).map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                &rest[..end]
            }));
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use fluent_bundle::FluentResource;

    use super::{Locale, SOURCES, Variables};
    use crate::domain::sms_text::one_message;

    #[test]
    fn every_language_has_every_message_with_the_same_variables() {
        let english: BTreeMap<_, _> = Locale::english().messages.iter().collect();
        assert!(english.len() > 60);
        for locale in Locale::all() {
            let messages: BTreeMap<_, _> = locale.messages.iter().collect();
            assert_eq!(messages, english, "{locale:?}");
        }
    }

    #[test]
    fn every_file_parses_and_has_no_markup_and_no_formatting_characters() {
        for (tag, _, sources) in &SOURCES {
            for source in sources {
                assert!(FluentResource::try_new((*source).to_owned()).is_ok(), "{tag}");
                let forbidden =
                    |c: char| "<>&".contains(c) || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}');
                assert!(!source.replace("->", "").contains(forbidden), "{tag}");
                assert!(!source.lines().any(|line| line.trim_end() != line), "{tag}: white space at the end of a line");
            }
        }
    }

    #[test]
    fn every_message_formats_in_every_language_and_contains_its_values() {
        for locale in Locale::all() {
            for (id, names) in &locale.messages {
                if names.contains("count") {
                    continue;
                }
                let mut variables = Variables::default();
                names.iter().for_each(|name| variables.set(name, &format!("<{name}>")));
                let (text, html) = (locale.text(id, &variables).unwrap(), locale.html(id, &variables).unwrap());
                for name in names {
                    assert!(text.contains(&format!("<{name}>")), "{locale:?} {id}: {text}");
                    assert!(html.contains(&format!("<bdi>&lt;{name}&gt;</bdi>")), "{locale:?} {id}: {html}");
                }
                assert!(!text.contains(['{', '}', '$']), "{locale:?} {id}: {text}");
                assert_eq!(locale.text(id, &Variables::default()).is_ok(), names.is_empty(), "{id}");
            }
        }
    }

    #[test]
    fn a_language_is_found_by_its_tag_or_its_primary_subtag() {
        for (tag, expected) in [
            ("de", Some("de")),
            ("pt", Some("pt-BR")),
            ("pt-br", Some("pt-BR")),
            ("zh", Some("zh-Hans")),
            ("zh-hans", Some("zh-Hans")),
            ("de-at", None),
            ("tlh", None),
            ("", None),
        ] {
            assert_eq!(Locale::find(tag).map(Locale::tag), expected, "{tag}");
        }
    }

    #[test]
    fn durations_have_the_plural_of_their_language() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        for (tag, duration, expected) in [
            ("en", hours(24), "24 hours"),
            ("en", hours(48), "2 days"),
            ("en", hours(24) - Duration::from_millis(1), "24 hours"),
            ("en", hours(1), "60 minutes"),
            ("en", Duration::ZERO, "1 minute"),
            ("pl", hours(2), "2 godziny"),
            ("pl", hours(5), "5 godzin"),
            ("pl", hours(22), "22 godziny"),
            ("cs", hours(72), "3 dny"),
            ("cs", hours(24 * 7), "7 dní"),
            ("uk", hours(24 * 21), "21 день"),
            ("uk", hours(24), "24 години"),
            ("ar", hours(2), "ساعتين"),
            ("ar", hours(24), "24 ساعة"),
            ("ja", hours(24), "24 時間"),
        ] {
            assert_eq!(Locale::find(tag).unwrap().duration(duration), expected, "{tag}");
        }
    }

    #[test]
    fn every_sms_fits_into_one_message_with_the_longest_code() {
        let mut variables = Variables::default();
        variables.set("token", "12345678");
        for locale in Locale::all() {
            let text = locale.text("sms-text", &variables).unwrap();
            let text = text.replace(['\u{2068}', '\u{2069}'], "");
            assert!(one_message(&text).is_ok(), "{text}");
        }
    }
}
