//! The commands beside the server itself: those that look into its database and change it, and those that try something.
//!
//! Invariant: what a command changes a running server sees; nothing is kept in memory that would contradict it.

mod database;
pub mod invites;
pub mod outbox;
mod table;
pub mod test_sms;
