//! Tests of the push gateway.

mod dice;
mod gateway;
mod inbound;
mod payloads;
mod story;
