//! Tests of the store as a whole, on both databases: connections, transactions and migrations.

mod announcing;
mod connecting;
mod pooling;
mod transactions;
mod upgrade;
