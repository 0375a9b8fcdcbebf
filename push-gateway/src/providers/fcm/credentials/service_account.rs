//! A service account's key file, and the assertion that its key signs (RFC 7523; *OAuth 2.0 for Server to Server
//! Applications*).
//!
//! Invariant: the private key leaves this module only as signatures.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use shared::clock::Timestamp;
use shared::pem;
use shared::secret::Secret;
use shared::text_file::unquoted;
use url::Url;

use super::key_file::KeyFile;

/// The scope of the tokens.
pub(in super::super) const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

/// The lifetime of an assertion, in seconds; Google accepts no longer one.
const ASSERTION_LIFETIME: i64 = 3600;

/// A service account with its key.
pub(in super::super) struct ServiceAccount {
    client_email: String,
    key_id: Option<String>,
    key: EncodingKey,
    key_digest: [u8; 32],
    project_id: Option<String>,
    token_uri: Url,
    /// `token_uri` as written: Google compares it byte by byte.
    audience: String,
}

/// The identity of a service account: apps with the same one share a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Identity {
    client_email: String,
    key_digest: [u8; 32],
    audience: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl ServiceAccount {
    /// Checks the content of a key file.
    ///
    /// # Errors
    /// The problem; its subject is the file. It names the member and never its value.
    pub(super) fn new(file: KeyFile) -> Result<Self, String> {
        let key = file.private_key.ok_or("has no \"private_key\"")?;
        let pem = pem::private_key_pem(key.expose().as_bytes())
            .map_err(|error| format!("has a \"private_key\" that {error}"))?;
        let key = EncodingKey::from_rsa_pem(pem.expose().as_bytes())
            .map_err(|_| "has a \"private_key\" that is not an RSA key")?;
        // Copied values often bring blanks or a line break.
        let value = |text: Option<String>| text.map(|text| unquoted(&text).to_owned()).filter(|text| !text.is_empty());
        let audience = value(file.token_uri).unwrap_or_else(|| String::from("https://oauth2.googleapis.com/token"));
        let token_uri = Url::parse(&audience).ok().filter(|url| matches!(url.scheme(), "https" | "http"));
        let mut key_digest = [0; 32];
        key_digest.copy_from_slice(digest(&SHA256, pem.expose().as_bytes()).as_ref());
        let account = Self {
            client_email: value(file.client_email).ok_or("has no \"client_email\"")?,
            key_id: value(file.private_key_id),
            key,
            key_digest,
            project_id: value(file.project_id),
            token_uri: token_uri.ok_or("has a \"token_uri\" that is not a URL")?,
            audience,
        };
        // Finds a key that cannot sign before the first message.
        account.assertion(Timestamp::from_millis(0)).map_err(|_| "has a \"private_key\" that cannot sign")?;
        Ok(account)
    }

    pub(in super::super) fn project_id(&self) -> Option<&str> {
        self.project_id.as_deref()
    }

    pub(in super::super) fn token_uri(&self) -> &Url {
        &self.token_uri
    }

    pub(in super::super) fn identity(&self) -> Identity {
        Identity {
            client_email: self.client_email.clone(),
            key_digest: self.key_digest,
            audience: self.audience.clone(),
        }
    }

    /// A signed request for a token, valid for an hour from `now`.
    ///
    /// # Errors
    /// If the key cannot sign.
    pub(in super::super) fn assertion(&self, now: Timestamp) -> Result<Secret<String>, jsonwebtoken::errors::Error> {
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.key_id);
        let iat = now.as_millis().div_euclid(1000);
        let claims =
            Claims { iss: &self.client_email, scope: SCOPE, aud: &self.audience, iat, exp: iat + ASSERTION_LIFETIME };
        jsonwebtoken::encode(&header, &claims, &self.key).map(Secret::new)
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("client_email", &self.client_email).finish_non_exhaustive()
    }
}
