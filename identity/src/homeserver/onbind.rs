//! `POST /_matrix/federation/v1/3pid/onbind`: notifies a homeserver that an address of one of its users is bound.
//! <https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv13pidonbind>
//!
//! Invariant: the request has no `Authorization`; what it says is signed in its body.

use std::time::Duration;

use hyper::Method as HttpMethod;
use serde_json::{Map, Value};

use super::client::{ContactError, FederationRequest, HomeserverClient, Purpose, count_error};
use crate::domain::onbind::{Method, Reply};
use crate::domain::server_name::ServerName;

const PATH: &str = "/_matrix/federation/v1/3pid/onbind";
/// The reply is an empty object or an error.
const MAX_REPLY: usize = 64 * 1024;

/// Sends `body`; gives the reply, and when the homeserver wants to be asked again if it says so.
///
/// # Errors
/// [`ContactError`] if there is no whole reply.
pub async fn notify(
    client: &HomeserverClient,
    server: &ServerName,
    method: Method,
    body: Map<String, Value>,
) -> Result<(Reply, Option<Duration>), ContactError> {
    let request = FederationRequest {
        purpose: Purpose::Onbind,
        method: match method {
            Method::Post => HttpMethod::POST,
            Method::Put => HttpMethod::PUT,
        },
        server,
        path_and_query: PATH,
        body: Some(Value::Object(body).to_string()),
        max_reply: MAX_REPLY,
    };
    let reply = client.send(request).await?;
    if !reply.status.is_success() {
        count_error(Purpose::Onbind, "reply");
    }
    Ok((Reply { status: reply.status.as_u16(), errcode: errcode(&reply.body) }, reply.retry_after))
}

fn errcode(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body.get("errcode")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::errcode;

    #[test]
    fn only_json_with_an_errcode_is_an_error_of_matrix() {
        assert_eq!(errcode(br#"{"errcode":"M_FORBIDDEN","error":"no"}"#).as_deref(), Some("M_FORBIDDEN"));
        for body in ["", "<html>", "[]", "{}", "null", r#"{"errcode":5}"#, r#"["errcode"]"#] {
            assert_eq!(errcode(body.as_bytes()), None, "{body}");
        }
    }
}
