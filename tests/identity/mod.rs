//! Tests of the identity server.

mod setup;
mod story;
