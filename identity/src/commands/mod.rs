//! The commands that look into a server's database and change it, beside the server itself.
//!
//! Invariant: what a command changes a running server sees; nothing is kept in memory that would contradict it.

mod database;
pub mod invites;
pub mod outbox;
mod table;
