//! Tests of the push gateway.

mod gateway;
mod hostile;
mod inbound;
mod nothing_lost;
mod operations;
mod payloads;
mod setup;
mod story;
