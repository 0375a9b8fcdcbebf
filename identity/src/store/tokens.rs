//! `tokens`: the access tokens of accounts, as digests.
//!
//! Invariant: no token is stored in clear, so a copy of the database grants no access. A deletion is announced in `changes`,
//! except that of an idle token, which every process recognizes by its age.

use diesel::prelude::{ExpressionMethods, OptionalExtension, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::tokens;
use super::{BATCH, Connection, StoreError, changes};
use crate::domain::access_token::TokenDigest;
use crate::domain::mxid::UserId;

/// A stored token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredToken {
    /// Its account.
    pub mxid: UserId,
    /// When it was last used, to about a day.
    pub used_at: Timestamp,
}

queries! {
    /// The token with this digest.
    pub async fn find(conn, digest: &TokenDigest) -> Result<Option<StoredToken>, StoreError> {
        let row: Option<(String, i64)> = tokens::table
            .find(digest.as_bytes().as_slice())
            .select((tokens::mxid, tokens::used_at))
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        row.map(|(mxid, used_at)| {
            let mxid = UserId::from_row(&mxid).map_err(|_| StoreError::Corrupt("tokens.mxid"))?;
            Ok(StoredToken { mxid, used_at: Timestamp::from_millis(used_at) })
        })
        .transpose()
    }

    /// Inserts a token for an existing account.
    pub async fn insert(conn, digest: &TokenDigest, mxid: &UserId, now: Timestamp) -> Result<(), StoreError> {
        diesel::insert_into(tokens::table)
            .values((
                tokens::digest.eq(digest.as_bytes().as_slice()),
                tokens::mxid.eq(mxid.as_str()),
                tokens::created_at.eq(now.as_millis()),
                tokens::used_at.eq(now.as_millis()),
            ))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// The tokens of an account, the newest first.
    async fn list(conn, mxid: &UserId) -> Result<Vec<Vec<u8>>, StoreError> {
        // Without a limit, at which SQLite would prepare the statement again; an account has few tokens.
        Ok(tokens::table
            .filter(tokens::mxid.eq(mxid.as_str()))
            .order((tokens::created_at.desc(), tokens::digest))
            .select(tokens::digest)
            .load(conn as &mut Conn)
            .await?)
    }

    /// Saves the time of the token's last use.
    pub async fn save_used_at(conn, digest: &TokenDigest, now: Timestamp) -> Result<(), StoreError> {
        diesel::update(tokens::table.find(digest.as_bytes().as_slice()))
            .set(tokens::used_at.eq(now.as_millis()))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    async fn delete_row(conn, digest: &TokenDigest) -> Result<bool, StoreError> {
        let deleted = diesel::delete(tokens::table.find(digest.as_bytes().as_slice())).execute(conn as &mut Conn).await?;
        Ok(deleted > 0)
    }

    /// Deletes a batch of the tokens that were last used before `before`; returns their number.
    pub async fn delete_idle(conn, before: Timestamp) -> Result<usize, StoreError> {
        let idle = tokens::table.filter(tokens::used_at.lt(before.as_millis()));
        let digests: Vec<Vec<u8>> = idle.select(tokens::digest).limit(BATCH).load(conn as &mut Conn).await?;
        Ok(diesel::delete(tokens::table.filter(tokens::digest.eq_any(digests))).execute(conn).await?)
    }
}

/// Deletes all but the `keep` newest tokens of the account.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_oldest(
    conn: &mut Connection,
    mxid: &UserId,
    keep: usize,
    now: Timestamp,
) -> Result<(), StoreError> {
    for digest in list(conn, mxid).await?.into_iter().skip(keep) {
        let digest = digest.try_into().map_err(|_| StoreError::Corrupt("tokens.digest"))?;
        delete(conn, &TokenDigest::from_bytes(digest), now).await?;
    }
    Ok(())
}

/// Deletes the token; false if it does not exist.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(conn: &mut Connection, digest: &TokenDigest, now: Timestamp) -> Result<bool, StoreError> {
    let is_deleted = delete_row(conn, digest).await?;
    if is_deleted {
        changes::append(conn, changes::Kind::Tokens, &[*digest.as_bytes()], now).await?;
    }
    Ok(is_deleted)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::StoredToken;
    use crate::domain::access_token::{AccessToken, TokenDigest};
    use crate::domain::mxid::UserId;
    use crate::store::accounts::account;
    use crate::store::testing::{START, stores, user};
    use crate::store::{Store, StoreError, tokens};

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn digest(token: &str) -> TokenDigest {
        AccessToken::shown(token).digest()
    }

    async fn insert(store: &Store, token: &str, mxid: &UserId, now: Timestamp) -> Result<(), StoreError> {
        let (digest, mxid) = (digest(token), mxid.clone());
        store.write(async move |conn| tokens::insert(conn, &digest, &mxid, now).await).await
    }

    async fn find(store: &Store, token: &str) -> Option<StoredToken> {
        let digest = digest(token);
        store.read(async move |conn| tokens::find(conn, &digest).await).await.unwrap()
    }

    async fn delete_oldest(store: &Store, mxid: &UserId, keep: usize) {
        let mxid = mxid.clone();
        store.write(async move |conn| tokens::delete_oldest(conn, &mxid, keep, START).await).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_belongs_to_its_account_until_it_is_deleted() {
        for store in stores().await {
            let alice = account(&store, "@alice:hs").await;
            assert_eq!(find(&store, "t").await, None);
            insert(&store, "t", &alice, START).await.unwrap();
            assert_eq!(find(&store, "t").await, Some(StoredToken { mxid: alice, used_at: START }));
            assert_eq!(find(&store, "T").await, None);

            let used = digest("t");
            store.write(async move |conn| tokens::save_used_at(conn, &used, after(5)).await).await.unwrap();
            assert_eq!(find(&store, "t").await.unwrap().used_at, after(5));

            let delete = async || {
                let deleted = digest("t");
                store.write(async move |conn| tokens::delete(conn, &deleted, START).await).await.unwrap()
            };
            assert!(delete().await);
            assert!(!delete().await);
            assert_eq!(find(&store, "t").await, None);
            // A logout may come between the two steps of another request.
            store.write(async move |conn| tokens::save_used_at(conn, &used, after(9)).await).await.unwrap();
            assert_eq!(find(&store, "t").await, None);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_token_requires_an_account_and_duplicates_are_rejected() {
        for store in stores().await {
            assert!(insert(&store, "t", &user("@unknown:hs"), START).await.is_err());
            let alice = account(&store, "@alice:hs").await;
            let bob = account(&store, "@bob:hs").await;
            insert(&store, "t", &alice, START).await.unwrap();
            assert!(insert(&store, "t", &bob, START).await.is_err());
            assert_eq!(find(&store, "t").await.unwrap().mxid, alice);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_oldest_tokens_of_one_account_are_deleted() {
        for store in stores().await {
            let alice = account(&store, "@alice:hs").await;
            let bob = account(&store, "@bob:hs").await;
            for (token, seconds) in [("third", 3), ("first", 1), ("second", 2)] {
                insert(&store, token, &alice, after(seconds)).await.unwrap();
            }
            insert(&store, "bob's", &bob, START).await.unwrap();

            delete_oldest(&store, &alice, 3).await;
            delete_oldest(&store, &alice, usize::MAX).await;
            assert!(find(&store, "first").await.is_some());
            delete_oldest(&store, &alice, 2).await;
            assert!(find(&store, "first").await.is_none());
            assert!(find(&store, "second").await.is_some() && find(&store, "third").await.is_some());
            delete_oldest(&store, &alice, 0).await;
            assert!(find(&store, "third").await.is_none());
            assert!(find(&store, "bob's").await.is_some());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_tokens_of_the_same_millisecond_exactly_the_allowed_number_stays() {
        for store in stores().await {
            let alice = account(&store, "@alice:hs").await;
            let names = ["a", "b", "c", "d", "e"];
            for token in names {
                insert(&store, token, &alice, START).await.unwrap();
            }
            delete_oldest(&store, &alice, 2).await;
            let mut left = 0;
            for token in names {
                left += usize::from(find(&store, token).await.is_some());
            }
            assert_eq!(left, 2);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn idle_tokens_are_deleted_by_their_last_use() {
        for store in stores().await {
            let alice = account(&store, "@alice:hs").await;
            insert(&store, "idle", &alice, START).await.unwrap();
            insert(&store, "used", &alice, START).await.unwrap();
            let used = digest("used");
            store.write(async move |conn| tokens::save_used_at(conn, &used, after(10)).await).await.unwrap();
            let delete_idle =
                async |before| store.write(async move |conn| tokens::delete_idle(conn, before).await).await.unwrap();
            assert_eq!(delete_idle(START).await, 0);
            assert_eq!(delete_idle(after(10)).await, 1);
            assert!(find(&store, "idle").await.is_none() && find(&store, "used").await.is_some());
        }
    }
}
