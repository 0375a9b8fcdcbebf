//! The identity server's settings.

pub mod email;
pub mod templates;
