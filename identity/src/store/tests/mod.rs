//! Tests of the store as a whole, each on every database there is: what a transaction promises, and what connecting does.

mod connecting;
mod transactions;

use crate::domain::mxid::UserId;
use crate::store::testing::{START, user};
use crate::store::{Store, accounts};

/// The user of that name, with an account in `store`.
pub(crate) async fn account(store: &Store, mxid: &str) -> UserId {
    let account = user(mxid);
    let inserted = account.clone();
    store.write(async move |conn| accounts::insert(conn, &inserted, START).await).await.unwrap();
    account
}
