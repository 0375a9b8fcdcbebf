//! Tests of the identity server.

mod certificates;
mod discovery;
mod outbound_guard;
mod outside;
mod server_names;
mod setup;
mod story;
mod userinfo;
mod well_known;
