//! The file of a service account of version 3, and the tokens that its key signs (RFC 7519; *push-jwt-token*).
//!
//! Invariant: the private key leaves this module only as signatures.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::clock::Timestamp;
use shared::pem;
use shared::secret::Secret;
use shared::text_file::unquoted;

use crate::providers::access_token::grant::{Grant, grant};
use crate::providers::json_file::{self, NotJson};

/// `aud` of every token.
const AUDIENCE: &str = "https://oauth-login.cloud.huawei.com/oauth2/v3/token";

/// The lifetime of a token, in seconds; Huawei accepts up to a day.
const LIFETIME: i64 = 3600;

/// The file as written.
#[derive(Deserialize)]
struct KeyFile {
    project_id: Option<String>,
    key_id: Option<String>,
    private_key: Option<Secret<String>>,
    sub_account: Option<String>,
}

/// A service account with its key.
pub(in super::super) struct ServiceAccount {
    project_id: String,
    key_id: String,
    sub_account: String,
    key: EncodingKey,
    key_digest: [u8; 32],
}

/// Apps with the same one share a token.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Identity {
    key_id: String,
    sub_account: String,
    key_digest: [u8; 32],
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
}

impl ServiceAccount {
    /// Reads the content of a file.
    ///
    /// # Errors
    /// The problem; its subject is the file. It names the member and never its value.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let (file, _) = json_file::read::<KeyFile>(content).map_err(|problem| match problem {
            NotJson::Encoding(error) => error.to_string(),
            NotJson::Text(_) => String::from("is not the JSON file of a service account; download it again"),
        })?;
        let key = file.private_key.ok_or("has no \"private_key\"")?;
        let pem = pem::private_key_pem(key.expose().as_bytes())
            .map_err(|error| format!("has a \"private_key\" that {error}"))?;
        let key = EncodingKey::from_rsa_pem(pem.expose().as_bytes())
            .map_err(|_| "has a \"private_key\" that is not an RSA key")?;
        // Copied values often bring blanks or a line break.
        let value = |text: Option<String>| text.map(|text| unquoted(&text).to_owned()).filter(|text| !text.is_empty());
        let account = Self {
            project_id: value(file.project_id).ok_or("has no \"project_id\"")?,
            key_id: value(file.key_id).ok_or("has no \"key_id\"")?,
            sub_account: value(file.sub_account).ok_or("has no \"sub_account\"")?,
            key,
            key_digest: Sha256::digest(pem.expose()).into(),
        };
        // Finds a key that cannot sign before the first message.
        account.token(Timestamp::from_millis(0)).map_err(|_| "has a \"private_key\" that cannot sign")?;
        Ok(account)
    }

    pub(super) fn project_id(&self) -> &str {
        &self.project_id
    }

    pub(super) fn identity(&self) -> Identity {
        let Self { key_id, sub_account, key_digest, .. } = self;
        Identity { key_id: key_id.clone(), sub_account: sub_account.clone(), key_digest: *key_digest }
    }

    /// A token that is valid for an hour from `now`.
    ///
    /// # Errors
    /// The reason, for a log.
    pub(super) fn token(&self, now: Timestamp) -> Result<Grant, String> {
        let mut header = Header::new(Algorithm::PS256);
        header.kid = Some(self.key_id.clone());
        let iat = now.as_millis().div_euclid(1000);
        let claims = Claims { iss: &self.sub_account, aud: AUDIENCE, iat, exp: iat + LIFETIME };
        let token = jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| "the key cannot sign")?;
        grant(Secret::new(token), Duration::from_secs(LIFETIME.unsigned_abs()))
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccount").field("project_id", &self.project_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ServiceAccount;

    #[test]
    fn an_unusable_file_is_named_without_its_content() {
        for (content, expected) in [
            (String::new(), "is empty"),
            ("<html>c2VjcmV0</html>".to_owned(), "is not the JSON file"),
            (json!({ "project_id": "1" }).to_string(), "has no \"private_key\""),
            (json!({ "private_key": "c2VjcmV0" }).to_string(), "has a \"private_key\" that"),
        ] {
            let error = ServiceAccount::parse(content.as_bytes()).unwrap_err();
            assert!(error.contains(expected) && !error.contains("c2VjcmV0"), "{content}: {error}");
        }
    }
}
