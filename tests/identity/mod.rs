//! Tests of the identity server.

mod authentication;
mod bodies;
mod client_address;
mod error_matrix;
mod http_layer;
mod session_errors;
mod email_validation;
mod secrets;
mod setup;
mod smtp;
mod story;
mod terms;
mod bound_addresses;
mod certificates;
mod discovery;
mod lookup;
mod outbound_guard;
mod outside;
mod pubkey;
mod server_names;
mod setup;
mod story;
mod userinfo;
mod well_known;
