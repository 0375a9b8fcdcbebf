//! Tests of the push gateway.

mod credentials;
mod dice;
mod gateway;
mod hostile;
mod inbound;
mod isolation;
mod nothing_lost;
mod operations;
mod outcomes;
mod nothing_lost;
mod operations;
mod payloads;
mod setup;
mod story;
