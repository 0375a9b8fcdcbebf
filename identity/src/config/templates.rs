//! `[templates]`: the operator's own templates for mails, SMS and pages.
//!
//! Invariant: no part of a request becomes part of a path; a brand is looked up among the folders found here.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::operator::Operator;

/// The section `[templates]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplatesConfig {
    /// A folder with one folder for each brand. Default: the built-in templates alone.
    pub dir: Option<PathBuf>,
    /// The brand of requests without a brand or with an unknown one.
    pub default_brand: String,
    /// Whether a template that renders a whole message is sent unchanged, headers included.
    pub raw_messages: bool,
    /// The language of requests that ask for none, and of mails without a request; default: English.
    pub default_language: Option<String>,
    /// Who runs this server, by `[server]`.
    #[serde(skip)]
    pub operator: Operator,
}

impl Default for TemplatesConfig {
    fn default() -> Self {
        // Sydent's default, so that its template folder works unchanged.
        Self {
            dir: None,
            default_brand: String::from("matrix-org"),
            raw_messages: false,
            default_language: None,
            operator: Operator::default(),
        }
    }
}

impl TemplatesConfig {
    pub(super) fn complete(mut self, base: &Path, operator: &Operator) -> Self {
        self.operator = operator.clone();
        self.dir = self.dir.map(|dir| base.join(dir));
        self
    }
}
