//! The two fixtures: each service in its fake world.
//!
//! Invariant: a test writes only the settings that it is about.

pub mod identity;
pub mod push;
