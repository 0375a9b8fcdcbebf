//! The keys of `[server]` that say who runs this server, for people who get its mails and see its pages.
//!
//! Invariant: the name is one line, and each link leads to a web page.

use shared::config::ConfigError;
use url::Url;

/// Who runs this server.
#[derive(Clone, Debug, Default)]
pub struct Operator {
    /// The name in subjects, mails and pages; without it they name the host of `public_base_url`.
    pub name: Option<String>,
    /// The page with help, linked from mails and pages.
    pub help_url: Option<String>,
    /// The page about privacy, linked from mails and pages.
    pub privacy_url: Option<String>,
}

/// The longest name in characters: it is part of subjects.
const MAX_NAME: usize = 60;

impl Operator {
    pub(super) fn check(&self, allow_http: bool) -> Result<(), ConfigError> {
        if let Some(name) = &self.name {
            let is_line = !name.trim().is_empty() && !name.chars().any(char::is_control);
            if !is_line || name.chars().count() > MAX_NAME {
                let problem = format!("expected one line of at most {MAX_NAME} characters, such as \"Example Chat\"");
                return Err(ConfigError::invalid("server.operator", problem));
            }
        }
        for (key, link) in [("server.help_url", &self.help_url), ("server.privacy_url", &self.privacy_url)] {
            let is_page = |link: &String| {
                let url = Url::parse(link).ok().filter(Url::has_host);
                url.is_some_and(|url| url.scheme() == "https" || (allow_http && url.scheme() == "http"))
            };
            if link.as_ref().is_some_and(|link| !is_page(link)) {
                return Err(ConfigError::invalid(key, "expected an https URL such as \"https://example.org/help\""));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Operator;

    #[test]
    fn a_name_is_one_line_and_a_link_is_https() {
        let some = |text: &str| Some(text.to_owned());
        let problem = |operator: Operator| operator.check(false).err().map(|error| error.to_string());
        for name in ["Example Chat", "Żółw & Söhne", &"x".repeat(60)] {
            assert_eq!(problem(Operator { name: some(name), ..Operator::default() }), None, "{name}");
        }
        for name in ["", " ", "a\nb", &"x".repeat(61)] {
            let found = problem(Operator { name: some(name), ..Operator::default() }).unwrap();
            assert!(found.starts_with("[server] operator: "), "{found}");
        }
        for (link, is_good) in [
            ("https://example.org/help", true),
            ("http://example.org/help", false),
            ("javascript:alert(1)", false),
            ("mailto:help@example.org", false),
            ("example.org/help", false),
        ] {
            let help = problem(Operator { help_url: some(link), ..Operator::default() });
            let privacy = problem(Operator { privacy_url: some(link), ..Operator::default() });
            assert_eq!((help.is_none(), privacy.is_none()), (is_good, is_good), "{link}");
        }
        let local = Operator { help_url: some("http://127.0.0.1/help"), ..Operator::default() };
        assert!(local.check(true).is_ok() && local.check(false).is_err());
    }
}
