//! `accounts`: the registered Matrix users.
//!
//! Invariant: an account outlives its tokens, because its accepted terms refer to it.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::accounts;
use crate::domain::mxid::UserId;

queries! {
    /// Inserts the account; false if it exists.
    pub async fn insert(conn, mxid: &UserId, now: Timestamp) -> Result<bool, StoreError> {
        let inserted = diesel::insert_into(accounts::table)
            .values((accounts::mxid.eq(mxid.as_str()), accounts::created_at.eq(now.as_millis())))
            .on_conflict_do_nothing()
            .execute(conn as &mut Conn)
            .await?;
        Ok(inserted > 0)
    }

    /// Whether the user has registered.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests of the store check accounts with it"))]
    pub async fn exists(conn, mxid: &UserId) -> Result<bool, StoreError> {
        let found: i64 =
            accounts::table.filter(accounts::mxid.eq(mxid.as_str())).count().get_result(conn as &mut Conn).await?;
        Ok(found > 0)
    }
}

/// Inserts an account for `mxid`, for tests of tables that refer to accounts.
#[cfg(test)]
pub(crate) async fn account(store: &super::Store, mxid: &str) -> UserId {
    let account = super::testing::user(mxid);
    let inserted = account.clone();
    store.write(async move |conn| insert(conn, &inserted, super::testing::START).await).await.unwrap();
    account
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::store::accounts;
    use crate::store::testing::{START, stores, user};

    #[tokio::test(flavor = "multi_thread")]
    async fn repeated_inserts_make_one_account_with_the_exact_mxid() {
        for store in stores().await {
            let exists = async |mxid: &str| {
                let mxid = user(mxid);
                store.read(async move |conn| accounts::exists(conn, &mxid).await).await.unwrap()
            };
            assert!(!exists("@alice:hs.example").await);
            for _ in 0..2 {
                let later = START.plus(Duration::from_secs(1));
                let alice = user("@alice:hs.example");
                store.write(async move |conn| accounts::insert(conn, &alice, later).await).await.unwrap();
            }
            assert!(exists("@alice:hs.example").await);
            assert!(!exists("@Alice:hs.example").await);
            assert!(!exists("@alice:hs.example:1").await);
        }
    }
}
