//! Tests of the push gateway.

mod nothing_lost;
mod setup;
mod story;
