//! Everything that a request can come to, and how it goes over the wire (specification, "Standard error response";
//! per endpoint "Rate-limited", "Responses").
//!
//! Invariant: every kind has its line in one match without a fallback. A fault of ours says nothing to the client and
//! everything, once, to the log.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use shared::http::body::BodyError;
use shared::http::error::MatrixError;
use shared::outbound::failure::Failure;
use shared::secret::Secret;

use crate::domain::mxid::UserId;
use crate::homeserver::keys::KeysError;
use crate::homeserver::openid::OpenidError;
use crate::json::{FieldError, NotJson};
use crate::signing_keys::SealError;
use crate::store::StoreError;

/// Why a request is not answered with what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No access token, or one that nobody has.
    #[error("Unauthorized")]
    Unauthorized,
    /// A token to log out that nobody has.
    #[error("Unrecognised access token")]
    UnknownToken,
    /// The account has to accept the terms of service first.
    #[error("Please review and accept the terms of service")]
    TermsNotSigned,
    /// The body is not a JSON object.
    #[error("{0}")]
    BadJson(#[from] NotJson),
    /// A field is missing or of the wrong form.
    #[error("{0}")]
    Field(#[from] FieldError),
    /// Something is of the wrong grammar.
    #[error("{0}")]
    InvalidParam(String),
    /// The body did not come.
    #[error("{0}")]
    Body(#[from] BodyError),
    /// A limit is used up.
    #[error("Too many requests")]
    LimitExceeded(Duration),
    /// Users of this homeserver may not register.
    #[error("Users of this homeserver cannot register here")]
    ServerNotAllowed,
    /// The homeserver did not vouch for the user.
    #[error("{0}")]
    Openid(#[from] OpenidError),
    /// The pepper is not the one in force.
    #[error("The pepper is not the current one")]
    InvalidPepper {
        /// The one in force, for the client to try again with.
        current: Secret<String>,
    },
    /// A lookup of too many addresses.
    #[error("More addresses than this server looks up at once")]
    TooManyAddresses,
    /// Not an e-mail address, or one that mail may not go to.
    #[error("This is not an e-mail address that mail can be sent to")]
    InvalidEmail,
    /// The relay refused the mail or cannot be reached.
    #[error("The e-mail could not be sent")]
    EmailSend,
    /// Not a telephone number.
    #[error("This is not a telephone number that can be dialled in this country")]
    InvalidNumber,
    /// No message is sent to this number, whoever asks.
    #[error("No messages are sent to this number or its country")]
    DestinationRejected,
    /// No provider has taken the SMS, or none says so.
    #[error("The SMS could not be sent")]
    SmsSend,
    /// The operator pays for no more SMS on this day.
    #[error("No more SMS can be sent today")]
    SmsSpentForToday,
    /// Wrong validation token.
    #[error("This is not the token that was sent")]
    TokenIncorrect,
    /// The session's time or its tries are used up.
    #[error("This validation session is over: ask for a new message")]
    SessionExpired,
    /// No session for this sid and secret, where a token is submitted.
    #[error("No validation session for this sid and client_secret")]
    UnknownSession,
    /// No session for this sid, secret and account, where its result is used.
    #[error("No valid session was found for this sid and client_secret")]
    NoValidSession,
    /// Nobody has submitted the session's token.
    #[error("This validation session has not been completed")]
    SessionNotValidated,
    /// An address for somebody else.
    #[error("An address can be bound to your own user ID only")]
    ForeignUser,
    /// An invitation in somebody else's name.
    #[error("The sender of an invitation is the user whose access token it comes with")]
    ForeignSender,
    /// An invitation that the operator does not let through.
    #[error("This invitation is not allowed here")]
    InviteBlocked,
    /// An invitation of an address that somebody has bound.
    #[error("Binding already known")]
    ThreepidInUse(UserId),
    /// An invitation by anything but e-mail.
    #[error("Invitations go by e-mail only")]
    UnknownMedium,
    /// A token that no open invitation has.
    #[error("Didn't recognize token")]
    UnknownInvite,
    /// Not for this caller.
    #[error("{0}")]
    Forbidden(&'static str),
    /// A homeserver has signed the request for somebody else.
    #[error("The destination of the X-Matrix header is not this server: sign for {expected}")]
    WrongDestination {
        /// The name that we go by.
        expected: String,
    },
    /// A homeserver's signature is not there, does not fit or does not suffice.
    #[error("{reason}. A request to this server is signed for the destination {expected}")]
    NotSigned {
        /// What is wrong.
        reason: &'static str,
        /// The name that we go by.
        expected: String,
    },
    /// The keys of the homeserver that signed cannot be had.
    #[error("{0}")]
    Keys(#[from] KeysError),
    /// No such key.
    #[error("No key with this ID")]
    KeyNotFound,
    /// Our own fault: the database.
    #[error("the store failed: {0}")]
    Store(#[from] StoreError),
    /// Our own fault: a sealed value.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// Our own fault: anything else, in words for the log.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// The answer's body and status.
    pub fn to_wire(&self) -> MatrixError {
        let refuse = |status, errcode| MatrixError::new(status, errcode, self.to_string());
        match self {
            Self::Unauthorized => refuse(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED"),
            Self::UnknownToken => refuse(StatusCode::UNAUTHORIZED, "M_UNKNOWN_TOKEN"),
            Self::TermsNotSigned => refuse(StatusCode::FORBIDDEN, "M_TERMS_NOT_SIGNED"),
            Self::BadJson(_) => refuse(StatusCode::BAD_REQUEST, "M_BAD_JSON"),
            Self::Body(error) => MatrixError::from(*error),
            Self::Field(FieldError::Missing(_)) => refuse(StatusCode::BAD_REQUEST, "M_MISSING_PARAMS"),
            Self::Field(FieldError::Invalid { .. }) | Self::InvalidParam(_) | Self::UnknownSession => {
                refuse(StatusCode::BAD_REQUEST, "M_INVALID_PARAM")
            }
            Self::LimitExceeded(retry_after) => MatrixError::limit_exceeded(*retry_after),
            Self::ServerNotAllowed | Self::ForeignUser | Self::ForeignSender | Self::InviteBlocked => {
                refuse(StatusCode::FORBIDDEN, "M_UNAUTHORIZED")
            }
            Self::ThreepidInUse(mxid) => {
                refuse(StatusCode::BAD_REQUEST, "M_THREEPID_IN_USE").with("mxid", json!(mxid.as_str()))
            }
            Self::UnknownMedium => refuse(StatusCode::BAD_REQUEST, "M_UNRECOGNIZED"),
            Self::UnknownInvite => refuse(StatusCode::NOT_FOUND, "M_UNRECOGNIZED"),
            Self::Openid(OpenidError::Refused) => refuse(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED"),
            Self::Openid(OpenidError::Foreign) | Self::Forbidden(_) => refuse(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            // Homeservers take 400, 404 and 501 for "this server does not know unbind" and forget the association.
            Self::WrongDestination { .. } => refuse(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED"),
            Self::NotSigned { .. } => refuse(StatusCode::FORBIDDEN, "M_FORBIDDEN"),
            Self::Keys(_) => refuse(StatusCode::BAD_GATEWAY, "M_UNKNOWN"),
            Self::Openid(OpenidError::Contact(contact)) if contact.failure == Failure::Timeout => {
                refuse(StatusCode::GATEWAY_TIMEOUT, "M_UNKNOWN")
            }
            Self::Openid(
                OpenidError::Contact(_) | OpenidError::NotJson | OpenidError::BadSub | OpenidError::Status(_),
            ) => refuse(StatusCode::BAD_GATEWAY, "M_UNKNOWN"),
            // The pepper is one for hashes, whatever was asked for.
            Self::InvalidPepper { current } => refuse(StatusCode::BAD_REQUEST, "M_INVALID_PEPPER")
                .with("algorithm", json!("sha256"))
                .with("lookup_pepper", json!(current.expose())),
            Self::TooManyAddresses => refuse(StatusCode::BAD_REQUEST, "M_TOO_LARGE"),
            Self::InvalidEmail => refuse(StatusCode::BAD_REQUEST, "M_INVALID_EMAIL"),
            Self::EmailSend => refuse(StatusCode::BAD_REQUEST, "M_EMAIL_SEND_ERROR"),
            Self::InvalidNumber => refuse(StatusCode::BAD_REQUEST, "M_INVALID_ADDRESS"),
            Self::DestinationRejected => refuse(StatusCode::BAD_REQUEST, "M_DESTINATION_REJECTED"),
            Self::SmsSend | Self::SmsSpentForToday => refuse(StatusCode::BAD_REQUEST, "M_SEND_ERROR"),
            Self::TokenIncorrect => refuse(StatusCode::BAD_REQUEST, "M_TOKEN_INCORRECT"),
            Self::SessionExpired => refuse(StatusCode::BAD_REQUEST, "M_SESSION_EXPIRED"),
            Self::SessionNotValidated => refuse(StatusCode::BAD_REQUEST, "M_SESSION_NOT_VALIDATED"),
            Self::NoValidSession => refuse(StatusCode::NOT_FOUND, "M_NO_VALID_SESSION"),
            Self::KeyNotFound => refuse(StatusCode::NOT_FOUND, "M_NOT_FOUND"),
            Self::Store(_) | Self::Seal(_) | Self::Internal(_) => {
                tracing::error!(error = %self, "a request failed through our own fault");
                MatrixError::internal()
            }
        }
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
