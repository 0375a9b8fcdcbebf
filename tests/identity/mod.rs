//! Tests of the identity server.

mod authentication;
mod bodies;
mod client_address;
mod encodings;
mod error_matrix;
mod hostile_fields;
mod http_layer;
mod session_errors;
mod setup;
mod story;
mod terms;
