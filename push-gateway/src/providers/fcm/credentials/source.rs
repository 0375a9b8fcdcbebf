//! The sources of access tokens: a service account's key, an identity outside Google, the cloud's metadata server.
//!
//! Invariant: no reason of a failure contains a token or a key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body_util::Full;
use shared::clock::Timestamp;
use url::Url;
use zeroize::Zeroizing;

use super::super::settings::default_credentials::DefaultSource;
use super::super::settings::{Credentials, Settings};
use super::Clients;
use super::external_account::ExternalAccount;
use super::key_file::CredentialFile;
use super::service_account::{Identity, SCOPE, ServiceAccount};
use super::token_exchange;
use crate::providers::SetupError;
use crate::providers::access_token::grant::{Grant, invalid_url, read_grant};
use crate::providers::transport::{exchange, plain_url};
use crate::upstream::origins::Origins;
use crate::upstream::response::UpstreamResponse;

/// The time for a response of the metadata server, when nothing says that there is one.
const METADATA_TIMEOUT: Duration = Duration::from_secs(3);

/// The field that marks requests to and responses of the metadata server.
const FLAVOR: &str = "metadata-flavor";

/// The source of access tokens.
pub(in super::super) enum Source {
    /// Google's token endpoint, for an assertion that the account's key signs.
    ServiceAccount(Box<ServiceAccount>),
    /// Google's token service, for a token of an identity outside Google.
    External(Box<ExternalAccount>),
    /// The metadata server at this URL of access tokens, which the operator named.
    Metadata(Url),
    /// The metadata server that may be there.
    DefaultMetadata {
        token_url: Url,
        /// The URL of the project's ID, if it is needed.
        project_url: Option<Url>,
    },
}

/// Identifies a source: apps with the same one share a token.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum SourceName {
    Key(Identity),
    External([u8; 32]),
    Metadata(String),
    DefaultMetadata { token_url: String, has_project: bool },
}

impl Source {
    /// The source that the settings name; reads the credential file.
    pub(in super::super) fn load(settings: &Settings) -> Result<Self, SetupError> {
        match settings.credentials {
            Credentials::ServiceAccount => match (&settings.service_account, &settings.service_account_file) {
                (Some(_), Some(_)) => {
                    Err("service_account and service_account_file are both set; keep one of them".into())
                }
                (Some(text), None) => Self::parse(text.expose().as_bytes(), Path::new(""))
                    .map_err(|problem| format!("service_account: its value {problem}").into()),
                (None, Some(path)) => Self::read("service_account_file", path),
                (None, None) => Err("service_account_file: missing".into()),
            },
            Credentials::Metadata => Ok(Self::Metadata(plain_url("metadata_url", &settings.metadata_url)?)),
            Credentials::Adc => match settings.default_credentials.as_ref().map(|found| &found.source) {
                Some(DefaultSource::File { path, origin }) => {
                    Self::read("credentials", path).map_err(|problem| format!("{problem} (from {origin})").into())
                }
                Some(DefaultSource::Metadata { host }) => {
                    let url = |path| plain_url("credentials", &format!("http://{host}/computeMetadata/v1/{path}"));
                    Ok(Self::DefaultMetadata {
                        token_url: url("instance/service-accounts/default/token")?,
                        project_url: match settings.known_project_id() {
                            None => Some(url("project/project-id")?),
                            Some(_) => None,
                        },
                    })
                }
                None => Err("credentials: found no application default credentials".into()),
            },
        }
    }

    fn read(key: &str, path: &PathBuf) -> Result<Self, SetupError> {
        let content = std::fs::read(path).map_err(|error| format!("{key}: cannot read {}: {error}", path.display()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Self::parse(&Zeroizing::new(content), folder)
            .map_err(|problem| format!("{key}: {} {problem}", path.display()).into())
    }

    fn parse(content: &[u8], folder: &Path) -> Result<Self, String> {
        Ok(match CredentialFile::parse(content)? {
            CredentialFile::Key(file) => Self::ServiceAccount(Box::new(ServiceAccount::new(file)?)),
            CredentialFile::External(file) => Self::External(Box::new(ExternalAccount::parse(&file, folder)?)),
        })
    }

    pub(super) fn name(&self) -> SourceName {
        match self {
            Self::ServiceAccount(account) => SourceName::Key(account.identity()),
            Self::External(account) => SourceName::External(account.digest()),
            Self::Metadata(url) => SourceName::Metadata(url.to_string()),
            Self::DefaultMetadata { token_url, project_url } => {
                SourceName::DefaultMetadata { token_url: token_url.to_string(), has_project: project_url.is_some() }
            }
        }
    }

    /// The project of the service account.
    pub(in super::super) fn project_id(&self) -> Option<&str> {
        match self {
            Self::ServiceAccount(account) => account.project_id(),
            Self::External(_) | Self::Metadata(_) | Self::DefaultMetadata { .. } => None,
        }
    }

    /// Whether the source names the project together with the first token.
    pub(in super::super) fn brings_project(&self) -> bool {
        matches!(self, Self::DefaultMetadata { project_url: Some(_), .. })
    }

    /// The project that pays for the messages, if it is another one.
    pub(in super::super) fn quota_project(&self) -> Option<HeaderValue> {
        match self {
            Self::External(account) => account.quota_project.clone(),
            Self::ServiceAccount(_) | Self::Metadata(_) | Self::DefaultMetadata { .. } => None,
        }
    }

    /// Requests a token once.
    ///
    /// # Errors
    /// The reason, for a log.
    pub(super) async fn request(&self, clients: &Clients, now: Timestamp) -> Result<Grant, String> {
        let (client, request) = match self {
            Self::ServiceAccount(account) => {
                let assertion = account.assertion(now).map_err(|_| String::from("the key cannot sign"))?;
                // A JWT contains no characters that a form has to escape.
                let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer";
                let request = Request::post(account.token_uri().as_str())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(Full::from(format!("{grant}&assertion={}", assertion.expose())));
                (&clients.google, request.map_err(|error| invalid_url(&error))?)
            }
            Self::External(account) => return token_exchange::request(account, clients, now).await,
            Self::Metadata(url) => (&clients.machine, metadata_request(&with_scope(url))?),
            Self::DefaultMetadata { token_url, project_url } => {
                return of_default_metadata(&clients.machine, token_url, project_url.as_ref()).await;
            }
        };
        let response = exchange(client, request).await.map_err(|failure| failure.to_string())?;
        read_grant(response.status, &response.body)
    }
}

/// Gets a token and, if it is needed, the project from the metadata server.
async fn of_default_metadata(client: &Origins, token_url: &Url, project_url: Option<&Url>) -> Result<Grant, String> {
    // The first response holds its connection until it is dropped.
    let mut grant = {
        let response = ask_metadata(client, &with_scope(token_url)).await?;
        read_grant(response.status, &response.body).map_err(|reason| format!("metadata server: {reason}"))?
    };
    if let Some(url) = project_url {
        let response = ask_metadata(client, url).await?;
        let status = response.status;
        let text =
            std::str::from_utf8(&response.body).map(str::trim).ok().filter(|text| status == 200 && !text.is_empty());
        let problem = || format!("metadata server: status {status} for the project's ID; set project_id");
        grant.project_id = Some(text.ok_or_else(problem)?.to_owned());
    }
    Ok(grant)
}

/// Sends one request to a server that proves to be the metadata server.
async fn ask_metadata(client: &Origins, url: &Url) -> Result<UpstreamResponse, String> {
    let fetch = exchange(client, metadata_request(url)?);
    let reply = match tokio::time::timeout(METADATA_TIMEOUT, fetch).await {
        Ok(reply) => reply.map_err(|failure| format!("metadata server: {failure}"))?,
        Err(_) => return Err(String::from("metadata server: it did not respond in time")),
    };
    if reply.headers.get(FLAVOR).is_none_or(|flavor| flavor != "Google") {
        return Err(String::from("metadata server: its response is not one of Google's metadata server"));
    }
    Ok(reply)
}

fn with_scope(url: &Url) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("scopes", SCOPE);
    url
}

fn metadata_request(url: &Url) -> Result<Request<Full<Bytes>>, String> {
    let request = Request::get(url.as_str()).header(FLAVOR, "Google").body(Full::default());
    request.map_err(|error| invalid_url(&error))
}
