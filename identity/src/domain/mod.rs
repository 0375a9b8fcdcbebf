//! The rules of the identity server: pure functions, and types that only their own parsers can create.
//!
//! Invariant: no HTTP, SQL, network or clock here; a rule receives all its input as arguments. Modules may import one
//! another, but never in a circle.

pub mod access;
pub mod access_token;
pub mod association;
pub mod backoff;
pub mod by_country;
pub mod case_folding;
pub mod client_secret;
pub mod decimal_digits;
pub mod email;
pub mod homeserver_group;
pub mod invite;
pub mod invite_block;
pub mod invite_link;
pub mod invite_rules;
pub mod invite_texts;
pub mod invitee;
pub mod lease;
pub mod lookup_hash;
pub mod msisdn;
pub mod mxid;
pub mod next_link;
pub mod onbind;
pub mod originator;
pub mod pepper;
pub mod placeholders;
pub mod recorded_key;
pub mod redaction;
pub mod room_id;
pub mod server_name;
pub mod session;
pub mod shown_text;
pub mod sid;
pub mod sms_text;
pub mod terms;
pub mod threepid;
pub mod utc_day;
pub mod x_matrix;
