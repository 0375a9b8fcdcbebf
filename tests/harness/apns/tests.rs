//! Shows that it works as said.
