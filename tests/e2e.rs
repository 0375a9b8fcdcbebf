//! Black-box tests: the real binaries, on real sockets, against a faked outside world.
//!
//! Invariant: a test asserts only what is visible outside the process.

mod deploy;
mod identity;
mod push;
