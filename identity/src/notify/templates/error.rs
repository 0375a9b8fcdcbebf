//! What is wrong with an operator's template, at start or with one message.
//!
//! Invariant: no error shows a value.

use std::path::PathBuf;

use super::locale::Locale;

/// An operator's template that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// A folder or file cannot be read.
    #[error("[templates] dir: cannot read {path}: {source}")]
    Unreadable {
        /// The folder or file.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// There are no texts in the default language.
    #[error(
        "[templates] default_language: there are no texts in {tag:?}; expected one of {}",
        Locale::all().iter().map(Locale::tag).collect::<Vec<_>>().join(", ")
    )]
    UnknownLanguage {
        /// The language of the configuration.
        tag: String,
    },
    /// A template does not parse or render.
    #[error("[templates] dir: {path}: {mistake}")]
    Mistake {
        /// The template's file.
        path: PathBuf,
        /// The problem and its line.
        mistake: String,
    },
}

/// A template failed with the values of one message.
#[derive(Debug, thiserror::Error)]
#[error("the template for {kind} failed: {mistake}")]
pub struct TemplateError {
    pub(super) kind: &'static str,
    /// The problem and its line; never a value.
    pub(super) mistake: String,
}
