//! What an operator should know of his templates before users depend on them, for the start and for check-config.
//!
//! Invariant: a notice stops nothing; an old folder of templates works as it did.

use std::path::Path;

use super::audience::language_name;
use super::engine::{Engine, FUNCTIONS};
use super::syntax::Syntax;
use super::{Source, TemplateKind};

/// Endings of the files that are taken for templates, and of no others.
const ENDINGS: [&str; 4] = [".eml", ".eml.j2", ".sms", ".sms.j2"];

/// Links to other servers.
pub(super) fn of_links(path: &Path, foreign: &[String], base_url: &str) -> Vec<String> {
    let notice = |foreign: &String| {
        format!(
            "{}: links to {foreign}, which would get invitation keys or validation tokens; {base_url} replaces it. Write \
             {{{{ signurl }}}} in an invitation and {{{{ link }}}} in a validation mail instead of a sign-ed25519 or \
             submitToken link",
            path.display()
        )
    };
    foreign.iter().map(notice).collect()
}

/// Names without a value, and a template that does not show what it is for.
pub(super) fn of_template(
    engine: &Engine,
    path: &Path,
    kind: TemplateKind,
    source: &Source,
    shows_purpose: bool,
) -> Vec<String> {
    let path = path.display();
    let mut notices = Vec::new();
    let is_known = |name: &String| FUNCTIONS.contains(&name.as_str()) || kind.variables().any(|known| known == name);
    let mut unknown: Vec<String> = engine.names(source.syntax, &source.text).into_iter().collect();
    unknown.retain(|name| !is_known(name));
    let parts = engine.parts(source.syntax, &source.text).into_iter();
    unknown.extend(parts.filter(|part| part.split('.').next().is_some_and(|name| is_known(&name.to_owned()))));
    if !unknown.is_empty() {
        notices.push(format!("{path}: no value has the name {}; it stays empty", unknown.join(", ")));
    }
    if !shows_purpose {
        let value = |name: &str| match source.syntax {
            Syntax::Jinja | Syntax::JinjaText => format!("{{{{ {name} }}}}"),
            Syntax::Percent | Syntax::PercentHtml => format!("%({name})s"),
        };
        notices.push(match kind {
            TemplateKind::VerificationMail => {
                format!("{path}: has no link, so no address can be validated; write {}", value("link"))
            }
            TemplateKind::InviteMail => {
                format!("{path}: has no link, so an invited person cannot join; write {}", value("link"))
            }
            TemplateKind::Page | TemplateKind::MigrationMail | TemplateKind::Sms => {
                format!("{path}: does not show the result of a validation; write {}", value("message"))
            }
        });
    }
    notices
}

/// A folder below `dir` that no request can name.
pub(super) fn of_impossible_brand(folder: &Path) -> String {
    format!(
        "[templates] dir: {} is not used: the name of a brand has only letters, digits and the characters - _ .; rename it",
        folder.display()
    )
}

/// A folder in a brand without templates for a language that clients ask for.
pub(super) fn of_language(folder: &Path, name: &str, known: &[(&str, Syntax)]) -> Option<String> {
    // Primary tags have two letters, three if there is no shorter one, and "xx" is none.
    let primary = name.split(['-', '_']).next().unwrap_or_default();
    let is_tag =
        language_name(name).is_some() && (2..=3).contains(&primary.len()) && !primary.eq_ignore_ascii_case("xx");
    let has_template = known.iter().any(|(file, _)| folder.join(file).exists());
    (!is_tag && has_template).then(|| {
        format!(
            "[templates] dir: {} is not used by any client: a folder in a brand is named as a language, such as de or pt-BR",
            folder.display()
        )
    })
}

/// Templates that are in no folder of a brand.
pub(super) fn of_files_without_brand(dir: &Path, known: &[(&str, Syntax)]) -> Option<String> {
    let (name, _) = known.iter().find(|(name, _)| dir.join(name).exists())?;
    Some(format!(
        "[templates] dir: {} is not used: templates are in a folder for each brand; move it to such a folder, and set \
         default_brand to the name of the folder",
        dir.join(name).display()
    ))
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
