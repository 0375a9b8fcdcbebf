//! The command line of the push gateway.

fn main() {}
