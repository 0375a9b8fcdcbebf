//! What an operator should know of his templates before users depend on them, for the start and for check-config.
//!
//! Invariant: a notice stops nothing; an old folder of templates works as it did.

use std::path::Path;

use super::engine::{Engine, FUNCTIONS};
use super::syntax::Syntax;
use super::{Source, TemplateKind};

/// Endings of the files that are taken for templates, and of no others.
const ENDINGS: [&str; 4] = [".eml", ".eml.j2", ".sms", ".sms.j2"];

/// Links to other servers, names without a value, and a mail without its link.
pub(super) fn of_template(
    engine: &Engine,
    path: &Path,
    kind: TemplateKind,
    source: &Source,
    foreign: &[String],
    base_url: &str,
) -> Vec<String> {
    let path = path.display();
    let mut notices: Vec<String> = foreign
        .iter()
        .map(|foreign| {
            format!(
                "{path}: links to {foreign}, which would get invitation keys or validation tokens; {base_url} replaces it. \
                 Write {{{{ signurl }}}} in an invitation and {{{{ link }}}} in a validation mail instead of a sign-ed25519 \
                 or submitToken link"
            )
        })
        .collect();
    let names = engine.names(source.syntax, &source.text);
    let is_known = |name: &str| FUNCTIONS.contains(&name) || kind.variables().any(|known| known == name);
    let unknown: Vec<&str> = names.iter().map(String::as_str).filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        notices.push(format!("{path}: no value has the name {}; it stays empty", unknown.join(", ")));
    }
    if kind == TemplateKind::VerificationMail && !names.contains("link") && !names.contains("token") {
        notices.push(format!("{path}: has no link, so no address can be validated; write {{{{ link }}}}"));
    }
    let joins = ["link", "signurl", "ephemeral_private_key"];
    if kind == TemplateKind::InviteMail && !joins.iter().any(|name| names.contains(*name)) {
        notices.push(format!("{path}: has no link, so an invited person cannot join; write {{{{ link }}}}"));
    }
    notices
}

/// Files in a folder of templates whose names no template has.
pub(super) fn of_files(folder: &Path, known: &[(&str, Syntax)]) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut unused: Vec<String> = names
        .filter(|name| ENDINGS.iter().any(|ending| name.ends_with(ending)))
        .filter(|name| known.iter().all(|(known, _)| known != name))
        .collect();
    unused.sort();
    let notice = |name: String| format!("{}: not used, because no template has this name", folder.join(name).display());
    unused.into_iter().map(notice).collect()
}

/// A folder of templates without the brand that is used unless a client names another one.
pub(super) fn of_folder(dir: &Path, default_brand: &str, brands: &[String]) -> Option<String> {
    if brands.iter().any(|brand| brand == default_brand) {
        return None;
    }
    Some(format!(
        "[templates] default_brand: {} has no folder {default_brand:?}, so mails have the built-in text; name one of its \
         folders ({})",
        dir.display(),
        if brands.is_empty() { "it has none".to_owned() } else { brands.join(", ") }
    ))
}
