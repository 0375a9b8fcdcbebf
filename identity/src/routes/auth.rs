//! The credentials of a request: `Authorization: Bearer …`, `?access_token=…`, and the `Authorization: X-Matrix …` of
//! homeservers.
//! <https://spec.matrix.org/v1.19/identity-service-api/#authentication>
//!
//! Invariant: the extractor never fails. The handler asks for the account, so that no error about the body precedes the
//! authentication.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest};

use crate::domain::access_token::AccessToken;
use crate::domain::mxid::UserId;
use crate::domain::x_matrix::{Malformed, XMatrix};
use crate::error::Error;
use crate::flows::authenticate::{PresentedTokens, authenticate, authenticate_agreed};
use crate::json::Object;
use crate::state::State;

/// How many `X-Matrix` headers are read. Each may cost the verification of signatures, and a homeserver sends one for each
/// of its keys.
const MAX_SIGNATURES: usize = 16;

/// The credentials of a request.
#[derive(Debug)]
pub struct Credentials {
    pub tokens: PresentedTokens,
    /// The `X-Matrix` headers.
    pub x_matrix: Vec<Result<XMatrix, Malformed>>,
}

impl Credentials {
    /// The account, whether or not it has accepted the terms.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub async fn account(&self, state: &State) -> Result<UserId, Error> {
        authenticate(state, &self.tokens).await
    }

    /// The account, which has accepted the terms.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::TermsNotSigned`].
    pub async fn agreed_account(&self, state: &State) -> Result<UserId, Error> {
        authenticate_agreed(state, &self.tokens).await
    }
}

impl FromRequest for Credentials {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let headers = || request.headers().get_all(AUTHORIZATION).map(|value| value.as_bytes().trim_ascii());
        let of_scheme = |value: &[u8], scheme: &str| {
            let end = value.iter().position(|&b| b == b' ' || b == b'\t').unwrap_or(value.len());
            value[..end].eq_ignore_ascii_case(scheme.as_bytes()).then(|| value[end..].trim_ascii().to_vec())
        };
        let bearer = headers().find_map(|value| of_scheme(value, "Bearer"));
        let bearer = bearer.map(|token| AccessToken::shown(&String::from_utf8_lossy(&token)));
        let x_matrix = headers().filter_map(|value| of_scheme(value, "X-Matrix")).take(MAX_SIGNATURES);
        let x_matrix = x_matrix.map(|parameters| XMatrix::parse(&parameters)).collect();
        // A malformed query has no token; a handler that needs the query rejects it.
        let query = Object::from_form(request.query_string().as_bytes()).ok();
        let query = query.and_then(|query| query.string("access_token").ok().map(AccessToken::shown));
        ready(Ok(Self { tokens: PresentedTokens::new(bearer, query), x_matrix }))
    }
}
