//! Guarantees of [`Store::write`]: no lost update and no partial write, even if the work fails or its caller disconnects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use diesel::result::{DatabaseErrorKind, Error as DieselError};
use harness::wait::{wait_for, wait_until};
use shared::clock::Timestamp;
use tokio::sync::{Barrier, Notify};

use crate::config::database::Database;
use crate::domain::access_token::AccessToken;
use crate::domain::mxid::UserId;
use crate::store::accounts::account;
use crate::store::testing::{START, stores, user};
use crate::store::{Connection, Store, StoreError, WriteError, rate_limits, tokens};

const COUNTER: [u8; 32] = [7; 32];
const DEADLINE: Duration = Duration::from_secs(30);

async fn read(conn: &mut Connection) -> Result<i64, StoreError> {
    Ok(rate_limits::find(conn, &COUNTER).await?.map_or(0, Timestamp::as_millis))
}

/// Increments a number by a read and a write, which concurrent transactions must serialize.
async fn count_up(conn: &mut Connection) -> Result<(), StoreError> {
    let number = read(conn).await?;
    rate_limits::save(conn, &COUNTER, Timestamp::from_millis(number + 1)).await
}

fn is_postgres(conn: &Connection) -> bool {
    matches!(conn, Connection::Postgres(_))
}

async fn insert_token(store: &Store, token: &str, mxid: &UserId) -> Result<(), StoreError> {
    let (digest, mxid) = (AccessToken::shown(token).digest(), mxid.clone());
    store.write(async move |conn| tokens::insert(conn, &digest, &mxid, START).await).await
}

async fn count(store: &Store) -> i64 {
    store.read(async |conn| read(conn).await).await.unwrap()
}

/// The databases, and an in-memory one, whose only connection must not be closed.
async fn all_stores() -> Vec<Store> {
    let settings = Database::at("sqlite::memory:");
    let mut stores = stores().await;
    stores.push(Store::open(&settings, None).await.unwrap());
    stores
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_tasks_of_fifty_read_write_transactions_lose_no_update() {
    for store in all_stores().await {
        let tasks = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..50 {
                    store.write(async |conn| count_up(conn).await).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(count(&store).await, 400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_collides_is_retried() {
    for store in stores().await {
        let runs = Arc::new(AtomicU32::new(0));
        let both_have_read = Arc::new(Barrier::new(2));
        let tasks = (0..2).map(|_| {
            let (store, runs, both_have_read) = (store.clone(), runs.clone(), both_have_read.clone());
            tokio::spawn(async move {
                let counted = store.write(async move |conn| {
                    let number = read(conn).await?;
                    // SQLite admits one writer at a time, so there both cannot meet.
                    if runs.fetch_add(1, Ordering::SeqCst) < 2 && is_postgres(conn) {
                        both_have_read.wait().await;
                    }
                    rate_limits::save(conn, &COUNTER, Timestamp::from_millis(number + 1)).await
                });
                counted.await.unwrap();
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(count(&store).await, 2);
        let is_postgres = store.read(async |conn| Ok::<_, StoreError>(is_postgres(conn))).await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst) > 2, is_postgres);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_that_fails_or_panics_is_rolled_back_and_the_connection_stays_usable() {
    for store in all_stores().await {
        // More often than there are connections.
        for _ in 0..10 {
            let failed: Result<(), StoreError> = store
                .write(async |conn| {
                    count_up(conn).await?;
                    Err(StoreError::Corrupt("on purpose"))
                })
                .await;
            assert!(matches!(failed, Err(StoreError::Corrupt("on purpose"))));

            let panicked: Result<(), StoreError> = store
                .write(async |conn| {
                    count_up(conn).await?;
                    panic!("on purpose")
                })
                .await;
            assert!(matches!(panicked, Err(StoreError::Interrupted)));
        }
        assert_eq!(count(&store).await, 0);
        store.write(async |conn| count_up(conn).await).await.unwrap();
        assert_eq!(count(&store).await, 1);
        assert_eq!(store.connections_in_use(), 0);
    }
}

#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("on purpose")]
    OnPurpose,
}

impl WriteError for Refusal {
    fn store_error(&self) -> Option<&StoreError> {
        if let Self::Store(error) = self { Some(error) } else { None }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_caller_rolls_back_without_a_retry_and_a_collision_in_it_is_retried() {
    for store in all_stores().await {
        let alice = account(&store, "@alice:hs").await;
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let refused: Result<(), Refusal> = store
            .write(async move |conn| {
                counted.fetch_add(1, Ordering::SeqCst);
                count_up(conn).await?;
                Err(Refusal::OnPurpose)
            })
            .await;
        assert!(matches!(refused, Err(Refusal::OnPurpose)));
        assert_eq!((runs.load(Ordering::SeqCst), count(&store).await), (1, 0));

        let counted = runs.clone();
        let collided: Result<(), Refusal> = store
            .write(async move |conn| {
                counted.fetch_add(1, Ordering::SeqCst);
                let digest = AccessToken::shown("t").digest();
                tokens::insert(conn, &digest, &alice, START).await?;
                Ok(tokens::insert(conn, &digest, &alice, START).await?)
            })
            .await;
        assert!(matches!(collided, Err(Refusal::Store(_))));
        assert_eq!(runs.load(Ordering::SeqCst), 1 + 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_during_a_read_leaves_the_connection_usable() {
    for store in all_stores().await {
        for _ in 0..10 {
            let panicked: Result<(), StoreError> = store.read(async |_| panic!("on purpose")).await;
            assert!(matches!(panicked, Err(StoreError::Interrupted)));
        }
        assert_eq!(count(&store).await, 0);
        assert_eq!(store.connections_in_use(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn work_continues_after_its_caller_disconnects() {
    for store in all_stores().await {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let request = {
            let (store, begun, go_on) = (store.clone(), begun.clone(), go_on.clone());
            tokio::spawn(async move {
                let written = store.write(async move |conn| {
                    let number = read(conn).await?;
                    begun.notify_one();
                    go_on.notified().await;
                    rate_limits::save(conn, &COUNTER, Timestamp::from_millis(number + 1)).await
                });
                written.await
            })
        };
        begun.notified().await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        go_on.notify_one();
        wait_for("the number", DEADLINE, async || (count(&store).await == 1).then_some(())).await;
        wait_until("the connection's return", DEADLINE, || store.connections_in_use() == 0).await;
        store.write(async |conn| count_up(conn).await).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_always_collides_fails_after_its_retries() {
    for store in all_stores().await {
        let alice = account(&store, "@alice:hs").await;
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let refused: Result<(), StoreError> = store
            .write(async move |conn| {
                counted.fetch_add(1, Ordering::SeqCst);
                let digest = AccessToken::shown("t").digest();
                tokens::insert(conn, &digest, &alice, START).await?;
                tokens::insert(conn, &digest, &alice, START).await
            })
            .await;
        let unique = matches!(
            refused,
            Err(StoreError::Statement(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _)))
        );
        assert!(unique, "{refused:?}");
        assert_eq!(runs.load(Ordering::SeqCst), 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_inserts_of_the_same_absent_key_all_succeed() {
    for store in stores().await {
        let alice = account(&store, "@alice:hs").await;
        let tasks = (0..8).map(|_| {
            let (store, alice) = (store.clone(), alice.clone());
            tokio::spawn(async move {
                let inserted = store.write(async move |conn| {
                    let digest = AccessToken::shown("t").digest();
                    if tokens::find(conn, &digest).await?.is_none() {
                        tokens::insert(conn, &digest, &alice, START).await?;
                    }
                    count_up(conn).await
                });
                inserted.await.unwrap();
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(count(&store).await, 8);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_connections_wait_in_line() {
    for store in all_stores().await {
        let tasks = (0..40).map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                if number % 2 == 0 {
                    store.write(async |conn| count_up(conn).await).await.unwrap();
                } else {
                    count(&store).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        assert_eq!(count(&store).await, 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_error_text_contains_the_values_of_a_row() {
    for store in all_stores().await {
        let unknown = user("@unknown:hs.example");
        let error = insert_token(&store, "t", &unknown).await.unwrap_err();
        assert!(matches!(error, StoreError::Statement(_)));
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("@unknown"), "{text}");
        }
    }
}
