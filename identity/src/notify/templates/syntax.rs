//! The languages in which templates are written.

/// The language of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Jinja with HTML escaping.
    Jinja,
    /// Jinja for plain text, without escaping.
    JinjaText,
    /// `%(name)s`, `%(name_forhtml)s`, `%(name_forurl)s`, `%%`.
    Percent,
    /// `%(name)s` and `%%`, with each value escaped for HTML.
    PercentHtml,
}
