//! The request to FCM: the URL from the project, and the header fields.
//!
//! Invariant: a project ID reaches the path only with harmless characters.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use url::Url;

use crate::providers::transport::plain_url;

/// The field that names the project which pays for a request.
const QUOTA_PROJECT: HeaderName = HeaderName::from_static("x-goog-user-project");

/// The header fields that authorize a message.
#[derive(Clone, Debug)]
pub(super) struct Authorization {
    /// `Authorization`
    pub(super) value: HeaderValue,
    /// `x-goog-user-project`
    pub(super) quota_project: Option<HeaderValue>,
}

/// The URL for messages of `project_id`.
///
/// # Errors
/// The problem, with its key, if `base_url` is unusable or the project ID does not fit into a path.
pub(super) fn send_url(base_url: &str, project_id: &str) -> Result<Url, String> {
    check_project_id(project_id)?;
    let base = plain_url("base_url", base_url)?;
    plain_url("base_url", &format!("{}/v1/projects/{project_id}/messages:send", base.as_str().trim_end_matches('/')))
}

fn check_project_id(id: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if !id.is_empty() && id.chars().all(is_allowed) && id.chars().any(|c| c.is_ascii_alphanumeric()) {
        Ok(())
    } else {
        Err(String::from("project_id: expected letters, digits and - _ . :"))
    }
}

/// The header fields of a message.
pub(super) fn headers(authorization: Authorization) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(AUTHORIZATION, authorization.value);
    if let Some(project) = authorization.quota_project {
        headers.insert(QUOTA_PROJECT, project);
    }
    headers.insert(CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
    headers
}
