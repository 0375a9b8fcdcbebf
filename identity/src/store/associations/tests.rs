//! Tests of the associations against the database.

use std::collections::HashMap;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::association::Association;
use crate::domain::lookup_hash::{LookupDigest, LookupDigests};
use crate::domain::pepper::Slot;
use crate::domain::threepid::{Medium, ThreePid};
use crate::store::associations::found;
use crate::store::testing::{START, email, stores, user};
use crate::store::{Store, associations};

const HOUR: Duration = Duration::from_secs(3600);

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn association(typed: &str, mxid: &str, ts: Timestamp) -> Association {
    Association::new(email(typed), user(mxid), ts, HOUR)
}

fn digests(h1: u8) -> LookupDigests {
    LookupDigests { h1: digest(h1.into()), h2: None, ascii: None }
}

fn digest(number: u64) -> LookupDigest {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    LookupDigest::from_bytes(bytes)
}

async fn save(store: &Store, association: &Association, digests: LookupDigests) {
    let association = association.clone();
    let saved =
        store.write(async move |conn| associations::save_with(conn, &association, &[Some(digests), None], START).await);
    saved.await.unwrap();
}

async fn find(store: &Store, threepid: ThreePid) -> Option<Association> {
    store.read(async move |conn| associations::find(conn, &threepid).await).await.unwrap()
}

async fn delete(store: &Store, typed: &str, mxid: &str) -> bool {
    let (threepid, mxid) = (email(typed), user(mxid));
    let deleted = store.write(async move |conn| associations::delete(conn, &threepid, &mxid, START).await);
    !deleted.await.unwrap().is_empty()
}

async fn by_digest(store: &Store, asked: Vec<LookupDigest>, now: Timestamp) -> HashMap<LookupDigest, String> {
    let rows = store.read(async move |conn| found::list_by_digest(conn, Slot::First, &asked).await).await.unwrap();
    found::users_at(&rows, now).into_iter().map(|(digest, found)| (digest, found.mxid.clone())).collect()
}

async fn count(store: &Store) -> i64 {
    store.read(async |conn| associations::count(conn).await).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_bind_of_an_address_replaces_the_earlier_one() {
    for store in stores().await {
        assert_eq!(find(&store, email("a@x.org")).await, None);
        let first = association("A@x.org", "@alice:hs", START);
        save(&store, &first, LookupDigests { h1: digest(1), h2: Some(digest(2)), ascii: None }).await;
        let found = find(&store, email("a@X.ORG")).await.unwrap();
        assert_eq!(found, first);
        assert_eq!(found.threepid.typed(), "A@x.org");

        let second = association("a@x.org", "@bob:hs", after(1));
        save(&store, &second, digests(1)).await;
        assert_eq!(find(&store, email("a@x.org")).await, Some(second));
        assert_eq!(count(&store).await, 1);
        // The lower-case digest of the first spelling is replaced as well.
        assert_eq!(by_digest(&store, vec![digest(1), digest(2)], after(1)).await.len(), 1);

        let same_text = ThreePid::from_row(Medium::Msisdn, "a@x.org".to_owned(), String::new());
        assert_eq!(find(&store, same_text).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_affects_only_the_association_of_the_given_user() {
    for store in stores().await {
        save(&store, &association("a@x.org", "@alice:hs", START), digests(1)).await;
        assert!(!delete(&store, "a@x.org", "@bob:hs").await);
        assert!(!delete(&store, "b@x.org", "@alice:hs").await);
        assert!(find(&store, email("a@x.org")).await.is_some());
        assert!(delete(&store, "A@X.org", "@alice:hs").await);
        assert!(!delete(&store, "a@x.org", "@alice:hs").await);
        assert_eq!(find(&store, email("a@x.org")).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_associations_of_a_user_are_listed_oldest_first() {
    for store in stores().await {
        for (typed, mxid, seconds) in [
            ("c@x.org", "@alice:hs", 2),
            ("b@x.org", "@alice:hs", 1),
            ("a@x.org", "@alice:hs", 2),
            ("d@x.org", "@bob:hs", 0),
        ] {
            save(&store, &association(typed, mxid, after(seconds)), digests(typed.as_bytes()[0])).await;
        }
        let list = async |mxid: &str| {
            let mxid = user(mxid);
            let list = store.read(async move |conn| associations::list(conn, &mxid).await).await.unwrap();
            list.iter().map(|found| found.threepid.address().as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(list("@alice:hs").await, ["b@x.org", "a@x.org", "c@x.org"]);
        assert!(list("@Alice:hs").await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_digests_find_the_user_and_the_canonical_one_has_precedence() {
    for store in stores().await {
        let both = LookupDigests { h1: digest(1), h2: Some(digest(2)), ascii: None };
        save(&store, &association("Strauß@x.org", "@alice:hs", START), both).await;
        let clash = LookupDigests { h1: digest(3), h2: Some(digest(1)), ascii: None };
        save(&store, &association("b@x.org", "@bob:hs", START), clash).await;

        let asked = vec![digest(1), digest(2), digest(3), digest(4), digest(1)];
        let found = by_digest(&store, asked, START).await;
        let of = |number| found.get(&digest(number)).map(String::as_str);
        assert_eq!((of(1), of(2), of(3), of(4)), (Some("@alice:hs"), Some("@alice:hs"), Some("@bob:hs"), None));
        assert!(by_digest(&store, Vec::new(), START).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_association_is_found_from_not_before_to_not_after_inclusive() {
    for store in stores().await {
        let earlier = START.minus(Duration::from_secs(1));
        let association = Association { ts: earlier, ..association("a@x.org", "@alice:hs", START) };
        save(&store, &association, LookupDigests { h1: digest(1), h2: Some(digest(2)), ascii: None }).await;
        let moment = Duration::from_millis(1);
        for (now, is_valid) in
            [(START.minus(moment), false), (START, true), (START.plus(HOUR), true), (START.plus(HOUR + moment), false)]
        {
            let found = by_digest(&store, vec![digest(1), digest(2)], now).await;
            assert_eq!(found.len(), if is_valid { 2 } else { 0 }, "{now}");
        }
        let of_a_clock_ahead = Association { ts: START, ..association };
        save(&store, &of_a_clock_ahead, LookupDigests { h1: digest(1), h2: Some(digest(2)), ascii: None }).await;
        let found = by_digest(&store, vec![digest(1), digest(2)], START.minus(HOUR)).await;
        assert_eq!(found.len(), 2, "the clock was set back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lookup_of_more_digests_than_fit_in_one_statement_is_complete() {
    for store in stores().await {
        for (typed, number) in [("a@x.org", 0), ("b@x.org", 9_999), ("c@x.org", 10_000), ("d@x.org", 39_999)] {
            let digests = LookupDigests { h1: digest(number), h2: Some(digest(number + 1_000_000)), ascii: None };
            save(&store, &association(typed, "@alice:hs", START), digests).await;
        }
        let found = by_digest(&store, (0..40_000).map(digest).collect(), START).await;
        assert_eq!(found.len(), 4);
        let found = by_digest(&store, (1_000_000..1_040_000).map(digest).collect(), START).await;
        assert_eq!(found.len(), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_of_another_address_is_rejected() {
    for store in stores().await {
        save(&store, &association("a@x.org", "@alice:hs", START), digests(1)).await;
        let other = association("b@x.org", "@bob:hs", START);
        let digests = digests(1);
        let refused = store
            .write(async move |conn| associations::save_with(conn, &other, &[Some(digests), None], START).await)
            .await;
        assert!(refused.is_err());
        assert_eq!(find(&store, email("b@x.org")).await, None);
        assert_eq!(count(&store).await, 1);
    }
}
