//! Tests of the push gateway.

mod story;
