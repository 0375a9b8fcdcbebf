//! Whatever is sent to the gateway, it answers in good order, at a price that follows from the size, and lives on.
//!
//! Invariant: a failure shows the seed; `GATEHOUSE_SEED=<seed>` in the environment makes the same requests again.

mod cost;
mod fields;
mod requests;
mod values;
