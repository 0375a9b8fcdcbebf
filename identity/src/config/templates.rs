//! `[templates]`: the operator's own texts for mails and pages.
//!
//! Invariant: nothing from a request becomes part of a path; a brand is a name that is looked up among those found here.

use std::path::PathBuf;

use serde::Deserialize;

/// The section `[templates]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemplatesConfig {
    /// A folder with one folder for each brand; absent for the built-in texts alone.
    pub dir: Option<PathBuf>,
    /// The brand of a request that names none, or one that does not exist.
    pub default_brand: String,
    /// Whether a template that renders to a whole message is sent as it is, its headers included.
    pub raw_messages: bool,
}

impl Default for TemplatesConfig {
    fn default() -> Self {
        // The default of Sydent, so that its template directory works where it stands.
        Self { dir: None, default_brand: String::from("matrix-org"), raw_messages: false }
    }
}
