//! Tests of the identity server.

mod bound_addresses;
mod certificates;
mod crash;
mod discovery;
mod lookup;
mod outbound_guard;
mod outside;
mod pubkey;
mod server_names;
mod setup;
mod shutdown;
mod story;
mod two_processes;
mod userinfo;
mod well_known;
