//! Tests of the push gateway.

mod credentials;
mod isolation;
mod nothing_lost;
mod outcomes;
mod setup;
mod story;
