//! Outgoing email and SMS, and the templates of mails, messages and pages.
//!
//! Invariant: an error from here carries a kind and a reply code, never an address, a token or a remote server's text.

pub mod email;
pub mod sms;
pub mod templates;
