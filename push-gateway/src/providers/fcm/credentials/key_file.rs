//! A credential file of Google.
//!
//! Invariant: no error contains a part of the file.

use serde::Deserialize;
use serde_json::{Map, Value};
use shared::secret::Secret;
use zeroize::Zeroizing;

use crate::providers::json_file::{self, NotJson};

/// A credential file, by its `type`.
pub(super) enum CredentialFile {
    /// `service_account`: it contains a private key.
    Key(KeyFile),
    /// `external_account`: it contains no key, and names an identity outside Google.
    External(Map<String, Value>),
}

/// The key file of a service account as written.
#[derive(Deserialize)]
pub(super) struct KeyFile {
    pub(super) r#type: Option<String>,
    pub(super) project_id: Option<String>,
    pub(super) private_key_id: Option<String>,
    pub(super) private_key: Option<Secret<String>>,
    pub(super) client_email: Option<String>,
    pub(super) token_uri: Option<String>,
    /// Of `google-services.json`, the app's own file.
    project_info: Option<serde::de::IgnoredAny>,
}

impl CredentialFile {
    /// Reads the content of a file, or the value of a key.
    ///
    /// # Errors
    /// What the content is instead; the subject is the file.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        match json_file::read::<KeyFile>(content) {
            Ok((file, text)) => Self::checked(file, &text),
            Err(NotJson::Encoding(error)) => Err(error.to_string()),
            Err(NotJson::Text(text)) => Err(problem(&text)),
        }
    }

    fn checked(file: KeyFile, text: &str) -> Result<Self, String> {
        match file.r#type.as_deref() {
            Some("service_account") => Ok(Self::Key(file)),
            Some("external_account") => {
                let members = serde_json::from_str(text).map_err(|_| String::from("is not a JSON object"))?;
                Ok(Self::External(members))
            }
            None if file.project_info.is_some() => Err(String::from(
                "is google-services.json, which belongs into the app; create a key of a service account in the Firebase \
                 console",
            )),
            Some(
                known @ ("authorized_user"
                | "impersonated_service_account"
                | "external_account_authorized_user"
                | "gdch_service_account"),
            ) => Err(format!(
                "has the \"type\" \"{known}\", which is not supported; expected \"service_account\" or \
                 \"external_account\", or set credentials = \"metadata\""
            )),
            Some(_) | None => {
                Err(String::from("has no \"type\" with the value \"service_account\" or \"external_account\""))
            }
        }
    }
}

/// What a text without a key is.
fn problem(text: &str) -> String {
    let known = match text {
        text if text.starts_with('<') => "is an HTML page, as a failed download leaves it; download the key again",
        text if text.starts_with("${") || text.starts_with("{{") || text.starts_with("$(") => {
            "has the name of a variable that was not replaced by its value"
        }
        text if text.starts_with("-----BEGIN") => {
            "is a key in PEM; expected the whole JSON file of the service account"
        }
        text if text.starts_with("AAAA") => {
            "is a server key of the API that Google shut down; create a key of a service account in the Firebase console"
        }
        text if !text.starts_with('{') => "is not a JSON object; expected the key of a service account",
        text if text.chars().find(|c| !c.is_whitespace() && *c != '{') == Some('\'') => {
            "has single quotes, which are not JSON; download the key again"
        }
        text if has_trailing_comma(text) => "has a comma before a closing bracket, which is not JSON; remove it",
        _ => return json_problem(text),
    };
    known.to_owned()
}

fn json_problem(text: &str) -> String {
    match serde_json::from_str::<KeyFile>(text).err() {
        Some(error) if error.is_eof() => {
            String::from("is cut off: the end of the JSON is missing; copy the whole file")
        }
        // The message of serde could contain a part of the key.
        Some(error) if error.is_data() => String::from("has a key twice, or a value that is not text"),
        Some(error) => format!("is not valid JSON at line {}, column {}", error.line(), error.column()),
        None => String::from("is not the key of a service account"),
    }
}

fn has_trailing_comma(text: &str) -> bool {
    let compact: Zeroizing<String> = Zeroizing::new(text.chars().filter(|c| !c.is_whitespace()).collect());
    compact.contains("\",}") || compact.contains("\",]")
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::{CredentialFile, KeyFile};

    fn file() -> String {
        let key = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
        json!({"type": "service_account", "project_id": "p", "private_key": key, "client_email": "a@p.example"})
            .to_string()
    }

    fn key(form: &str) -> KeyFile {
        match CredentialFile::parse(form.as_bytes()) {
            Ok(CredentialFile::Key(file)) => file,
            Ok(CredentialFile::External(_)) => panic!("not a key: {form}"),
            Err(error) => panic!("{error}: {form}"),
        }
    }

    #[test]
    fn an_external_account_is_read_in_the_same_forms() {
        let good = json!({"type": "external_account", "audience": "//a"}).to_string();
        for form in [good.clone(), STANDARD.encode(&good), json!(good).to_string(), format!("\u{feff}'{good}'")] {
            let file = CredentialFile::parse(form.as_bytes());
            assert!(matches!(&file, Ok(CredentialFile::External(file)) if file["audience"] == "//a"), "{form}");
        }
    }

    #[test]
    fn a_key_is_read_however_it_was_wrapped() {
        let good = file();
        let quoted = |text: &str| json!(text).to_string();
        let wrapped: String =
            STANDARD.encode(&good).as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line) + "\n").collect();
        for form in [
            good.clone(),
            format!("\u{feff}{good}\r\n"),
            STANDARD.encode(&good),
            wrapped,
            format!("\"{}\"", STANDARD.encode(&good)),
            STANDARD.encode(STANDARD.encode(&good)),
            quoted(&good),
            quoted(&quoted(&good)),
            format!("'{good}'\n"),
            good.replace('"', "\\\""),
            good.replace("\\n", "\n"),
            format!("'{}'", good.replace("\\n", "\r\n")),
        ] {
            let file = key(&form);
            assert_eq!(file.client_email.as_deref(), Some("a@p.example"), "{form}");
            assert!(file.private_key.unwrap().expose().contains("c2VjcmV0"), "{form}");
        }
    }

    #[test]
    fn anything_else_is_named_and_never_shown() {
        let good = file();
        let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(CredentialFile::parse(&utf16).err().unwrap().contains("UTF-16"));
        for (form, expected) in [
            (String::new(), "is empty"),
            ("{}".to_owned(), "no \"type\""),
            (good[..100].to_owned(), "is cut off"),
            (format!("{},}}", &good[..good.len() - 1]), "comma before"),
            (good.replace('"', "'"), "single quotes"),
            (good.replace("service_account", "authorized_user"), "\"authorized_user\""),
            (good.replace("service_account", "impersonated_service_account"), "\"impersonated_service_account\""),
            (good.replace("service_account", "gdch_service_account"), "\"gdch_service_account\""),
            (
                good.replace("service_account", "external_account_authorized_user"),
                "\"external_account_authorized_user\"",
            ),
            (good.replace("\"p\"", "5"), "not text"),
            (good.replace("\"type\"", "type"), "not valid JSON at line 1"),
            ("{\"project_info\": {}}".to_owned(), "google-services.json"),
            ("<html>c2VjcmV0</html>".to_owned(), "HTML"),
            ("${FIREBASE}".to_owned(), "variable"),
            ("AAAAc2VjcmV0:APA91".to_owned(), "server key"),
            ("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----".to_owned(), "PEM"),
            ("c2VjcmV0".to_owned(), "is not a JSON object"),
        ] {
            let error = CredentialFile::parse(form.as_bytes()).err().unwrap();
            assert!(error.contains(expected) && !error.contains("c2VjcmV0"), "{error} of {form}");
        }
    }
}
