//! Tests of the push gateway.

mod operations;
mod setup;
mod story;
