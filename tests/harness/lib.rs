//! The faked outside world, and the real binaries started in it: what the black-box tests, the demo and the load run
//! share.
//!
//! Invariant: nothing here imports a service. A binary is known by its command line, its HTTP and its log; every fake
//! listens on a port of its own on 127.0.0.1 and ends when it is dropped.

pub mod api;
pub mod apns;
pub mod binary;
pub mod certificates;
pub mod dice;
pub mod dns;
mod fake;
pub mod fcm;
pub mod homeserver;
pub mod mail;
pub mod postgres;
pub mod process;
pub mod raw;
pub mod skipped;
pub mod sms;
pub mod transcript;
pub mod wait;
