//! The texts of mails and pages: the operator's, by brand and language, or else the built-in ones.
//!
//! Invariant: every template is read and tried once at start; a request reads no file, so a brand cannot lead to one.

mod audience;
mod sms;
mod syntax;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use shared::clock::Timestamp;
use shared::random::Random;

pub use self::audience::Audience;
use self::audience::{is_brand, language_name};
pub(super) use self::syntax::Variables;
use self::syntax::{Engine, Syntax};
use super::message::{self, MessageKind, OutgoingMail, Sender, Stamp};
use crate::config::sms::SmsConfig;
use crate::config::templates::TemplatesConfig;

/// One row for each kind of text. A further kind is a row here and its built-in file.
const ROWS: [Row; 4] = [
    Row {
        text: Text::Mail(MessageKind::Verification),
        files: &[("verification_template.eml.j2", Syntax::Jinja), ("verification_template.eml", Syntax::Percent)],
        built_in: Some(include_str!("../../../templates/verification_template.eml.j2")),
        subject: "Confirm your e-mail address for Matrix",
    },
    Row {
        text: Text::Mail(MessageKind::Invite),
        files: &[("invite_template.eml.j2", Syntax::Jinja), ("invite_template.eml", Syntax::Percent)],
        built_in: Some(include_str!("../../../templates/invite_template.eml.j2")),
        subject: "You have been invited to chat",
    },
    Row {
        text: Text::Sms,
        files: &[("verification_template.sms.j2", Syntax::JinjaText), ("verification_template.sms", Syntax::Percent)],
        built_in: None,
        subject: "",
    },
    Row {
        text: Text::Page,
        files: &[("verify_response_template.html", Syntax::PercentHtml)],
        built_in: Some(include_str!("../../../templates/page.html.j2")),
        subject: "",
    },
];

struct Row {
    text: Text,
    /// The file names that an operator may use, the first found wins.
    files: &'static [(&'static str, Syntax)],
    /// Our own text, in Jinja; a mail is a whole message. That of SMS stands in the settings.
    built_in: Option<&'static str>,
    /// The subject of a mail whose template brings none.
    subject: &'static str,
}

/// What a template is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Text {
    Mail(MessageKind),
    Sms,
    Page,
}

impl Text {
    fn row(self) -> &'static Row {
        // ROWS holds each text; the test below goes through them.
        ROWS.iter().find(|row| row.text == self).unwrap_or(&ROWS[0])
    }
}

/// All texts of this server.
#[derive(Debug)]
pub struct Templates {
    engine: Engine,
    sender: Sender,
    default_brand: String,
    raw_messages: bool,
    /// The text of an SMS for which there is no template, with `{token}`.
    sms_text: String,
    /// A token to try the templates of SMS with.
    sample_token: String,
    /// By brand, language (none: the brand's own folder) and text. Every brand that exists has an entry in `brands`.
    found: HashMap<(String, Option<String>, Text), Source>,
    brands: Vec<String>,
}

#[derive(Debug)]
struct Source {
    syntax: Syntax,
    text: String,
}

/// Why the operator's templates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// A folder or file cannot be read.
    #[error("templates.dir: cannot read {path}: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A template is not written correctly.
    #[error("{path}: {mistake}")]
    Mistake {
        /// Which one.
        path: PathBuf,
        /// What is wrong, and in which line.
        mistake: String,
    },
}

/// Why there is no mail to send.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// No mail can be addressed to this: `M_INVALID_EMAIL`.
    #[error("the address cannot be written into an envelope")]
    ImpossibleAddress,
    /// A template failed with the values of this mail.
    #[error("the template for {kind} failed: {mistake}")]
    Template {
        /// The kind of mail.
        kind: &'static str,
        /// What is wrong, and in which line; never a value.
        mistake: String,
    },
}

/// What a verification mail says.
#[derive(Clone, Copy)]
pub struct VerificationMail<'a> {
    /// The address, in the form where mail goes (`ThreePid::recipient`).
    pub to: &'a str,
    /// The link that validates.
    pub link: &'a str,
    /// The token, for those who copy it.
    pub token: &'a str,
    /// Who asked, if known.
    pub client_address: Option<IpAddr>,
    /// The brand and language that were asked for.
    pub audience: Audience<'a>,
}

impl Templates {
    /// Reads all templates below `[templates] dir` and tries each. Mails will be from `sender`, and SMS for which there
    /// is no template will have the text of `sms`.
    ///
    /// # Errors
    /// [`TemplatesError`] for the first file that cannot be used.
    pub fn load(config: &TemplatesConfig, sms: &SmsConfig, sender: Sender) -> Result<Self, TemplatesError> {
        let mut templates = Self {
            engine: Engine::new(),
            sender,
            default_brand: config.default_brand.clone(),
            raw_messages: config.raw_messages,
            sms_text: sms.body_template.clone(),
            sample_token: "0".repeat(sms.token_digits),
            found: HashMap::new(),
            brands: Vec::new(),
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
        Ok(templates)
    }

    /// The mail that proves an address.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn verification(
        &self,
        mail: &VerificationMail<'_>,
        now: Timestamp,
        random: Random,
    ) -> Result<OutgoingMail, MessageError> {
        let mut variables = Variables::default();
        variables.set("link", mail.link);
        variables.set("token", mail.token);
        match mail.client_address {
            Some(address) => variables.set("ipaddress", &address.to_string()),
            None => variables.set("ipaddress", "an unknown address"),
        }
        self.mail(MessageKind::Verification, mail.to, variables, &mail.audience, now, random)
    }

    /// A mail of this kind. Its subject is the template's own, else the variable `subject_header_value`, else the one of
    /// its row.
    pub(super) fn mail(
        &self,
        kind: MessageKind,
        to: &str,
        mut variables: Variables,
        audience: &Audience<'_>,
        now: Timestamp,
        random: Random,
    ) -> Result<OutgoingMail, MessageError> {
        let to = message::sendable(to).ok_or(MessageError::ImpossibleAddress)?;
        let stamp = Stamp::new(&self.sender, &to, now, random);
        variables.set("date", &stamp.date);
        variables.set("from", &stamp.from);
        variables.set("to", &stamp.to);
        variables.set("messageid", &stamp.message_id);
        variables.set("multipart_boundary", &stamp.boundary);
        let text = Text::Mail(kind);
        let operators = self.find(text, audience);
        let rendered = self
            .render(text, operators, &variables)
            .map_err(|mistake| MessageError::Template { kind: kind.as_str(), mistake })?;
        let raw = self.raw_messages && operators.is_some();
        let subject = variables.find("subject_header_value").unwrap_or(text.row().subject);
        let message = message::compose(&rendered, subject, &stamp, raw);
        Ok(OutgoingMail { kind, from: self.sender.address().to_owned(), to, message })
    }

    /// The text of the operator's own template for a page, or `None` if ours is to be used.
    pub(super) fn own_page(&self, variables: &Variables, audience: &Audience<'_>) -> Option<String> {
        let source = self.find(Text::Page, audience)?;
        self.render(Text::Page, Some(source), variables).ok()
    }

    /// Our own text for a page.
    pub(super) fn built_in_page(&self, variables: &Variables) -> String {
        // It was tried when it was written: the tests render it in every form.
        self.render(Text::Page, None, variables).unwrap_or_default()
    }

    fn render(&self, text: Text, source: Option<&Source>, variables: &Variables) -> Result<String, String> {
        match source {
            Some(source) => self.engine.render(source.syntax, &source.text, variables),
            None => self.engine.render(Syntax::Jinja, text.row().built_in.unwrap_or_default(), variables),
        }
    }

    fn find(&self, text: Text, audience: &Audience<'_>) -> Option<&Source> {
        let wanted = audience.brand.and_then(|brand| self.brands.iter().find(|known| *known == brand));
        let brand = wanted.unwrap_or(&self.default_brand);
        let languages = audience.languages().into_iter().map(Some);
        languages.chain([None]).find_map(|language| self.found.get(&(brand.clone(), language, text)))
    }

    fn read_folder(&mut self, folder: &Path, brand: &str, language: Option<&str>) -> Result<(), TemplatesError> {
        for row in &ROWS {
            for (name, syntax) in row.files {
                let path = folder.join(name);
                let text = match std::fs::read_to_string(&path) {
                    Ok(text) => text,
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(source) => return Err(TemplatesError::Unreadable { path, source }),
                };
                self.try_out(row.text, *syntax, &text).map_err(|mistake| TemplatesError::Mistake { path, mistake })?;
                self.found.insert(
                    (brand.to_owned(), language.map(str::to_owned), row.text),
                    Source { syntax: *syntax, text },
                );
                break;
            }
        }
        Ok(())
    }
}

/// The folders in `folder`, by name.
fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, TemplatesError> {
    let unreadable = |source| TemplatesError::Unreadable { path: folder.to_path_buf(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        // Not the entry's own type: a folder may be a link, as a mounted Kubernetes volume's are.
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
