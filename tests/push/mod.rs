//! Tests of the push gateway.

mod operations;
mod nothing_lost;
mod setup;
mod dice;
mod gateway;
mod inbound;
mod payloads;
mod story;
