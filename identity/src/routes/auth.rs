//! Who is asking: `Authorization: Bearer …`, or `?access_token=…` where the operator allows it.
//! <https://spec.matrix.org/v1.19/identity-service-api/#authentication>
//!
//! Invariant: as an extractor it never fails; the handler asks for the account, so that nothing is said about a body
//! before it is known who sent it.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::{FromRequest, HttpRequest};
use shared::json::Object;

use crate::domain::access_token::AccessToken;
use crate::domain::mxid::UserId;
use crate::error::Error;
use crate::flows::{accept_terms, authenticate};
use crate::state::State;

/// What a request shows of its sender.
#[derive(Debug)]
pub struct Credentials {
    bearer: Option<AccessToken>,
    query: Option<AccessToken>,
    is_signed_by_homeserver: bool,
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

    /// Whether a homeserver has signed the request (`Authorization: X-Matrix …`).
    pub fn is_signed_by_homeserver(&self) -> bool {
        self.is_signed_by_homeserver
    }
}

impl FromRequest for Credentials {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let headers = || request.headers().get_all(AUTHORIZATION).filter_map(|value| value.to_str().ok());
        let of_scheme = |value: &'_ str, scheme: &str| {
            let (name, rest) = value.trim().split_once([' ', '\t']).unwrap_or((value.trim(), ""));
            name.eq_ignore_ascii_case(scheme).then(|| rest.trim().to_owned())
        };
        let bearer = headers().find_map(|value| of_scheme(value, "Bearer")).map(|token| AccessToken::shown(&token));
        let is_signed_by_homeserver = headers().any(|value| of_scheme(value, "X-Matrix").is_some());
        // A query that cannot be read holds no token; the handler refuses it if it needs it.
        let query = Object::from_form(request.query_string().as_bytes()).ok();
        let query = query.and_then(|query| query.string("access_token").ok().map(AccessToken::shown));
        ready(Ok(Self { bearer, query, is_signed_by_homeserver }))
    }
}
