//! Hostile requests: the gateway returns a valid response to each, at a cost that follows from the size, and keeps
//! running.
//!
//! Invariant: a failure shows the seed; `GATEHOUSE_SEED=<seed>` in the environment repeats the same requests.

mod cost;
mod fields;
mod requests;
mod strangers;
mod values;
