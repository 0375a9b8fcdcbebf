//! Renders templates in the two supported languages: Jinja (minijinja) and the older `%(name)s`.
//!
//! Invariant: a value is inserted once and never parsed as template text.

use std::collections::BTreeSet;
use std::sync::Arc;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};

use super::locale::Locale;
use super::percent;
use super::syntax::Syntax;
use super::variables::{Variables, escape_html, escape_url};

/// minijinja selects the escaping by template name.
const HTML: &str = "html";
const PLAIN: &str = "plain";

/// The parts that the built-in mails have in common.
const PARTS: [(&str, &str); 3] = [
    ("mail_head.html.j2", include_str!("../../../templates/mail_head.html.j2")),
    ("mail_foot.html.j2", include_str!("../../../templates/mail_foot.html.j2")),
    ("mail_foot.txt.j2", include_str!("../../../templates/mail_foot.txt.j2")),
];

/// The functions that give the text of a message: `text("id")` and `html("id")`.
pub(super) const FUNCTIONS: [&str; 2] = ["text", "html"];

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
        // minijinja's own escaping differs from Jinja's: it also escapes the slash, which makes links unreadable, and
        // its urlencode filter escapes the tilde.
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
        for (name, source) in PARTS {
            // A template that includes a part with a mistake fails, and the tests render every template.
            let _ = jinja.add_template(name, source);
        }
        Self { jinja }
    }

    /// Renders a template with these values, and with the texts of `locale`.
    ///
    /// # Errors
    /// The mistake with its line; never a value.
    pub(super) fn render(
        &self,
        syntax: Syntax,
        source: &str,
        variables: &Variables,
        locale: &'static Locale,
    ) -> Result<String, String> {
        match syntax {
            Syntax::Jinja => self.render_jinja(HTML, source, variables, locale),
            Syntax::JinjaText => self.render_jinja(PLAIN, source, variables, locale),
            Syntax::Percent => Ok(percent::render(source, variables, str::to_owned)),
            Syntax::PercentHtml => Ok(percent::render(source, variables, escape_html)),
        }
    }

    /// The names of the values that a template of correct syntax uses.
    pub(super) fn names(&self, syntax: Syntax, source: &str) -> BTreeSet<String> {
        match syntax {
            Syntax::Jinja | Syntax::JinjaText => {
                let template = self.jinja.template_from_str(source);
                template.map_or_else(
                    |_| BTreeSet::new(),
                    |template| template.undeclared_variables(false).into_iter().collect(),
                )
            }
            Syntax::Percent | Syntax::PercentHtml => percent::names(source),
        }
    }

    /// The parts of values that a template uses, such as `mxid.localpart`: a value is a text and has none.
    pub(super) fn parts(&self, syntax: Syntax, source: &str) -> Vec<String> {
        let template = match syntax {
            Syntax::Jinja | Syntax::JinjaText => self.jinja.template_from_str(source).ok(),
            Syntax::Percent | Syntax::PercentHtml => None,
        };
        let names = template.map(|template| template.undeclared_variables(true)).unwrap_or_default();
        let parts: BTreeSet<String> = names.into_iter().filter(|name| name.contains('.')).collect();
        parts.into_iter().collect()
    }

    fn render_jinja(
        &self,
        name: &str,
        source: &str,
        variables: &Variables,
        locale: &'static Locale,
    ) -> Result<String, String> {
        let template = self.jinja.template_from_named_str(name, source).map_err(|error| mistake(&error))?;
        let shared = Arc::new(variables.clone());
        let values = shared.clone();
        let text = move |id: &str| locale.text(id, &values).map(Value::from).map_err(failed);
        let values = shared;
        let html = move |id: &str| locale.html(id, &values).map(Value::from_safe_string).map_err(failed);
        let functions = [("text", Value::from_function(text)), ("html", Value::from_function(html))];
        let values = variables.iter().map(|(name, value)| (name, Value::from(value))).chain(functions);
        template.render(Value::from_pairs(values)).map_err(|error| mistake(&error))
    }
}

/// A text that does not exist or lacks a value; the message names no value.
fn failed(mistake: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::UnknownFunction, mistake)
}

fn text_of(value: &Value) -> String {
    if value.is_undefined() || value.is_none() { String::new() } else { value.to_string() }
}

/// The kind and line of a mistake. minijinja's own message may quote a value, ours does not.
fn mistake(error: &minijinja::Error) -> String {
    let problem = match (error.kind(), error.detail()) {
        (ErrorKind::UnknownFunction, Some(detail)) => detail.to_owned(),
        // These are about the text of the template.
        (kind @ (ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownTest), Some(detail)) => {
            format!("{kind}: {detail}")
        }
        (kind, _) => kind.to_string(),
    };
    match error.line() {
        Some(line) => format!("line {line}: {problem}"),
        None => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::{Engine, Locale, Syntax, Variables};

    fn render(syntax: Syntax, source: &str, values: &[(&'static str, &str)]) -> String {
        let mut variables = Variables::default();
        for (name, value) in values {
            variables.set(name, value);
        }
        Engine::new().render(syntax, source, &variables, Locale::english()).unwrap()
    }

    #[test]
    fn both_languages_encode_urls_as_jinja_does() {
        let values = [("x", "a b/c~d+e&f'")];
        assert_eq!(render(Syntax::Jinja, "{{ x|urlencode }}", &values), "a%20b/c~d%2Be%26f%27");
        assert_eq!(render(Syntax::Percent, "%(x_forurl)s", &values), "a%20b/c~d%2Be%26f%27");
        assert_eq!(render(Syntax::Percent, "%(x_forurl)s", &[("x", "Ä")]), "%C3%84");
    }

    #[test]
    fn jinja_escapes_for_html_unless_a_value_is_marked_safe() {
        let values = [("x", "<a href=\"/b\">'&")];
        let escaped = "&lt;a href=&#34;/b&#34;&gt;&#39;&amp;";
        assert_eq!(render(Syntax::Jinja, "{{ x }}", &values), escaped);
        assert_eq!(render(Syntax::Jinja, "{{ x|e }}{{ x|escape|e }}", &values), [escaped, escaped].concat());
        assert_eq!(render(Syntax::Jinja, "{{ x|safe }}", &values), "<a href=\"/b\">'&");
    }

    #[test]
    fn the_names_of_a_template_are_found_in_both_languages() {
        let names = |syntax, source| Engine::new().names(syntax, source).into_iter().collect::<Vec<_>>().join(" ");
        assert_eq!(names(Syntax::Jinja, "{{ link }}{% if a.b %}{{ lnik|urlencode }}{% endif %}"), "a link lnik");
        assert_eq!(names(Syntax::Percent, "%(link_forhtml)s 100%% %(lnik)s %(x"), "link lnik");
    }

    #[test]
    fn unknown_variables_render_as_nothing() {
        assert_eq!(render(Syntax::Jinja, "[{{ x }}{{ x.y.z }}{{ x|urlencode }}{% if x %}!{% endif %}]", &[]), "[]");
        assert_eq!(render(Syntax::Percent, "[%(x)s%(x_forhtml)s%(x_forurl)s]", &[]), "[]");
    }

    #[test]
    fn percent_templates_have_four_forms_and_keep_the_rest() {
        let values = [("x", "<&>")];
        let source = "%(x)s %(x_forhtml)s %(x_forurl)s 100%% 5% %d %(x %(y y)s %";
        assert_eq!(render(Syntax::Percent, source, &values), "<&> &lt;&amp;&gt; %3C%26%3E 100% 5% %d %(x %(y y)s %");
        assert_eq!(render(Syntax::PercentHtml, "%(x)s %%", &values), "&lt;&amp;&gt; %");
    }

    #[test]
    fn a_value_is_never_parsed_as_template_text() {
        for text in ["{{ y }}", "{% raw %}", "%(y)s", "%%", "{#"] {
            let values = [("x", text), ("y", "LEAK")];
            assert_eq!(render(Syntax::Jinja, "{{ x|safe }}", &values), text);
            assert_eq!(render(Syntax::Percent, "%(x)s", &values), text);
        }
    }

    #[test]
    fn values_lose_control_and_formatting_characters() {
        let values = [("x", "a\r\n\0\u{85}b\u{202e}c\u{2066}\u{2029}d\te")];
        assert_eq!(render(Syntax::Percent, "%(x)s", &values), "a b c d e");
        assert_eq!(render(Syntax::Jinja, "{{ x }}", &values), "a b c d e");
    }

    #[test]
    fn a_mistake_names_its_line_and_no_value() {
        let mut variables = Variables::default();
        variables.set("x", "SECRET");
        for source in ["\n{{ x|nosuch }}", "\n{% if %}", "\n{{ x + 1 }}", "\n{{ text(x) }}", "\n{{ html('nosuch') }}"] {
            let error = Engine::new().render(Syntax::Jinja, source, &variables, Locale::english()).unwrap_err();
            assert!(error.contains("line 2") && !error.contains("SECRET"), "{error}");
        }
    }
}
