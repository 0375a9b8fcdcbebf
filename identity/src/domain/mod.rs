//! The nouns of an identity server and their rules: pure, without time, randomness, network or database.

pub mod mxid;
pub mod server_name;
