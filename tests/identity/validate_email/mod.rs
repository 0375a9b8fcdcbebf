//! Proving an e-mail address: `requestToken`, `submitToken`, `getValidated3pid`, the link in the mail.
//!
//! Invariant: a mail is counted only after the answer, for with an idle server it is out before that.

pub(super) mod addresses;
mod limits;
mod next_link;
mod page;
mod sending;
mod tokens;

use serde_json::{Value, json};

/// The body of a request for a token with this secret and number.
fn request(client_secret: &str, email: &str, send_attempt: impl Into<Value>) -> Value {
    json!({ "client_secret": client_secret, "email": email, "send_attempt": send_attempt.into() })
}
