//! Who is asking: `Authorization: Bearer …`, or `?access_token=…` where the operator allows it; for a homeserver
//! `Authorization: X-Matrix …`.
//! <https://spec.matrix.org/v1.19/identity-service-api/#authentication>
//!
//! Invariant: as an extractor it never fails; the handler asks for the account, so that nothing is said about a body
//! before it is known who sent it.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest};

use crate::domain::access_token::AccessToken;
use crate::domain::mxid::UserId;
use crate::domain::x_matrix::{Malformed, XMatrix};
use crate::error::Error;
use crate::flows::{accept_terms, authenticate};
use crate::json::Object;
use crate::state::State;

/// How many `X-Matrix` headers are looked at: each may cost signatures to verify, and a homeserver sends one for each
/// key that it signs with.
const MAX_SIGNATURES: usize = 16;

/// What a request shows of its sender.
#[derive(Debug)]
pub struct Credentials {
    bearer: Option<AccessToken>,
    query: Option<AccessToken>,
    x_matrix: Vec<Result<XMatrix, Malformed>>,
}

impl Credentials {
    /// The account, whether or not it has accepted the terms.
    ///
    /// # Errors
    /// [`Error::Unauthorized`].
    pub async fn account(&self, state: &State) -> Result<UserId, Error> {
        let token = self.token(state).ok_or(Error::Unauthorized)?;
        authenticate::authenticate(state, token).await
    }

    /// The account, which has accepted the terms.
    ///
    /// # Errors
    /// [`Error::Unauthorized`], [`Error::TermsNotSigned`].
    pub async fn agreed_account(&self, state: &State) -> Result<UserId, Error> {
        let account = self.account(state).await?;
        accept_terms::require_acceptance(state, &account).await?;
        Ok(account)
    }

    /// The token. One in the header wins over one in the query even if it is nobody's.
    pub fn token(&self, state: &State) -> Option<&AccessToken> {
        match (&self.bearer, &self.query) {
            (Some(bearer), _) => Some(bearer),
            (None, Some(query)) if state.config.auth.allow_query_token => {
                metrics::counter!("identity_query_token_total").increment(1);
                Some(query)
            }
            _ => None,
        }
    }

    /// What homeservers claim to have signed (`Authorization: X-Matrix …`); empty if none does.
    pub fn x_matrix(&self) -> &[Result<XMatrix, Malformed>] {
        &self.x_matrix
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
        // A query that cannot be read holds no token; the handler refuses it if it needs it.
        let query = Object::from_form(request.query_string().as_bytes()).ok();
        let query = query.and_then(|query| query.string("access_token").ok().map(AccessToken::shown));
        ready(Ok(Self { bearer, query, x_matrix }))
    }
}
