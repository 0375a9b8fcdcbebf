//! The two fixtures: each service in its fake world.
//!
//! Invariant: a test writes only the settings that it is about.

mod deployment;
pub mod identity;
mod members;
mod notifications;
pub mod push;
