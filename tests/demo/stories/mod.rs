//! The stories, one file each, with a function `run`.
//!
//! Invariant: a story shows every request, and checks every response.

mod account;
pub(crate) mod email;
pub(crate) mod invitation;
pub(crate) mod number;
pub(crate) mod push;
pub(crate) mod web_push;
