//! `GET /_matrix/federation/v1/openid/userinfo`: asks a homeserver whose an OpenID token is.
//! <https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo>
//!
//! Invariant: a server vouches for its own users only.

use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use shared::random::Random;
use shared::secret::Secret;

use super::client::{ContactError, FederationReply, FederationRequest, HomeserverClient, Purpose, count_error};
use crate::domain::mxid::UserId;
use crate::domain::server_name::ServerName;

/// The reply is one user ID; what is longer than this is something else.
const MAX_REPLY: usize = 5 * 1024;

/// Why a token does not say who its bearer is.
#[derive(Debug, thiserror::Error)]
pub enum OpenidError {
    /// The homeserver does not accept the token (its 401 or 403).
    #[error("The homeserver does not accept this OpenID token")]
    Refused,
    /// The homeserver names a user of another server.
    #[error("The homeserver answered with a user of another server")]
    Foreign,
    /// The homeserver's reply is not JSON.
    #[error("The homeserver sent no JSON")]
    NotJson,
    /// The homeserver's reply has no `sub`, or one that is no user ID.
    #[error("The homeserver's reply has no valid sub")]
    BadSub,
    /// The homeserver answered neither yes nor no.
    #[error("The homeserver answered with status {0}")]
    Status(u16),
    /// The homeserver gave no usable answer at all.
    #[error(transparent)]
    Contact(#[from] ContactError),
}

/// The user to whom `server` issued `access_token`.
///
/// # Errors
/// [`OpenidError`]; only [`OpenidError::Refused`] and [`OpenidError::Foreign`] are about the caller.
pub async fn userinfo(
    client: &HomeserverClient,
    access_token: &Secret<String>,
    server: &ServerName,
) -> Result<UserId, OpenidError> {
    let reply = ask(client, access_token, server).await?;
    let user = judge(reply.status, &reply.body, server);
    if let Err(error @ (OpenidError::NotJson | OpenidError::BadSub | OpenidError::Status(_))) = &user {
        tracing::info!(%server, purpose = Purpose::Openid.label(), "homeserver's reply is unusable: {error}");
        count_error(Purpose::Openid, "reply");
    }
    user
}

async fn ask(
    client: &HomeserverClient,
    access_token: &Secret<String>,
    server: &ServerName,
) -> Result<FederationReply, ContactError> {
    let token = utf8_percent_encode(access_token.expose(), NON_ALPHANUMERIC);
    let path = Secret::new(format!("/_matrix/federation/v1/openid/userinfo?access_token={token}"));
    let request = FederationRequest {
        purpose: Purpose::Openid,
        method: Method::GET,
        server,
        path_and_query: path.expose(),
        body: None,
        max_reply: MAX_REPLY,
    };
    client.send(request).await
}

/// What `server` says to a token that it has not issued: the status, and the code of a Matrix error if it is one.
///
/// # Errors
/// [`ContactError`]
pub async fn answer_to_unknown_token(
    client: &HomeserverClient,
    server: &ServerName,
) -> Result<(StatusCode, Option<String>), ContactError> {
    let reply = ask(client, &Secret::new(Random.base62(32)), server).await?;
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    Ok((reply.status, body["errcode"].as_str().map(str::to_owned)))
}

fn judge(status: StatusCode, body: &[u8], server: &ServerName) -> Result<UserId, OpenidError> {
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(OpenidError::Refused),
        other => return Err(OpenidError::Status(other.as_u16())),
    }
    let reply: Value = serde_json::from_slice(body).map_err(|_| OpenidError::NotJson)?;
    let sub = reply.get("sub").and_then(Value::as_str).ok_or(OpenidError::BadSub)?;
    let user = UserId::parse(sub).map_err(|_| OpenidError::BadSub)?;
    if user.server_name() == server { Ok(user) } else { Err(OpenidError::Foreign) }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::{OpenidError, judge};
    use crate::domain::server_name::ServerName;

    fn verdict(status: u16, body: &str) -> String {
        let server = ServerName::parse("HS.example").unwrap();
        match judge(StatusCode::from_u16(status).unwrap(), body.as_bytes(), &server) {
            Ok(user) => user.to_string(),
            Err(OpenidError::Refused) => String::from("401"),
            Err(OpenidError::Foreign) => String::from("403"),
            Err(OpenidError::NotJson) => String::from("502 JSON"),
            Err(OpenidError::BadSub) => String::from("502 sub"),
            Err(OpenidError::Status(status)) => format!("502 {status}"),
            Err(OpenidError::Contact(error)) => error.to_string(),
        }
    }

    #[test]
    fn every_reply_has_its_verdict() {
        for (status, body, expected) in [
            (200, r#"{"sub":"@a:hs.example"}"#, "@a:hs.example"),
            (200, r#"{"sub":"@A:HS.EXAMPLE","x":1}"#, "@A:HS.EXAMPLE"),
            (200, r#"{"sub":"@a:other"}"#, "403"),
            (200, r#"{"sub":"@a:hs.example:1"}"#, "403"),
            (200, r#"{"sub":"@x:y:hs.example"}"#, "502 sub"),
            (200, r#"{"sub":"x:hs.example"}"#, "502 sub"),
            (200, r#"{"sub":"@:hs.example"}"#, "502 sub"),
            (200, r#"{"sub":5}"#, "502 sub"),
            (200, r#"{"sub":null}"#, "502 sub"),
            (200, "{}", "502 sub"),
            (200, "[]", "502 sub"),
            (200, "", "502 JSON"),
            (200, "<html>", "502 JSON"),
            (401, r#"{"sub":"@a:hs.example"}"#, "401"),
            (403, "", "401"),
            (404, r#"{"sub":"@a:hs.example"}"#, "502 404"),
            (302, "", "502 302"),
            (500, "", "502 500"),
            (201, r#"{"sub":"@a:hs.example"}"#, "502 201"),
        ] {
            assert_eq!(verdict(status, body), expected, "{status} {body}");
        }
        assert!(OpenidError::NotJson.to_string().contains("JSON"));
    }
}
