//! `accepted_terms`: the policy URLs that an account has accepted.
//!
//! Invariant: the table contains URLs only; each request compares them with the current terms.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::accepted_terms;
use crate::domain::mxid::UserId;

queries! {
    /// The URLs that the account has accepted.
    pub async fn list(conn, mxid: &UserId) -> Result<Vec<String>, StoreError> {
        Ok(accepted_terms::table
            .filter(accepted_terms::mxid.eq(mxid.as_str()))
            .select(accepted_terms::url)
            .load(conn as &mut Conn)
            .await?)
    }

    /// Adds to the accepted URLs of the account.
    pub async fn insert(conn, mxid: &UserId, urls: &[String], now: Timestamp) -> Result<(), StoreError> {
        for url in urls {
            diesel::insert_into(accepted_terms::table)
                .values((
                    accepted_terms::mxid.eq(mxid.as_str()),
                    accepted_terms::url.eq(url),
                    accepted_terms::accepted_at.eq(now.as_millis()),
                ))
                .on_conflict_do_nothing()
                .execute(conn as &mut Conn)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::store::accepted_terms;
    use crate::store::accounts::account;
    use crate::store::testing::{START, stores, user};

    #[tokio::test(flavor = "multi_thread")]
    async fn accepted_urls_accumulate_by_account() {
        for store in stores().await {
            let list = async |mxid: &str| {
                let mxid = user(mxid);
                let mut urls = store.read(async move |conn| accepted_terms::list(conn, &mxid).await).await.unwrap();
                urls.sort();
                urls
            };
            let accept = async |urls: &[&str]| {
                let (alice, urls) = (user("@alice:hs"), urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>());
                store.write(async move |conn| accepted_terms::insert(conn, &alice, &urls, START).await).await
            };
            account(&store, "@alice:hs").await;
            account(&store, "@bob:hs").await;
            assert!(list("@alice:hs").await.is_empty());
            accept(&["https://x/en"]).await.unwrap();
            accept(&[]).await.unwrap();
            accept(&["https://x/de", "https://x/en", "https://x/de"]).await.unwrap();
            assert_eq!(list("@alice:hs").await, ["https://x/de", "https://x/en"]);
            assert!(list("@bob:hs").await.is_empty());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn acceptance_requires_an_account() {
        for store in stores().await {
            let urls = vec!["https://x/en".to_owned()];
            let refused =
                store.write(async move |conn| accepted_terms::insert(conn, &user("@x:hs"), &urls, START).await).await;
            assert!(refused.is_err());
        }
    }
}
