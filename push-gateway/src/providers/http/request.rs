//! The header fields of a request to the receiver: the operator's, and the signature.

use std::collections::BTreeMap;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use shared::secret::Secret;

/// The field with the signature.
const SIGNATURE: HeaderName = HeaderName::from_static("x-push-signature");

/// Fields that the gateway or the connection sets.
const RESERVED: [&str; 8] =
    ["content-length", "content-type", "connection", "host", "te", "transfer-encoding", "upgrade", "x-push-signature"];

/// The header fields that every request has.
pub(super) struct Headers(HeaderMap);

impl Headers {
    /// Reads the operator's fields.
    ///
    /// # Errors
    /// The problem with its key; it contains no value.
    pub(super) fn new(operators: &BTreeMap<String, Secret<String>>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in operators {
            let wrong = |problem: &str| format!("headers.{name}: {problem}");
            let field: HeaderName = name.parse().map_err(|_| wrong("is not the name of a header"))?;
            if RESERVED.contains(&field.as_str()) {
                return Err(wrong("the gateway sets this itself"));
            }
            let mut value =
                HeaderValue::from_str(value.expose()).map_err(|_| wrong("has a value that no header can have"))?;
            value.set_sensitive(true);
            headers.insert(field, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(Self(headers))
    }

    /// The fields of one request.
    pub(super) fn with(&self, signature: Option<HeaderValue>) -> HeaderMap {
        let mut headers = self.0.clone();
        if let Some(signature) = signature {
            headers.insert(SIGNATURE, signature);
        }
        headers
    }
}
