//! Tests of the identity server.

mod email_validation;
mod secrets;
mod setup;
mod smtp;
mod story;
