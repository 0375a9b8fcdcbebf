//! The two languages that a template may be written in: Jinja, and the older `%(name)s`.
//!
//! Invariant: a value is put in once and never read as template text again.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::domain::shown_text::plain;

/// The language of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Jinja with HTML escaping.
    Jinja,
    /// Jinja for plain text, with no escaping.
    JinjaText,
    /// `%(name)s`, `%(name_forhtml)s`, `%(name_forurl)s`, `%%`.
    Percent,
    /// `%(name)s` and `%%`, with each value escaped for HTML.
    PercentHtml,
}

/// What a template may name. Unknown names are empty.
#[derive(Clone, Debug, Default)]
pub(in crate::notify) struct Variables(BTreeMap<&'static str, String>);

impl Variables {
    /// Adds a value. Each run of control and bidirectional formatting characters in it becomes one space: no value can
    /// start a line, end a header or turn the text around it.
    pub(in crate::notify) fn set(&mut self, name: &'static str, value: &str) {
        self.0.insert(name, plain(value));
    }

    /// The value of that name.
    pub(super) fn find(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A value for each name that a template may use, to try a template with.
    pub(super) fn sample() -> Self {
        const NAMES: &str = "date from to messageid multipart_boundary link token ipaddress ephemeral_private_key \
            subject_header_value web_client_location address medium room_id room_alias room_avatar_url room_join_rules \
            room_name bracketed_room_name room_type sender bracketed_verified_sender sender_avatar_url \
            sender_display_name guest_user_id guest_access_token signurl public_base_url register_url mxid message";
        Self(NAMES.split_whitespace().map(|name| (name, String::from("sample"))).collect())
    }
}

/// What the engine knows templates by, to tell which of them are escaped.
const HTML: &str = "html";
const PLAIN: &str = "plain";

/// Renders templates of every syntax.
#[derive(Debug)]
pub(super) struct Engine {
    jinja: Environment<'static>,
}

impl Engine {
    pub(super) fn new() -> Self {
        let mut jinja = Environment::new();
        jinja.set_auto_escape_callback(|name| if name == PLAIN { AutoEscape::None } else { AutoEscape::Html });
        jinja.set_undefined_behavior(UndefinedBehavior::Chainable);
        // minijinja also escapes the slash, which Jinja does not: links would become unreadable.
        jinja.set_formatter(|out, state, value| {
            let text = text_of(value);
            let is_plain = value.is_safe() || matches!(state.auto_escape(), AutoEscape::None);
            let written = if is_plain { out.write_str(&text) } else { out.write_str(&escape_html(&text)) };
            written.map_err(minijinja::Error::from)
        });
        for name in ["e", "escape"] {
            jinja.add_filter(name, |value: Value| match value.is_safe() {
                true => value,
                false => Value::from_safe_string(escape_html(&text_of(&value))),
            });
        }
        jinja.add_filter("urlencode", |value: Value| escape_url(&text_of(&value)));
        Self { jinja }
    }

    /// The text that a template gives with these values.
    ///
    /// # Errors
    /// The template's mistake, with its line; never a value.
    pub(super) fn render(&self, syntax: Syntax, source: &str, variables: &Variables) -> Result<String, String> {
        match syntax {
            Syntax::Jinja | Syntax::JinjaText => {
                let name = if syntax == Syntax::JinjaText { PLAIN } else { HTML };
                let template = self.jinja.template_from_named_str(name, source).map_err(|error| mistake(&error))?;
                template
                    .render(Value::from_pairs(variables.0.iter().map(|(name, value)| (*name, value.as_str()))))
                    .map_err(|error| mistake(&error))
            }
            Syntax::Percent => Ok(percent(source, variables, str::to_owned)),
            Syntax::PercentHtml => Ok(percent(source, variables, escape_html)),
        }
    }
}

fn text_of(value: &Value) -> String {
    if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() }
}

/// The kind and the place of the mistake. The error's own text may quote a value.
fn mistake(error: &minijinja::Error) -> String {
    match error.line() {
        Some(line) => format!("line {line}: {}", error.kind()),
        None => error.kind().to_string(),
    }
}

/// Replaces `%(name)s` and `%%`. A `%` that starts neither stays.
fn percent(source: &str, variables: &Variables, plain: impl Fn(&str) -> String) -> String {
    let mut text = String::with_capacity(source.len());
    let mut rest = source;
    while let Some((before, after)) = rest.split_once('%') {
        text.push_str(before);
        let named = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
        rest = match named.filter(|(name, _)| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
            Some((name, after)) => {
                text.push_str(&value(variables, name, &plain));
                after
            }
            None => {
                text.push('%');
                after.strip_prefix('%').unwrap_or(after)
            }
        };
    }
    text.push_str(rest);
    text
}

fn value(variables: &Variables, name: &str, plain: impl Fn(&str) -> String) -> String {
    let find = |name: &str| variables.find(name);
    if let Some(value) = find(name) {
        plain(value)
    } else if let Some(value) = name.strip_suffix("_forhtml").and_then(find) {
        escape_html(value)
    } else if let Some(value) = name.strip_suffix("_forurl").and_then(find) {
        escape_url(value)
    } else {
        String::new()
    }
}

/// Escapes for HTML text and quoted attributes, with the entities that Jinja uses.
pub(super) fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Percent-encodes everything but the unreserved characters of RFC 3986 and the slash.
fn escape_url(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                escaped.push(char::from(byte));
            }
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Engine, Syntax, Variables};

    fn render(syntax: Syntax, source: &str, values: &[(&'static str, &str)]) -> String {
        let mut variables = Variables::default();
        for (name, value) in values {
            variables.set(name, value);
        }
        Engine::new().render(syntax, source, &variables).unwrap()
    }

    #[test]
    fn the_vector_for_urlencode_holds_in_both_languages() {
        let values = [("x", "a b/c~d+e&f'")];
        assert_eq!(render(Syntax::Jinja, "{{ x|urlencode }}", &values), "a%20b/c~d%2Be%26f%27");
        assert_eq!(render(Syntax::Percent, "%(x_forurl)s", &values), "a%20b/c~d%2Be%26f%27");
        assert_eq!(render(Syntax::Percent, "%(x_forurl)s", &[("x", "Ä")]), "%C3%84");
    }

    #[test]
    fn jinja_escapes_for_html_unless_told_that_it_is_safe() {
        let values = [("x", "<a href=\"/b\">'&")];
        let escaped = "&lt;a href=&#34;/b&#34;&gt;&#39;&amp;";
        assert_eq!(render(Syntax::Jinja, "{{ x }}", &values), escaped);
        assert_eq!(render(Syntax::Jinja, "{{ x|e }}{{ x|escape|e }}", &values), [escaped, escaped].concat());
        assert_eq!(render(Syntax::Jinja, "{{ x|safe }}", &values), "<a href=\"/b\">'&");
    }

    #[test]
    fn unknown_variables_are_empty() {
        assert_eq!(render(Syntax::Jinja, "[{{ x }}{{ x.y.z }}{{ x|urlencode }}{% if x %}!{% endif %}]", &[]), "[]");
        assert_eq!(render(Syntax::Percent, "[%(x)s%(x_forhtml)s%(x_forurl)s]", &[]), "[]");
    }

    #[test]
    fn the_older_language_knows_four_forms_and_leaves_the_rest() {
        let values = [("x", "<&>")];
        let source = "%(x)s %(x_forhtml)s %(x_forurl)s 100%% 5% %d %(x %(y y)s %";
        assert_eq!(render(Syntax::Percent, source, &values), "<&> &lt;&amp;&gt; %3C%26%3E 100% 5% %d %(x %(y y)s %");
        assert_eq!(render(Syntax::PercentHtml, "%(x)s %%", &values), "&lt;&amp;&gt; %");
    }

    #[test]
    fn a_value_is_never_read_as_template_text() {
        for text in ["{{ y }}", "{% raw %}", "%(y)s", "%%", "{#"] {
            let values = [("x", text), ("y", "LEAK")];
            assert_eq!(render(Syntax::Jinja, "{{ x|safe }}", &values), text);
            assert_eq!(render(Syntax::Percent, "%(x)s", &values), text);
        }
    }

    #[test]
    fn values_lose_what_controls_instead_of_being_shown() {
        let values = [("x", "a\r\n\0\u{85}b\u{202e}c\u{2066}\u{2029}d\te")];
        assert_eq!(render(Syntax::Percent, "%(x)s", &values), "a b c d e");
        assert_eq!(render(Syntax::Jinja, "{{ x }}", &values), "a b c d e");
    }

    #[test]
    fn a_mistake_names_its_line_and_no_value() {
        let mut variables = Variables::default();
        variables.set("x", "SECRET");
        for source in ["\n{{ x|nosuch }}", "\n{% if %}", "\n{{ x + 1 }}"] {
            let error = Engine::new().render(Syntax::Jinja, source, &variables).unwrap_err();
            assert!(error.contains("line 2") && !error.contains("SECRET"), "{error}");
        }
    }
}
