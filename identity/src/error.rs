//! All API errors and their HTTP responses (specification, "Standard error response"; per endpoint "Rate-limited",
//! "Responses").
//!
//! Invariant: one match without a fallback maps every error to its response. An internal error is hidden from the client and
//! logged once, with all details.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use shared::http::body::BodyError;
use shared::http::error::MatrixError;
use shared::outbound::failure::Failure;
use shared::secret::Secret;

use crate::domain::mxid::UserId;
use crate::domain::session::Unusable;
use crate::homeserver::keys::KeysError;
use crate::homeserver::openid::OpenidError;
use crate::json::{FieldError, NotJson};
use crate::limits::QuotaError;
use crate::signing_keys::SealError;
use crate::store::{StoreError, WriteError};

/// The client's delay before a retry while the database is not available.
const RETRY_OUTAGE: Duration = Duration::from_secs(5);

/// Why a request fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request has no access token, or an unknown one.
    #[error("Unauthorized")]
    Unauthorized,
    /// The access token to log out is unknown.
    #[error("Unrecognised access token")]
    UnknownToken,
    #[error("Please review and accept the terms of service")]
    TermsNotSigned,
    /// The body is not a JSON object.
    #[error("{0}")]
    BadJson(#[from] NotJson),
    /// A field is missing or invalid.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// A field has the wrong grammar.
    #[error("{0}")]
    InvalidParam(String),
    /// The body is too large, too slow or cut off.
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("Too many requests")]
    LimitExceeded(Duration),
    #[error("Users of this homeserver cannot register here")]
    ServerNotAllowed,
    /// The operator has excluded the user or the user's homeserver.
    #[error("This user cannot use this server")]
    UserDenied,
    /// The homeserver did not confirm the user.
    #[error("{0}")]
    Openid(#[from] OpenidError),
    #[error("The pepper is not the current one")]
    InvalidPepper {
        /// The current pepper, with which the client can retry.
        current: Secret<String>,
    },
    #[error("More addresses than this server looks up at once")]
    TooManyAddresses,
    /// Not an e-mail address, or one that may not receive mail.
    #[error("This is not an e-mail address that mail can be sent to")]
    InvalidEmail,
    /// The relay rejected the mail or is not reachable.
    #[error("The e-mail could not be sent")]
    EmailSend,
    #[error("This is not a telephone number that can be dialled in this country")]
    InvalidNumber,
    /// The operator's rules exclude the number.
    #[error("No messages are sent to this number or its country")]
    DestinationRejected,
    /// No provider accepted the SMS, or none confirmed it.
    #[error("The SMS could not be sent")]
    SmsSend,
    /// The operator's limit for the day is reached.
    #[error("No more SMS can be sent today")]
    SmsSpentForToday,
    #[error("This is not the token that was sent")]
    TokenIncorrect,
    /// The session is too old, or had too many wrong tokens.
    #[error("This validation session has expired: request a new message")]
    SessionExpired,
    /// The submitted `sid` and `client_secret` belong to no session.
    #[error("No validation session for this sid and client_secret")]
    UnknownSession,
    /// `sid`, `client_secret` and account belong to no session whose result could be used.
    #[error("No valid session was found for this sid and client_secret")]
    NoValidSession,
    /// The session's token has not been submitted.
    #[error("This validation session has not been completed")]
    SessionNotValidated,
    #[error("An address can be bound to your own user ID only")]
    ForeignUser,
    #[error("`sender` must be the user of the access token")]
    ForeignSender,
    /// The operator's rules exclude the invitation.
    #[error("This invitation is not allowed here")]
    InviteBlocked,
    /// The invited address is bound to this user.
    #[error("Binding already known")]
    ThreepidInUse(UserId),
    /// The medium of the invited address is not `email`.
    #[error("Invitations go by e-mail only")]
    UnknownMedium,
    /// No pending invitation has the token.
    #[error("Didn't recognize token")]
    UnknownInvite,
    #[error("{0}")]
    Forbidden(&'static str),
    /// A homeserver signed the request for another server.
    #[error("The destination of the X-Matrix header is not this server: sign for {expected}")]
    WrongDestination {
        /// This server's name.
        expected: String,
    },
    /// The homeserver's signature is missing, wrong or not sufficient.
    #[error("{reason}. A request to this server is signed for the destination {expected}")]
    NotSigned {
        reason: &'static str,
        /// This server's name.
        expected: String,
    },
    /// The keys of the homeserver that signed are not available.
    #[error("{0}")]
    Keys(#[from] KeysError),
    #[error("No key with this ID")]
    KeyNotFound,
    /// Internal: the database.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// Internal: a sealed value.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// Internal: anything else, with a text for the log.
    #[error("{0}")]
    Internal(String),
}

impl From<Unusable> for Error {
    fn from(reason: Unusable) -> Self {
        match reason {
            Unusable::NotFound => Self::NoValidSession,
            Unusable::Expired => Self::SessionExpired,
            Unusable::NotValidated => Self::SessionNotValidated,
        }
    }
}

impl From<QuotaError> for Error {
    fn from(error: QuotaError) -> Self {
        match error {
            QuotaError::Exceeded(retry_after) => Self::LimitExceeded(retry_after),
            QuotaError::Store(error) => Self::Store(error),
        }
    }
}

impl Error {
    /// The response's status and body. Logs an internal error.
    pub fn to_wire(&self) -> MatrixError {
        let response = |status, errcode| MatrixError::new(status, errcode, self.to_string());
        match self {
            Self::Unauthorized => response(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED"),
            Self::UnknownToken => response(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
            Self::TermsNotSigned => response(StatusCode::FORBIDDEN, "M_TERMS_NOT_SIGNED"),
            Self::BadJson(_) => response(StatusCode::BAD_REQUEST, "M_BAD_JSON"),
            Self::Body(error) => MatrixError::from(*error),
            Self::Field(FieldError::Missing(_)) => response(StatusCode::BAD_REQUEST, "M_MISSING_PARAMS"),
            Self::Field(FieldError::Invalid { .. }) | Self::InvalidParam(_) | Self::UnknownSession => {
                response(StatusCode::BAD_REQUEST, "M_INVALID_PARAM")
            }
            Self::LimitExceeded(retry_after) => MatrixError::limit_exceeded(*retry_after),
            Self::ServerNotAllowed
            | Self::UserDenied
            | Self::ForeignUser
            | Self::ForeignSender
            | Self::InviteBlocked => response(StatusCode::FORBIDDEN, "M_UNAUTHORIZED"),
            Self::ThreepidInUse(mxid) => {
                response(StatusCode::BAD_REQUEST, "M_THREEPID_IN_USE").with("mxid", json!(mxid.as_str()))
            }
            Self::UnknownMedium => response(StatusCode::BAD_REQUEST, "M_UNRECOGNIZED"),
            Self::UnknownInvite => response(StatusCode::NOT_FOUND, "M_UNRECOGNIZED"),
            Self::Openid(OpenidError::Refused) => response(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED"),
            Self::Openid(OpenidError::Foreign) | Self::Forbidden(_) => response(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            // Homeservers read 400, 404 and 501 as "this server has no unbind" and forget the association.
            Self::WrongDestination { .. } => response(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED"),
            Self::NotSigned { .. } => response(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Self::Keys(_) => response(StatusCode::BAD_GATEWAY, "M_UNKNOWN"),
            Self::Openid(OpenidError::Contact(contact)) if contact.failure == Failure::Timeout => {
                response(StatusCode::GATEWAY_TIMEOUT, "M_UNKNOWN")
            }
            Self::Openid(
                OpenidError::Contact(_) | OpenidError::NotJson | OpenidError::BadSub | OpenidError::Status(_),
            ) => response(StatusCode::BAD_GATEWAY, "M_UNKNOWN"),
            // The pepper is for hashes, whatever algorithm the request named.
            Self::InvalidPepper { current } => response(StatusCode::BAD_REQUEST, "M_INVALID_PEPPER")
                .with("algorithm", json!("sha256"))
                .with("lookup_pepper", json!(current.expose())),
            Self::TooManyAddresses => response(StatusCode::BAD_REQUEST, "M_TOO_LARGE"),
            Self::InvalidEmail => response(StatusCode::BAD_REQUEST, "M_INVALID_EMAIL"),
            Self::EmailSend => response(StatusCode::BAD_REQUEST, "M_EMAIL_SEND_ERROR"),
            Self::InvalidNumber => response(StatusCode::BAD_REQUEST, "M_INVALID_ADDRESS"),
            Self::DestinationRejected => response(StatusCode::BAD_REQUEST, "M_DESTINATION_REJECTED"),
            Self::SmsSend | Self::SmsSpentForToday => response(StatusCode::BAD_REQUEST, "M_SEND_ERROR"),
            Self::TokenIncorrect => response(StatusCode::BAD_REQUEST, "M_TOKEN_INCORRECT"),
            Self::SessionExpired => response(StatusCode::BAD_REQUEST, "M_SESSION_EXPIRED"),
            Self::SessionNotValidated => response(StatusCode::BAD_REQUEST, "M_SESSION_NOT_VALIDATED"),
            Self::NoValidSession => response(StatusCode::NOT_FOUND, "M_NO_VALID_SESSION"),
            Self::KeyNotFound => response(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Self::Store(error) if error.is_outage() => {
                error.log("a request");
                MatrixError::unavailable(RETRY_OUTAGE)
            }
            Self::Store(_) | Self::Seal(_) | Self::Internal(_) => {
                tracing::error!(error = %self, "request failed with an internal error");
                MatrixError::internal()
            }
        }
    }
}

impl WriteError for Error {
    fn store_error(&self) -> Option<&StoreError> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.to_wire().status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.to_wire().error_response()
    }
}
