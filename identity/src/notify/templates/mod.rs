//! The templates of mails, SMS and pages: the operator's by brand and language, else the built-in ones.
//!
//! Invariant: the server reads and renders every template once at start. A request reads no file, so a brand never
//! becomes a path.

mod audience;
mod engine;
mod error;
mod kind;
mod locale;
mod notices;
mod own_links;
pub mod page;
mod percent;
mod service;
mod sms;
mod syntax;
mod variables;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

pub use self::audience::Audience;
use self::audience::{is_brand, language_name};
use self::engine::Engine;
pub use self::error::{TemplateError, TemplatesError};
pub use self::kind::TemplateKind;
use self::kind::{ROWS, Row};
pub use self::locale::Locale;
use self::service::Service;
use self::syntax::Syntax;
pub use self::variables::Variables;
use crate::config::sms::SmsConfig;
use crate::config::templates::TemplatesConfig;

/// All templates of this server.
#[derive(Debug)]
pub struct Templates {
    engine: Engine,
    default_brand: String,
    raw_messages: bool,
    /// `[sms] body_template`, with `{token}`.
    sms_text: Option<String>,
    /// A token to check the SMS templates with.
    sample_token: String,
    /// By brand, language (`None` for the brand's own folder) and kind. `brands` names every brand that exists.
    found: HashMap<(String, Option<String>, TemplateKind), Source>,
    brands: Vec<String>,
    /// Who runs this server, and where.
    service: Service,
    /// `[templates] default_language`.
    default_language: &'static Locale,
    /// What the operator should know of the templates; one line each.
    notices: Vec<String>,
}

#[derive(Debug)]
struct Source {
    syntax: Syntax,
    text: String,
    path: PathBuf,
}

/// A template of the operator.
#[derive(Clone, Debug)]
pub struct OwnTemplate {
    /// What it is for.
    pub kind: TemplateKind,
    /// Its brand.
    pub brand: String,
    /// Its language; `None` for any.
    pub language: Option<String>,
    /// Its file.
    pub path: PathBuf,
}

/// The language of requests that ask for none.
fn default_language(config: &TemplatesConfig) -> Result<&'static Locale, TemplatesError> {
    let Some(tag) = &config.default_language else { return Ok(Locale::english()) };
    let found = language_name(tag).and_then(|name| Locale::find(&name));
    found.ok_or_else(|| TemplatesError::UnknownLanguage { tag: tag.clone() })
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
        let (templates, mistakes) = Self::load_all(config, sms, base_url);
        mistakes.into_iter().next().map_or(Ok(templates), Err)
    }

    /// As [`Templates::load`], with the mistakes in all files.
    pub fn load_all(config: &TemplatesConfig, sms: &SmsConfig, base_url: &str) -> (Self, Vec<TemplatesError>) {
        let mut mistakes = Vec::new();
        let default_language = default_language(config).unwrap_or_else(|mistake| {
            mistakes.push(mistake);
            Locale::english()
        });
        let mut templates = Self {
            engine: Engine::new(),
            default_brand: config.default_brand.clone(),
            raw_messages: config.raw_messages,
            sms_text: sms.body_template.clone(),
            sample_token: "0".repeat(sms.token_digits),
            found: HashMap::new(),
            brands: Vec::new(),
            service: Service::new(&config.operator, base_url),
            default_language,
            notices: Vec::new(),
        };
        let files = ROWS.each_ref().map(|row: &Row| row.files).concat();
        let below = |folder: &Path, mistakes: &mut Vec<TemplatesError>| {
            folders(folder).unwrap_or_else(|mistake| {
                mistakes.push(mistake);
                Vec::new()
            })
        };
        for (brand, folder) in config.dir.as_deref().map_or_else(Vec::new, |dir| below(dir, &mut mistakes)) {
            if !is_brand(&brand) {
                templates.notices.push(notices::of_impossible_brand(&folder));
                continue;
            }
            templates.read_folder(&folder, &brand, None, &mut mistakes);
            for (name, folder) in below(&folder, &mut mistakes) {
                if let Some(language) = language_name(&name) {
                    templates.read_folder(&folder, &brand, Some(&language), &mut mistakes);
                }
                templates.notices.extend(notices::of_language(&folder, &name, &files));
            }
            templates.brands.push(brand);
        }
        if let Some(dir) = &config.dir {
            let known = notices::of_folder(dir, &templates.default_brand, &templates.brands);
            templates.notices.extend(known);
            templates.notices.extend(notices::of_files_without_brand(dir, &files));
        } else if config.default_brand != TemplatesConfig::default().default_brand {
            templates.notices.push("[templates] default_brand: has no effect without dir; set dir".to_owned());
        }
        (templates, mistakes)
    }

    /// The operator's templates, ordered by file.
    pub fn sources(&self) -> Vec<OwnTemplate> {
        let own = |((brand, language, kind), source): (&(String, Option<String>, TemplateKind), &Source)| OwnTemplate {
            kind: *kind,
            brand: brand.clone(),
            language: language.clone(),
            path: source.path.clone(),
        };
        let mut sources: Vec<_> = self.found.iter().map(own).collect();
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        sources
    }

    /// What the operator should know of the templates; one line each.
    pub fn notices(&self) -> Vec<String> {
        self.notices.clone()
    }

    /// The language of this audience: the first of its languages that has texts, else the default.
    pub fn locale(&self, audience: &Audience<'_>) -> &'static Locale {
        audience.languages().iter().find_map(|tag| Locale::find(tag)).unwrap_or(self.default_language)
    }

    /// The name of the server's operator; empty if it is not set.
    pub fn operator(&self) -> &str {
        self.service.operator.as_deref().unwrap_or_default()
    }

    /// Renders the operator's template for this audience, else the built-in one in the audience's language.
    pub(super) fn render(
        &self,
        kind: TemplateKind,
        variables: &Variables,
        audience: &Audience<'_>,
    ) -> Result<Rendered, TemplateError> {
        match self.render_own(kind, variables, audience) {
            Some(text) => Ok(Rendered { text: text?, is_raw: self.raw_messages }),
            None => Ok(Rendered { text: self.render_built_in(kind, variables, audience)?, is_raw: false }),
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
        Some(self.render_source(kind, (source.syntax, &source.text), variables, self.locale(audience)))
    }

    fn render_built_in(
        &self,
        kind: TemplateKind,
        variables: &Variables,
        audience: &Audience<'_>,
    ) -> Result<String, TemplateError> {
        self.render_source(kind, (Syntax::Jinja, kind.built_in()), variables, self.locale(audience))
    }

    fn render_source(
        &self,
        kind: TemplateKind,
        (syntax, source): (Syntax, &str),
        variables: &Variables,
        locale: &'static Locale,
    ) -> Result<String, TemplateError> {
        let mut variables = variables.clone();
        self.service.describe(locale, &mut variables);
        let rendered = self.engine.render(syntax, source, &variables, locale);
        rendered.map_err(|mistake| TemplateError { kind: kind.as_str(), mistake })
    }

    fn find(&self, kind: TemplateKind, audience: &Audience<'_>) -> Option<&Source> {
        let requested = audience.brand.and_then(|brand| self.brands.iter().find(|known| *known == brand));
        let brand = requested.unwrap_or(&self.default_brand);
        let languages = audience.languages().into_iter().map(Some);
        languages.chain([None]).find_map(|language| self.found.get(&(brand.clone(), language, kind)))
    }

    fn read_folder(&mut self, folder: &Path, brand: &str, language: Option<&str>, mistakes: &mut Vec<TemplatesError>) {
        self.notices.extend(notices::of_files(folder, &ROWS.each_ref().map(|row: &Row| row.files).concat()));
        for row in &ROWS {
            for (name, syntax) in row.files {
                let path = folder.join(name);
                let text = match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(source) => {
                        mistakes.push(TemplatesError::Unreadable { path, source });
                        break;
                    }
                };
                // Some editors write a byte order mark, which would hide a header block.
                let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
                let (text, foreign) = own_links::with_own_links(text, &self.service.base_url);
                let source = Source { syntax: *syntax, text, path: path.clone() };
                if let Err(mistake) = self.check(row.kind, &source) {
                    mistakes.push(TemplatesError::Mistake { path, mistake });
                    break;
                }
                self.notices.extend(notices::of_links(&path, &foreign, &self.service.base_url));
                let shows_purpose = self.shows_purpose(row.kind, &source);
                self.notices.extend(notices::of_template(&self.engine, &path, row.kind, &source, shows_purpose));
                self.found.insert((brand.to_owned(), language.map(str::to_owned), row.kind), source);
                break;
            }
        }
    }

    /// Whether the rendered template has a value without which it serves no purpose, such as the link of a validation.
    fn shows_purpose(&self, kind: TemplateKind, source: &Source) -> bool {
        const MARK: &str = "SampleOfThePurpose";
        let mut sample = Variables::sample(kind);
        kind.purpose().iter().for_each(|name| sample.set(name, MARK));
        let rendered = self.engine.render(source.syntax, &source.text, &sample, self.default_language);
        kind.purpose().is_empty() || rendered.is_ok_and(|text| text.contains(MARK))
    }

    /// Renders a template with sample values, so that a mistake fails the start.
    fn check(&self, kind: TemplateKind, source: &Source) -> Result<(), String> {
        let mut sample = Variables::sample(kind);
        if kind == TemplateKind::Sms {
            sample.set("token", &self.sample_token);
        }
        let rendered = self.engine.render(source.syntax, &source.text, &sample, self.default_language)?;
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
