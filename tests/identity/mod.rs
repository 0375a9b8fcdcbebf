//! Tests of the identity server.

mod email_validation;
mod setup;
mod story;
