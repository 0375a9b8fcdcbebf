//! Tests of the store as a whole, each on every database there is: what a transaction promises, and what connecting does.

mod connecting;
mod transactions;
