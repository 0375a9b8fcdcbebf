//! Tests of the identity server.

mod authentication;
mod bodies;
mod bound_addresses;
mod certificates;
mod client_address;
mod crash;
mod discovery;
mod email_validation;
mod error_matrix;
mod hostile_fields;
mod http_layer;
mod lookup;
mod outbound_guard;
mod outside;
mod pubkey;
mod secrets;
mod server_names;
mod session_errors;
mod setup;
mod shutdown;
mod smtp;
mod story;
mod terms;
mod two_processes;
mod userinfo;
mod well_known;
