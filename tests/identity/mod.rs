//! Tests of the identity server.

mod discovery;
mod outside;
mod setup;
mod story;
mod well_known;
