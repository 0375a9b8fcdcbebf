//! The two fuses: one for a provider that is down, one for rejections in such numbers that the fault must be ours.
//!
//! Invariant: a blown fuse costs retries, never a pushkey and never an event.

mod circuit;
mod mass_rejection;

pub use circuit::{Circuits, Open, Pass, Sign};
pub use mass_rejection::{Doubted, MassRejection};
