//! The stories, one file each: a function `tell` that plays on the stage and returns what it leaves behind.
//!
//! Invariant: a story shows every request it makes, and checks every answer.

mod account;
pub(crate) mod email;
pub(crate) mod invitation;
pub(crate) mod number;
pub(crate) mod push;
