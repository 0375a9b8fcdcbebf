//! Tests of the push gateway.

mod dice;
mod gateway;
mod inbound;
mod nothing_lost;
mod operations;
mod payloads;
mod setup;
mod story;
