//! Tests of the identity server.

mod bodies;
mod client_address;
mod http_layer;
mod setup;
mod story;
