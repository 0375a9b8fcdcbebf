//! Requests to the outside world, whose addresses strangers choose.
//!
//! Invariant: nothing here connects to an address before [`guard::AddressGuard`] has seen that very address. Names are
//! resolved once, and the addresses that were judged are the addresses that are used.

pub mod client;
pub mod dns;
pub mod failure;
pub mod guard;
pub mod tls;
