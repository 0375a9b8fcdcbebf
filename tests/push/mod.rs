//! Tests of the push gateway. Where a new one goes: `tests/README.md`.

mod across;
mod admin;
mod notify;
mod relay;
