//! Tests of the push gateway.

mod setup;
mod story;
