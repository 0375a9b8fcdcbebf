//! `identity templates`: lists, exports and checks the templates, and renders them with sample values.
//!
//! Invariant: sends nothing, opens no database, and replaces no file of the operator.

mod samples;

use std::fs;
use std::path::{Path, PathBuf};

use super::ConfigSource;
use super::table::aligned;
use crate::config::Config;
use crate::notify::templates::{Audience, TemplateKind, Templates, TemplatesError};

/// Why the command fails.
#[derive(Debug, thiserror::Error)]
enum TemplatesCommandError {
    #[error(transparent)]
    Templates(#[from] TemplatesError),
    /// The templates have mistakes, one a line.
    #[error("{}", .0.join("\nidentity: "))]
    Mistakes(Vec<String>),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error("{0} exists; delete it, or choose another folder")]
    Exists(PathBuf),
    #[error("there is no sample {name:?}; expected one of {}", samples::names().join(", "))]
    UnknownSample { name: String },
    /// A sample cannot be rendered.
    #[error("{0}")]
    Rendering(String),
}

#[derive(clap::Subcommand)]
pub(super) enum TemplatesCommand {
    /// List the templates in use and the values that each kind may name.
    List {
        #[command(flatten)]
        source: ConfigSource,
    },
    /// Write the built-in templates into a folder, as a start for your own.
    Export {
        #[command(flatten)]
        source: ConfigSource,
        /// The folder for [templates] dir. Existing files are not replaced.
        dir: PathBuf,
        /// The brand, a folder in it. Default: [templates] default_brand.
        #[arg(long)]
        brand: Option<String>,
    },
    /// Check the templates of [templates] dir; exits 1 if one has a mistake, an unknown name or no link.
    Check {
        #[command(flatten)]
        source: ConfigSource,
    },
    /// Render mails, SMS and pages with sample values into files, and print their paths.
    Preview {
        #[command(flatten)]
        source: ConfigSource,
        /// One sample, such as "verification", "invite" or "page-confirm". Default: all.
        name: Option<String>,
        /// The brand of the templates.
        #[arg(long)]
        brand: Option<String>,
        /// The language.
        #[arg(long)]
        lang: Option<String>,
        /// The folder of the files. Default: gatehouse-preview in the folder for temporary files.
        #[arg(long)]
        out: Option<PathBuf>,
    },
}

/// Runs a command; returns its lines.
///
/// # Errors
/// Those of the configuration and of the command.
pub(super) fn run(command: TemplatesCommand) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    Ok(match command {
        TemplatesCommand::List { source } => list(&source.load_templates()?)?,
        TemplatesCommand::Export { source, dir, brand } => export(&source.load_templates()?, &dir, brand.as_deref())?,
        TemplatesCommand::Check { source } => check(&source.load_templates()?)?,
        TemplatesCommand::Preview { source, name, brand, lang, out } => {
            let audience = Audience { brand: brand.as_deref(), lang: lang.as_deref(), ..Audience::default() };
            preview(&source.load_templates()?, name.as_deref(), out.as_deref(), &audience)?
        }
    })
}

fn load(config: &Config) -> Result<Templates, TemplatesError> {
    Templates::load(&config.templates, &config.sms, &config.server.identity(None).base_url)
}

/// A table of the templates in use, and the values of each kind.
///
/// # Errors
/// [`TemplatesError`].
fn list(config: &Config) -> Result<Vec<String>, TemplatesError> {
    let rows = load(config)?.sources().into_iter().map(|source| {
        let language = source.language.unwrap_or_else(|| "any".to_owned());
        [source.kind.as_str().to_owned(), source.brand, language, source.path.display().to_string()]
    });
    let built_in = TemplateKind::ALL.map(|kind| [kind.as_str(), "any other", "any", "built-in"].map(str::to_owned));
    let mut lines = aligned(["KIND", "BRAND", "LANGUAGE", "FILE"], rows.chain(built_in));
    for kind in TemplateKind::ALL {
        lines.push(String::new());
        lines.push(format!("values of {} ({}):", kind.as_str(), kind.file_names().join(", ")));
        lines.push(format!("  {}", kind.variables().collect::<Vec<_>>().join(" ")));
    }
    Ok(lines)
}

/// Writes the built-in templates into a folder for `[templates] dir`; returns the paths.
///
/// # Errors
/// [`TemplatesCommandError`] if a file exists or cannot be written; a file that was written before stays.
fn export(config: &Config, dir: &Path, brand: Option<&str>) -> Result<Vec<String>, TemplatesCommandError> {
    let folder = dir.join(brand.unwrap_or(&config.templates.default_brand));
    let files = TemplateKind::ALL.map(|kind| (folder.join(kind.export().0), kind.export().1));
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
        return Err(TemplatesCommandError::Exists(path.clone()));
    }
    write_all(&folder, files.iter().map(|(path, text)| (path.as_path(), (*text).to_owned())))
}

/// Checks the operator's templates.
///
/// # Errors
/// [`TemplatesCommandError::Mistakes`]: whatever the start would note, and whatever would fail the start.
fn check(config: &Config) -> Result<Vec<String>, TemplatesCommandError> {
    let base_url = config.server.identity(None).base_url;
    let (templates, mistakes) = Templates::load_all(&config.templates, &config.sms, &base_url);
    let mistakes: Vec<String> = mistakes.iter().map(ToString::to_string).chain(templates.notices()).collect();
    if !mistakes.is_empty() {
        return Err(TemplatesCommandError::Mistakes(mistakes));
    }
    let number = templates.sources().len();
    Ok(vec![format!("{number} templates are good")])
}

/// Renders the sample `name`, or all of them, into files; returns their paths.
///
/// # Errors
/// [`TemplatesCommandError`].
fn preview(
    config: &Config,
    name: Option<&str>,
    dir: Option<&Path>,
    audience: &Audience<'_>,
) -> Result<Vec<String>, TemplatesCommandError> {
    let templates = load(config)?;
    let wanted: Vec<&str> = match name {
        None => samples::names(),
        Some(name) => vec![name],
    };
    let dir = dir.map_or_else(|| std::env::temp_dir().join("gatehouse-preview"), Path::to_path_buf);
    let mut files = Vec::new();
    for name in wanted {
        let rendered = samples::render(config, &templates, name, audience);
        let rendered = rendered.ok_or_else(|| TemplatesCommandError::UnknownSample { name: name.to_owned() })?;
        for (ending, text) in rendered.map_err(TemplatesCommandError::Rendering)? {
            let tag = templates.locale(audience).tag();
            files.push((dir.join(format!("{name}.{tag}.{ending}")), text));
        }
    }
    write_all(&dir, files.iter().map(|(path, text)| (path.as_path(), text.clone())))
}

fn write_all<'a>(
    folder: &Path,
    files: impl Iterator<Item = (&'a Path, String)>,
) -> Result<Vec<String>, TemplatesCommandError> {
    let failed = |path: &Path, source| TemplatesCommandError::Write { path: path.to_path_buf(), source };
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    let mut written = Vec::new();
    for (path, text) in files {
        fs::write(path, text).map_err(|source| failed(path, source))?;
        written.push(path.display().to_string());
    }
    Ok(written)
}
