//! Tests of the push gateway.

mod operations;
mod nothing_lost;
mod setup;
mod story;
