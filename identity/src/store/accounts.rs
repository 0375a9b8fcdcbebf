//! `accounts`: the registered Matrix users.
//!
//! Invariant: an account outlives its tokens if it has accepted terms or an association.

use diesel::dsl::{self, not};
use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::{accepted_terms, accounts, associations, tokens};
use super::{BATCH, StoreError};
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

    /// A batch of the accounts that were created before `before` and have no token, accepted terms or association.
    pub async fn list_unused(conn, before: Timestamp) -> Result<Vec<String>, StoreError> {
        let is_used = dsl::exists(tokens::table.filter(tokens::mxid.eq(accounts::mxid)))
            .or(dsl::exists(accepted_terms::table.filter(accepted_terms::mxid.eq(accounts::mxid))))
            .or(dsl::exists(associations::table.filter(associations::mxid.eq(accounts::mxid))));
        let unused = accounts::table.filter(accounts::created_at.lt(before.as_millis())).filter(not(is_used));
        Ok(unused.select(accounts::mxid).limit(BATCH).load(conn as &mut Conn).await?)
    }

    /// Deletes those of the accounts that are still without a token, accepted terms or association; returns their number.
    pub async fn delete_unused(conn, mxids: &[String]) -> Result<usize, StoreError> {
        let is_used = dsl::exists(tokens::table.filter(tokens::mxid.eq(accounts::mxid)))
            .or(dsl::exists(accepted_terms::table.filter(accepted_terms::mxid.eq(accounts::mxid))))
            .or(dsl::exists(associations::table.filter(associations::mxid.eq(accounts::mxid))));
        let unused = accounts::table.filter(accounts::mxid.eq_any(mxids)).filter(not(is_used));
        Ok(diesel::delete(unused).execute(conn as &mut Conn).await?)
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

    use super::account;
    use crate::domain::access_token::AccessToken;
    use crate::domain::association::Association;
    use crate::store::testing::{START, email, stores, user};
    use crate::store::{accepted_terms, accounts, associations, tokens};

    #[tokio::test(flavor = "multi_thread")]
    async fn an_account_without_tokens_terms_and_associations_is_deleted() {
        for store in stores().await {
            let [token, terms, bound, unused] = ["token", "terms", "bound", "unused"].map(|name| format!("@{name}:hs"));
            for mxid in [&token, &terms, &bound, &unused] {
                account(&store, mxid).await;
            }
            let digest = AccessToken::shown("t").digest();
            let (with_token, with_terms) = (user(&token), user(&terms));
            let association = Association::new(email("a@x.org"), user(&bound), START, Duration::from_secs(60));
            let saved = store.write(async move |conn| {
                tokens::insert(conn, &digest, &with_token, START).await?;
                accepted_terms::insert(conn, &with_terms, &["https://x".to_owned()], START).await?;
                associations::save(conn, &association, START).await
            });
            saved.await.unwrap();
            let list =
                async |before| store.read(async move |conn| accounts::list_unused(conn, before).await).await.unwrap();
            let delete = async |mxids: Vec<String>| {
                store.write(async move |conn| accounts::delete_unused(conn, &mxids).await).await.unwrap()
            };
            let later = START.plus(Duration::from_secs(1));
            assert_eq!((list(START).await, list(later).await), (Vec::new(), vec![unused.clone()]));
            // A user may register again between the list and the delete.
            let all = [&token, &terms, &bound, &unused].map(String::clone).to_vec();
            assert_eq!((delete(all.clone()).await, delete(all).await), (1, 0));
            for (mxid, is_kept) in [(token, true), (terms, true), (bound, true), (unused, false)] {
                let found = user(&mxid);
                let exists = store.read(async move |conn| accounts::exists(conn, &found).await).await.unwrap();
                assert_eq!(exists, is_kept, "{mxid}");
            }
        }
    }

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
