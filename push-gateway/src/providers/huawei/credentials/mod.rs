//! The accounts that authenticate messages, shared by all apps of a process.
//!
//! Invariant: a token or secret appears in no failure.

mod service_account;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use sha2::{Digest, Sha256};
use shared::clock::{Clock, Timestamp};
use shared::config::secret;
use shared::secret::Secret;
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use self::service_account::ServiceAccount;
use super::settings::{Settings, Version};
use crate::providers::SetupError;
use crate::providers::access_token::grant::{Grant, invalid_url, read_grant};
use crate::providers::access_token::{Account, TokenSource};
use crate::providers::in_use::InUse;
use crate::providers::transport::{Route, exchange, plain_url};
use crate::upstream::origins::Origins;

/// The accounts in use. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct AccountCache(Arc<InUse<AccountName, HuaweiAccount>>);

/// An account with its token.
pub(super) type HuaweiAccount = Account<Tokens>;

/// A credential of an app.
pub(super) enum Credential {
    /// Version 3: the key signs the token.
    Key(ServiceAccount),
    /// Version 1: the token endpoint issues it.
    Client(OAuthClient),
}

/// An OAuth client (RFC 6749 §4.4).
pub(super) struct OAuthClient {
    /// The app's number, by which messages are addressed.
    number: String,
    id: String,
    secret: Secret<String>,
    token_url: Url,
}

/// Identifies a credential: apps with the same one share a token.
#[derive(PartialEq, Eq, Hash)]
enum AccountName {
    Key(service_account::Identity),
    Client { token_url: String, id: String, secret: [u8; 32] },
}

/// A credential, with the client for its requests.
pub(super) struct Tokens {
    credential: Credential,
    client: Origins,
}

impl AccountCache {
    /// The account of `credential`: one in use, or a new one.
    pub(super) fn account(&self, credential: Credential, route: &Route, clock: &Clock) -> Arc<HuaweiAccount> {
        let name = credential.name();
        let new = || Account::new(Tokens { credential, client: route.client() }, clock.clone());
        self.0.find_or_insert(name, new)
    }
}

impl Credential {
    /// Reads the credential that the settings name.
    pub(super) fn load(settings: &Settings) -> Result<Self, SetupError> {
        match settings.version {
            Version::V1 => Self::client(settings),
            Version::V3 => Self::key(settings),
        }
    }

    /// The project (version 3) or the app (version 1) in the URL of messages.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Key(account) => account.project_id(),
            Self::Client(client) => &client.number,
        }
    }

    fn client(settings: &Settings) -> Result<Self, SetupError> {
        let number = settings.app_id_number.as_ref().ok_or("app_id_number: missing")?;
        let secret = secret("client_secret", settings.client_secret.as_ref(), settings.client_secret_file.as_deref())?;
        let secret = secret.ok_or("client_secret_file: missing")?;
        let secret = Secret::new(secret.expose().trim().to_owned());
        if secret.expose().is_empty() {
            return Err("client_secret_file: is empty; it is the App secret".into());
        }
        Ok(Self::Client(OAuthClient {
            number: number.0.clone(),
            id: settings.client_id.as_ref().unwrap_or(number).0.clone(),
            secret,
            token_url: plain_url("token_url", settings.token_url())?,
        }))
    }

    fn key(settings: &Settings) -> Result<Self, SetupError> {
        let read = |key: &str, path: &Path| {
            let content = std::fs::read(path).map(Zeroizing::new);
            let content = content.map_err(|error| format!("{key}: cannot read {}: {error}", path.display()))?;
            ServiceAccount::parse(&content).map_err(|problem| format!("{key}: {} {problem}", path.display()))
        };
        let account = match (&settings.service_account, &settings.service_account_file) {
            (Some(_), Some(_)) => {
                return Err("service_account and service_account_file are both set; keep one of them".into());
            }
            (Some(text), None) => ServiceAccount::parse(text.expose().as_bytes())
                .map_err(|problem| format!("service_account: its value {problem}"))?,
            (None, Some(path)) => read("service_account_file", path)?,
            (None, None) => return Err("service_account_file: missing".into()),
        };
        Ok(Self::Key(account))
    }

    fn name(&self) -> AccountName {
        match self {
            Self::Key(account) => AccountName::Key(account.identity()),
            Self::Client(client) => AccountName::Client {
                token_url: client.token_url.to_string(),
                id: client.id.clone(),
                secret: Sha256::digest(client.secret.expose()).into(),
            },
        }
    }
}

impl TokenSource for Tokens {
    const PROBLEM: &'static str = "no access token for Huawei Push Kit: check the service account (version 3), or client_id, client_secret and the \
         connection to token_url (version 1)";
    const NOTE: &'static str = "Huawei gives its account no access token: nothing is delivered to this app";

    async fn request(&self, now: Timestamp) -> Result<Grant, String> {
        match &self.credential {
            Credential::Key(account) => account.token(now),
            Credential::Client(client) => {
                let request = client.request().map_err(|error| invalid_url(&error))?;
                let response = exchange(&self.client, request).await.map_err(|failure| failure.to_string())?;
                read_grant(response.status, &response.body)
            }
        }
    }
}

impl OAuthClient {
    fn request(&self) -> http::Result<Request<Full<Bytes>>> {
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.id)
            .append_pair("client_secret", self.secret.expose())
            .finish();
        Request::post(self.token_url.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))
    }
}
