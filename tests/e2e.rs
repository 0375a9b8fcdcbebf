//! Black-box tests: the real binaries, on real sockets, against a faked outside world.
//!
//! Invariant: nothing here knows how a service is built inside; what a test cannot see from outside it does not assert.

mod identity;
mod push;
