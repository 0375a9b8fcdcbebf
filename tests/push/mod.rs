//! Tests of the push gateway.

mod credentials;
mod gateway;
mod hostile;
mod inbound;
mod isolation;
mod nothing_lost;
mod operations;
mod outcomes;
mod payloads;
mod setup;
mod story;
