//! Tests of the identity server. Where a new one goes: `tests/README.md`.

mod account;
mod across;
mod bind;
mod legacy_v1;
mod lookup;
pub(crate) mod onbind;
mod pages;
mod pubkey;
mod register;
mod sign_ed25519;
mod store_invite;
mod terms;
mod unbind;
mod validate_email;
mod validate_msisdn;
