//! The settings of the identity server, one file a section.

pub mod federation;
