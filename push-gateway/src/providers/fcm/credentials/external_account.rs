//! A credential file of the type `external_account`: an identity outside Google that becomes a service account (*Workload
//! identity federation*; RFC 8693).
//!
//! Invariant: pure, and no error contains a value of the file.

use std::path::{Path, PathBuf};

use http::header::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use shared::secret::Secret;
use url::{Host, Url};

/// The kinds of subject tokens that Google's token service reads.
const SUBJECT_TOKEN_TYPES: [&str; 5] = [
    "urn:ietf:params:oauth:token-type:jwt",
    "urn:ietf:params:oauth:token-type:id_token",
    "urn:ietf:params:oauth:token-type:id-token",
    "urn:ietf:params:oauth:token-type:saml2",
    AWS_REQUEST,
];

const AWS_REQUEST: &str = "urn:ietf:params:aws:token-type:aws4_request";

/// The lifetimes of an impersonated token in seconds (*generateAccessToken*), and the default.
const LIFETIMES: std::ops::RangeInclusive<u64> = 600..=43_200;
const LIFETIME: u64 = 3600;

/// The content of the file, checked.
pub(in super::super) struct ExternalAccount {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    pub(super) subject: Subject,
    /// The token service.
    pub(super) token_url: Url,
    /// The client at the token service, if it wants one.
    pub(super) client: Option<(String, Secret<String>)>,
    pub(super) impersonation: Option<Impersonation>,
    /// The project that pays for the requests.
    pub(super) quota_project: Option<HeaderValue>,
    digest: [u8; 32],
}

/// The source of the subject token, and its form.
pub(super) struct Subject {
    pub(super) source: SubjectSource,
    /// The member that holds the token if the form is JSON; the text itself otherwise.
    pub(super) member: Option<String>,
}

pub(super) enum SubjectSource {
    File(PathBuf),
    Url { url: Url, headers: Vec<(HeaderName, HeaderValue)> },
}

/// The service account that the identity acts as.
pub(super) struct Impersonation {
    pub(super) url: Url,
    pub(super) lifetime: u64,
}

impl ExternalAccount {
    /// Reads the file's content. A relative path in it is relative to `folder`.
    ///
    /// # Errors
    /// The problem; its subject is the file.
    pub(super) fn parse(file: &Map<String, Value>, folder: &Path) -> Result<Self, String> {
        if file.contains_key("workforce_pool_user_project") {
            return Err(String::from(
                "has \"workforce_pool_user_project\", which is for people; create a workload identity pool for servers",
            ));
        }
        let subject_token_type = required(file, "subject_token_type")?;
        if !SUBJECT_TOKEN_TYPES.contains(&subject_token_type) {
            return Err(String::from("has an unknown \"subject_token_type\"; expected jwt, id_token or saml2"));
        }
        let subject = subject(file, folder)?;
        if subject_token_type == AWS_REQUEST {
            return Err(String::from(
                "has the \"subject_token_type\" of AWS with another source than AWS; create the file again",
            ));
        }
        let universe = optional(file, "universe_domain")?.unwrap_or("googleapis.com");
        let token_url = match optional(file, "token_url")? {
            Some(url) => secure_url("token_url", url)?,
            None => secure_url("universe_domain", &format!("https://sts.{universe}/v1/token"))?,
        };
        let client = match (optional(file, "client_id")?, optional(file, "client_secret")?) {
            (Some(id), secret) => Some((id.to_owned(), Secret::new(secret.unwrap_or_default().to_owned()))),
            (None, None) => None,
            (None, Some(_)) => return Err(String::from("has a \"client_secret\" without \"client_id\"")),
        };
        let quota_project = optional(file, "quota_project_id")?.map(HeaderValue::try_from).transpose();
        Ok(Self {
            audience: required(file, "audience")?.to_owned(),
            subject_token_type: subject_token_type.to_owned(),
            subject,
            token_url,
            client,
            impersonation: impersonation(file)?,
            quota_project: quota_project.map_err(|_| "has a \"quota_project_id\" that no header field can hold")?,
            digest: Sha256::digest(format!("{} {}", folder.display(), Value::Object(file.clone()))).into(),
        })
    }

    /// Identifies the content: apps with the same one share a token.
    pub(super) fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

fn subject(file: &Map<String, Value>, folder: &Path) -> Result<Subject, String> {
    let Some(Value::Object(source)) = file.get("credential_source") else {
        return Err(String::from("has no \"credential_source\", or one that is not an object"));
    };
    for unsupported in ["executable", "certificate"] {
        if source.contains_key(unsupported) {
            return Err(format!(
                "has \"credential_source.{unsupported}\", which is not supported; use \"file\" or \"url\""
            ));
        }
    }
    if source.contains_key("environment_id") {
        return Err(String::from(
            "has \"credential_source.environment_id\" (AWS), which is not supported; use \"file\" or \"url\", such as a \
             service account token of EKS as OIDC provider",
        ));
    }
    let text = |key: &'static str| match source.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.as_str())),
        Some(_) => Err(format!("has a \"credential_source.{key}\" that is not text")),
    };
    let source_of_token = match (text("file")?, text("url")?) {
        (Some(path), None) => SubjectSource::File(folder.join(path)),
        (None, Some(url)) => {
            let url = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "https" | "http") && url.has_host());
            let url = url.ok_or("has a \"credential_source.url\" that is not a URL")?;
            SubjectSource::Url { url, headers: headers(source.get("headers"))? }
        }
        (None, None) => return Err(String::from("has neither \"file\" nor \"url\" in its \"credential_source\"")),
        (Some(_), Some(_)) => {
            return Err(String::from("has \"file\" and \"url\" in its \"credential_source\"; keep one of them"));
        }
    };
    Ok(Subject { source: source_of_token, member: member(source.get("format"))? })
}

fn headers(given: Option<&Value>) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let wrong = || String::from("has \"credential_source.headers\" that are not header fields");
    let given = match given {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(given) => given.as_object().ok_or_else(wrong)?,
    };
    let header = |(name, value): (&String, &Value)| {
        let mut value = HeaderValue::from_str(value.as_str().ok_or_else(wrong)?).map_err(|_| wrong())?;
        value.set_sensitive(true);
        Ok((HeaderName::try_from(name).map_err(|_| wrong())?, value))
    };
    given.iter().map(header).collect()
}

/// The member of the JSON text that holds the token; `None` for plain text.
fn member(format: Option<&Value>) -> Result<Option<String>, String> {
    let format = match format {
        None | Some(Value::Null) => return Ok(None),
        Some(format) => format,
    };
    match format.get("type").and_then(Value::as_str) {
        None if format.as_object().is_some_and(|format| !format.contains_key("type")) => Ok(None),
        Some("text") => Ok(None),
        Some("json") => {
            let name = format.get("subject_token_field_name").and_then(Value::as_str).filter(|name| !name.is_empty());
            let name = name.ok_or("has the format \"json\" without \"subject_token_field_name\"")?;
            Ok(Some(name.to_owned()))
        }
        Some(_) | None => {
            Err(String::from("has an unknown \"credential_source.format.type\"; expected \"text\" or \"json\""))
        }
    }
}

fn impersonation(file: &Map<String, Value>) -> Result<Option<Impersonation>, String> {
    let Some(url) = optional(file, "service_account_impersonation_url")? else { return Ok(None) };
    let url = secure_url("service_account_impersonation_url", url)?;
    let lifetime = file.get("service_account_impersonation").and_then(|given| given.get("token_lifetime_seconds"));
    let lifetime = match lifetime {
        None | Some(Value::Null) => LIFETIME,
        Some(given) => given
            .as_u64()
            .filter(|seconds| LIFETIMES.contains(seconds))
            .ok_or("has a \"service_account_impersonation.token_lifetime_seconds\" outside 600 to 43200")?,
    };
    Ok(Some(Impersonation { url, lifetime }))
}

/// An `https` URL; `http` is for loopback addresses.
fn secure_url(key: &str, text: &str) -> Result<Url, String> {
    let is_loopback = |url: &Url| match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let url = Url::parse(text.trim()).ok();
    let url = url.filter(|url| url.scheme() == "https" && url.has_host() || url.scheme() == "http" && is_loopback(url));
    url.ok_or_else(|| format!("has a \"{key}\" that is not an https URL"))
}

fn required<'a>(file: &'a Map<String, Value>, key: &'static str) -> Result<&'a str, String> {
    optional(file, key)?.ok_or_else(|| format!("has no \"{key}\""))
}

fn optional<'a>(file: &'a Map<String, Value>, key: &'static str) -> Result<Option<&'a str>, String> {
    match file.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.trim()).filter(|text| !text.is_empty())),
        Some(_) => Err(format!("has a \"{key}\" that is not text")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::{ExternalAccount, SubjectSource};

    fn file() -> Value {
        json!({
            "type": "external_account",
            "audience": "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/p/providers/k8s",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/x:generateAccessToken",
            "credential_source": {"file": "token", "format": {"type": "json", "subject_token_field_name": "t"}},
        })
    }

    fn parse(file: &Value) -> Result<ExternalAccount, String> {
        ExternalAccount::parse(file.as_object().unwrap(), Path::new("/keys"))
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut file = file();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = if parent.is_empty() { &mut file } else { file.pointer_mut(parent).unwrap() };
        parent[key] = value;
        file
    }

    #[test]
    fn a_file_of_google_is_read() {
        let account = parse(&file()).unwrap();
        assert!(matches!(&account.subject.source, SubjectSource::File(path) if path == Path::new("/keys/token")));
        assert_eq!(account.subject.member.as_deref(), Some("t"));
        assert_eq!(account.impersonation.as_ref().unwrap().lifetime, 3600);
        assert!(account.client.is_none() && account.quota_project.is_none());
        assert_ne!(account.digest(), parse(&with("/audience", json!("other"))).unwrap().digest());
    }

    #[test]
    fn optional_members_have_defaults() {
        let mut bare = file();
        let members = bare.as_object_mut().unwrap();
        for key in ["token_url", "service_account_impersonation_url"] {
            members.remove(key);
        }
        bare["credential_source"] = json!({"url": "http://169.254.169.254/token", "headers": {"Metadata": "true"}});
        bare["universe_domain"] = json!("example.goog");
        let account = parse(&bare).unwrap();
        assert_eq!(account.token_url.as_str(), "https://sts.example.goog/v1/token");
        assert!(account.impersonation.is_none() && account.subject.member.is_none());
        assert!(matches!(&account.subject.source, SubjectSource::Url { headers, .. } if headers.len() == 1));
        assert!(parse(&with("/token_url", json!("http://127.0.0.1:1/t"))).is_ok());
        assert!(parse(&with("/subject_token_type", json!("urn:ietf:params:oauth:token-type:id-token"))).is_ok());
    }

    #[test]
    fn each_problem_names_its_member_and_shows_no_value() {
        for (pointer, value, named) in [
            ("/audience", Value::Null, "\"audience\""),
            ("/audience", json!(5), "\"audience\""),
            ("/subject_token_type", json!("hush"), "\"subject_token_type\""),
            ("/subject_token_type", json!("urn:ietf:params:aws:token-type:aws4_request"), "AWS"),
            ("/token_url", json!("http://hush.example/"), "\"token_url\""),
            ("/token_url", json!("hush"), "\"token_url\""),
            ("/service_account_impersonation_url", json!("ftp://hush"), "\"service_account_impersonation_url\""),
            ("/service_account_impersonation", json!({"token_lifetime_seconds": 10}), "token_lifetime_seconds"),
            ("/workforce_pool_user_project", json!("hush"), "workforce_pool_user_project"),
            ("/client_secret", json!("hush"), "\"client_secret\""),
            ("/quota_project_id", json!("hush\n1"), "\"quota_project_id\""),
            ("/credential_source", json!("hush"), "\"credential_source\""),
            ("/credential_source", json!({}), "neither \"file\" nor \"url\""),
            ("/credential_source/url", json!("https://hush"), "\"file\" and \"url\""),
            ("/credential_source", json!({"url": "hush"}), "\"credential_source.url\""),
            ("/credential_source/executable", json!({"command": "hush"}), "credential_source.executable"),
            ("/credential_source/certificate", json!({}), "credential_source.certificate"),
            ("/credential_source", json!({"environment_id": "aws1"}), "credential_source.environment_id"),
            ("/credential_source/format", json!({"type": "xml"}), "credential_source.format.type"),
            ("/credential_source/format", json!({"type": "json"}), "subject_token_field_name"),
            ("/credential_source", json!({"url": "https://a/", "headers": {"a": 5}}), "credential_source.headers"),
        ] {
            let error = parse(&with(pointer, value)).err().unwrap_or_else(|| panic!("{pointer} is accepted"));
            assert!(error.contains(named) && !error.contains("hush"), "{pointer}: {error}");
        }
    }
}
