//! From a token of an identity outside Google to an access token: the subject token, the token exchange (RFC 8693), the
//! impersonation of a service account (*generateAccessToken*).
//!
//! Invariant: nothing of one exchange is kept for the next one; no reason of a failure contains a token.

use std::io::Read;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json};
use shared::clock::Timestamp;
use shared::secret::Secret;
use url::form_urlencoded::Serializer;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::Clients;
use super::external_account::{ExternalAccount, Impersonation, SubjectSource};
use super::service_account::SCOPE;
use crate::providers::access_token::grant::{Grant, grant, invalid_url, read_grant};
use crate::providers::log_throttle::escaped;
use crate::providers::transport::{MAX_TOKEN_BODY, exchange as send};
use crate::upstream::origins::Origins;
use crate::upstream::response::UpstreamResponse;

/// The scope of a token that only impersonates a service account.
const IMPERSONATION_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The response of `generateAccessToken`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonated {
    access_token: Secret<String>,
    expire_time: String,
}

/// Requests an access token once; each failure names its step.
///
/// # Errors
/// The reason, for a log.
pub(super) async fn request(account: &ExternalAccount, clients: &Clients, now: Timestamp) -> Result<Grant, String> {
    let subject = subject_token(account, clients).await.map_err(|reason| format!("subject token: {reason}"))?;
    let named = |step: &str, url: &Url, reason: &str| format!("{step} at {}: {reason}", host(url));
    let federated = exchange(account, &clients.google, &subject)
        .await
        .map_err(|reason| named("token exchange", &account.token_url, &without(&reason, &subject)))?;
    let Some(impersonation) = &account.impersonation else { return Ok(federated) };
    impersonate(impersonation, &clients.google, &federated.access_token, now)
        .await
        .map_err(|reason| named("impersonation", &impersonation.url, &without(&reason, &federated.access_token)))
}

/// Gets the token of the identity: from a file that is read each time, because its issuer replaces it, or from a server.
async fn subject_token(account: &ExternalAccount, clients: &Clients) -> Result<Secret<String>, String> {
    let (place, content) = match &account.subject.source {
        SubjectSource::File(path) => {
            let path = path.clone();
            let place = path.display().to_string();
            let read = tokio::task::spawn_blocking(move || read_file(&path));
            let content = read.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
            let content = content.map_err(|error| format!("cannot read {place}: {error}"))?;
            (place, content)
        }
        SubjectSource::Url { url, headers } => {
            let mut request = Request::get(url.as_str()).body(Full::default()).map_err(|error| invalid_url(&error))?;
            for (name, value) in headers {
                request.headers_mut().insert(name.clone(), value.clone());
            }
            // A server of the machine, such as the metadata server of another cloud, is not behind the proxy.
            let client = if is_of_machine(url) { &clients.machine } else { &clients.google };
            let response = fetch(client, Ok(request)).await.map_err(|reason| format!("{}: {reason}", host(url)))?;
            if response.status != 200 {
                return Err(format!("{}: status {}", host(url), response.status));
            }
            (host(url), Zeroizing::new(response.body))
        }
    };
    let text = std::str::from_utf8(&content).map_err(|_| format!("{place} is not UTF-8 text"))?;
    let token = match &account.subject.member {
        None => text.trim().to_owned(),
        Some(member) => {
            let json: Value = serde_json::from_str(text).map_err(|_| format!("{place} is not JSON"))?;
            let token = json.get(member).and_then(Value::as_str).unwrap_or_default();
            if token.is_empty() {
                return Err(format!("{place} has no text in its member \"{}\"", escaped(member)));
            }
            token.to_owned()
        }
    };
    if token.is_empty() { Err(format!("{place} is empty")) } else { Ok(Secret::new(token)) }
}

fn read_file(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    std::fs::File::open(path)?.take(MAX_TOKEN_BODY as u64 + 1).read_to_end(&mut content)?;
    if content.len() > MAX_TOKEN_BODY { Err(std::io::ErrorKind::FileTooLarge.into()) } else { Ok(content) }
}

/// Exchanges the subject token for an access token of the pool.
async fn exchange(account: &ExternalAccount, client: &Origins, subject: &Secret<String>) -> Result<Grant, String> {
    let scope = if account.impersonation.is_some() { IMPERSONATION_SCOPE } else { SCOPE };
    let form = Serializer::new(String::new())
        .append_pair("grant_type", TOKEN_EXCHANGE)
        .append_pair("audience", &account.audience)
        .append_pair("scope", scope)
        .append_pair("requested_token_type", ACCESS_TOKEN)
        .append_pair("subject_token", subject.expose())
        .append_pair("subject_token_type", &account.subject_token_type)
        .finish();
    let mut request =
        Request::post(account.token_url.as_str()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some((id, secret)) = &account.client {
        let pair = Zeroizing::new(format!("{id}:{}", secret.expose()));
        request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    }
    let response = fetch(client, request.body(Full::from(form))).await?;
    read_grant(response.status, &response.body)
}

/// Exchanges the access token of the pool for one of the service account.
async fn impersonate(
    impersonation: &Impersonation,
    client: &Origins,
    token: &Secret<String>,
    now: Timestamp,
) -> Result<Grant, String> {
    let body = json!({"delegates": [], "scope": [SCOPE], "lifetime": format!("{}s", impersonation.lifetime)});
    let request = Request::post(impersonation.url.as_str())
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, format!("Bearer {}", token.expose()));
    let UpstreamResponse { status, body, .. } = fetch(client, request.body(Full::from(body.to_string()))).await?;
    if status != 200 {
        let error: Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = |key: &str| escaped(error["error"][key].as_str().unwrap_or_default());
        let action = "; give its principal the role Service Account Token Creator, and enable the IAM Service Account \
                      Credentials API";
        let action = if status == 403 { action } else { "" };
        return Err(format!("status {} {} {}{action}", status, text("status"), text("message")));
    }
    let unreadable = || String::from("it sent an unreadable response");
    let Impersonated { access_token, expire_time } = serde_json::from_slice(&body).map_err(|_| unreadable())?;
    let end: jiff::Timestamp = expire_time.parse().map_err(|_| unreadable())?;
    grant(access_token, Timestamp::from_millis(end.as_millisecond()).since(now))
}

async fn fetch(client: &Origins, request: http::Result<Request<Full<Bytes>>>) -> Result<UpstreamResponse, String> {
    let request = request.map_err(|error| invalid_url(&error))?;
    let response = send(client, request).await.map_err(|failure| failure.to_string())?;
    if response.body.len() < MAX_TOKEN_BODY { Ok(response) } else { Err(String::from("its response is too large")) }
}

/// `reason` without `token`, and without any long part of it: a server may quote what it refuses.
fn without(reason: &str, token: &Secret<String>) -> String {
    /// A shorter run of characters says nothing about a token.
    const RUN: usize = 12;
    let token = token.expose();
    let mut out = reason.replace(token.as_str(), "***");
    let is_of_token = |c: char| c.is_ascii_alphanumeric() || "-_.=+/".contains(c);
    let quoted: Vec<String> = out
        .split(|c: char| !is_of_token(c))
        .filter(|run| run.len() >= RUN && token.contains(&run[..RUN]))
        .map(str::to_owned)
        .collect();
    for run in quoted {
        out = out.replace(&run, "***");
    }
    out
}

/// Whether the URL leads to this machine or to its link.
fn is_of_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name == "metadata.google.internal",
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_link_local(),
        Some(Host::Ipv6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        None => false,
    }
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use shared::secret::Secret;
    use url::Url;

    use super::{is_of_machine, without};

    #[test]
    fn a_quoted_token_is_removed_in_whole_and_in_part() {
        let token = Secret::new(String::from("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"));
        for (reason, expected) in [
            ("status 400 invalid_grant bad", "status 400 invalid_grant bad"),
            ("bad: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl!", "bad: ***!"),
            ("bad: 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIi", "bad: '***"),
            ("bad: eyJzdWIiOiJhIn0", "bad: ***"),
        ] {
            assert_eq!(without(reason, &token), expected);
        }
        let short = Secret::new(String::from("the.subject.token"));
        assert_eq!(without("unknown token the.subject.token", &short), "unknown token ***");
    }

    #[test]
    fn servers_of_the_machine_are_not_behind_the_proxy() {
        for (url, expected) in [
            ("http://169.254.169.254/metadata/identity", true),
            ("http://127.0.0.1:40342/msi", true),
            ("http://localhost/", true),
            ("http://[::1]/", true),
            ("https://token.actions.example/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_of_machine(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
