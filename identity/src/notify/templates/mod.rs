//! The templates of mails, SMS and pages: the operator's by brand and language, else the built-in ones.
//!
//! Invariant: the server reads and renders every template once at start. A request reads no file, so a brand never
//! becomes a path.

mod audience;
mod engine;
mod notices;
mod own_links;
pub mod page;
mod percent;
mod sms;
mod variables;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use self::audience::Audience;
use self::audience::{is_brand, language_name};
use self::engine::{Engine, Syntax};
pub use self::variables::Variables;
use crate::config::sms::SmsConfig;
use crate::config::templates::TemplatesConfig;

/// One row for each kind of template. A further kind is a row here and its built-in file.
const ROWS: [Row; 5] = [
    Row {
        kind: TemplateKind::VerificationMail,
        files: &[("verification_template.eml.j2", Syntax::Jinja), ("verification_template.eml", Syntax::Percent)],
        built_in: include_str!("../../../templates/verification_template.eml.j2"),
    },
    Row {
        kind: TemplateKind::InviteMail,
        files: &[("invite_template.eml.j2", Syntax::Jinja), ("invite_template.eml", Syntax::Percent)],
        built_in: include_str!("../../../templates/invite_template.eml.j2"),
    },
    Row {
        kind: TemplateKind::MigrationMail,
        files: &[("migration_template.eml.j2", Syntax::Jinja), ("migration_template.eml", Syntax::Percent)],
        built_in: include_str!("../../../templates/migration_template.eml.j2"),
    },
    Row {
        kind: TemplateKind::Sms,
        files: &[("verification_template.sms.j2", Syntax::JinjaText), ("verification_template.sms", Syntax::Percent)],
        // `[sms] body_template` is the built-in text.
        built_in: "",
    },
    Row {
        kind: TemplateKind::Page,
        files: &[("verify_response_template.html", Syntax::PercentHtml)],
        built_in: include_str!("../../../templates/page.html.j2"),
    },
];

struct Row {
    kind: TemplateKind,
    /// The file names of the operator's template; the first that exists wins.
    files: &'static [(&'static str, Syntax)],
    /// The server's own template, in Jinja. That of a mail is a whole message.
    built_in: &'static str,
}

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TemplateKind {
    /// The mail that validates an address.
    VerificationMail,
    /// The mail that invites into a room.
    InviteMail,
    /// The mail that reports the end of an association.
    MigrationMail,
    /// The SMS that validates a number.
    Sms,
    /// The page of `submitToken`.
    Page,
}

impl TemplateKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::VerificationMail => "verification",
            Self::InviteMail => "invite",
            Self::MigrationMail => "migration",
            Self::Sms => "sms",
            Self::Page => "page",
        }
    }

    fn built_in(self) -> &'static str {
        ROWS.iter().find(|row| row.kind == self).map_or("", |row| row.built_in)
    }
}

/// All templates of this server.
#[derive(Debug)]
pub struct Templates {
    engine: Engine,
    default_brand: String,
    raw_messages: bool,
    /// `[sms] body_template`, with `{token}`.
    sms_text: String,
    /// A token to check the SMS templates with.
    sample_token: String,
    /// By brand, language (`None` for the brand's own folder) and kind. `brands` names every brand that exists.
    found: HashMap<(String, Option<String>, TemplateKind), Source>,
    brands: Vec<String>,
    /// `[server] public_base_url`.
    base_url: String,
    /// What the operator should know of the templates; one line each.
    notices: Vec<String>,
}

#[derive(Debug)]
struct Source {
    syntax: Syntax,
    text: String,
}

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
    /// A template does not parse or render.
    #[error("{path}: {mistake}")]
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
    kind: &'static str,
    /// The problem and its line; never a value.
    mistake: String,
}

/// A rendered template.
pub(super) struct Rendered {
    pub(super) text: String,
    /// Whether a whole message goes out as the operator's template wrote it.
    pub(super) is_raw: bool,
}

impl Templates {
    /// Reads and renders every template below `[templates] dir`. An SMS without a template gets the text of `sms`. Links to
    /// other identity servers lead to `base_url` instead.
    ///
    /// # Errors
    /// [`TemplatesError`] for the first file that cannot be used.
    pub fn load(config: &TemplatesConfig, sms: &SmsConfig, base_url: &str) -> Result<Self, TemplatesError> {
        let mut templates = Self {
            engine: Engine::new(),
            default_brand: config.default_brand.clone(),
            raw_messages: config.raw_messages,
            sms_text: sms.body_template.clone(),
            sample_token: "0".repeat(sms.token_digits),
            found: HashMap::new(),
            brands: Vec::new(),
            base_url: base_url.to_owned(),
            notices: Vec::new(),
        };
        for (brand, folder) in config.dir.as_deref().map_or(Ok(Vec::new()), folders)? {
            if !is_brand(&brand) {
                continue;
            }
            templates.read_folder(&folder, &brand, None)?;
            for (name, folder) in folders(&folder)? {
                if let Some(language) = language_name(&name) {
                    templates.read_folder(&folder, &brand, Some(&language))?;
                }
            }
            templates.brands.push(brand);
        }
        if let Some(dir) = &config.dir {
            let known = notices::of_folder(dir, &templates.default_brand, &templates.brands);
            templates.notices.extend(known);
        }
        Ok(templates)
    }

    /// What the operator should know of the templates; one line each.
    pub fn notices(&self) -> Vec<String> {
        self.notices.clone()
    }

    /// Renders the operator's template for this audience, else the built-in one.
    pub(super) fn render(
        &self,
        kind: TemplateKind,
        variables: &Variables,
        audience: &Audience<'_>,
    ) -> Result<Rendered, TemplateError> {
        match self.render_own(kind, variables, audience) {
            Some(text) => Ok(Rendered { text: text?, is_raw: self.raw_messages }),
            None => Ok(Rendered { text: self.render_built_in(kind, variables)?, is_raw: false }),
        }
    }

    /// Renders the operator's template; `None` if there is none for this audience.
    fn render_own(
        &self,
        kind: TemplateKind,
        variables: &Variables,
        audience: &Audience<'_>,
    ) -> Option<Result<String, TemplateError>> {
        let source = self.find(kind, audience)?;
        let rendered = self.engine.render(source.syntax, &source.text, variables);
        Some(rendered.map_err(|mistake| TemplateError { kind: kind.as_str(), mistake }))
    }

    fn render_built_in(&self, kind: TemplateKind, variables: &Variables) -> Result<String, TemplateError> {
        let rendered = self.engine.render(Syntax::Jinja, kind.built_in(), variables);
        rendered.map_err(|mistake| TemplateError { kind: kind.as_str(), mistake })
    }

    fn find(&self, kind: TemplateKind, audience: &Audience<'_>) -> Option<&Source> {
        let requested = audience.brand.and_then(|brand| self.brands.iter().find(|known| *known == brand));
        let brand = requested.unwrap_or(&self.default_brand);
        let languages = audience.languages().into_iter().map(Some);
        languages.chain([None]).find_map(|language| self.found.get(&(brand.clone(), language, kind)))
    }

    fn read_folder(&mut self, folder: &Path, brand: &str, language: Option<&str>) -> Result<(), TemplatesError> {
        self.notices.extend(notices::of_files(folder, &ROWS.map(|row| row.files).concat()));
        for row in &ROWS {
            for (name, syntax) in row.files {
                let path = folder.join(name);
                let text = match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(source) => return Err(TemplatesError::Unreadable { path, source }),
                };
                // Some editors write a byte order mark, which would hide a header block.
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                let (text, foreign) = own_links::with_own_links(text, &self.base_url);
                let source = Source { syntax: *syntax, text };
                let mistake = |mistake| TemplatesError::Mistake { path: path.clone(), mistake };
                self.check(row.kind, &source).map_err(mistake)?;
                self.notices.extend(notices::of_template(
                    &self.engine,
                    &path,
                    row.kind,
                    &source,
                    &foreign,
                    &self.base_url,
                ));
                self.found.insert((brand.to_owned(), language.map(str::to_owned), row.kind), source);
                break;
            }
        }
        Ok(())
    }

    /// Renders a template with sample values, so that a mistake fails the start.
    fn check(&self, kind: TemplateKind, source: &Source) -> Result<(), String> {
        let mut sample = Variables::sample();
        if kind == TemplateKind::Sms {
            sample.set("token", &self.sample_token);
        }
        let rendered = self.engine.render(source.syntax, &source.text, &sample)?;
        if kind == TemplateKind::Sms { sms::check(rendered.trim(), &self.sample_token) } else { Ok(()) }
    }
}

/// The folders in `folder`, sorted by name.
fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, TemplatesError> {
    let unreadable = |source| TemplatesError::Unreadable { path: folder.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // `is_dir` follows links: the folders of a mounted Kubernetes volume are links.
        if path.is_dir()
            && let Some(name) = path.file_name().and_then(|name| name.to_str())
        {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
