//! Announcements of changes between processes.

use std::time::Duration;

use tokio::sync::mpsc;

use crate::config::database::Database;
use crate::store::Store;

/// Long enough for a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

async fn open(url: &str) -> Store {
    Store::open(&Database { max_connections: 2, ..Database::at(url) }, None).await.unwrap()
}

/// What a store hears: first that it listens.
fn hear(store: &Store) -> mpsc::UnboundedReceiver<()> {
    let (store, (sender, receiver)) = (store.clone(), mpsc::unbounded_channel());
    tokio::spawn(async move { store.hear_changes(|| _ = sender.send(())).await });
    receiver
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_hears_of_changes_of_others_and_not_of_its_own() {
    let Some(url) = harness::postgres::database().await else { return };
    let (first, second) = (open(&url).await, open(&url).await);
    // It announces nothing that it could not hear itself.
    first.announce_changes().await;
    let (mut to_first, mut to_second) = (hear(&first), hear(&second));
    for receiver in [&mut to_first, &mut to_second] {
        tokio::time::timeout(DEADLINE, receiver.recv()).await.unwrap().unwrap();
    }
    first.announce_changes().await;
    second.announce_changes().await;
    second.announce_changes().await;
    // The announcements of one database arrive in one order everywhere.
    for (receiver, announced) in [(&mut to_second, 1), (&mut to_first, 2)] {
        for _ in 0..announced {
            tokio::time::timeout(DEADLINE, receiver.recv()).await.unwrap().unwrap();
        }
    }
    assert!(to_first.is_empty() && to_second.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_a_pooler_and_on_sqlite_nothing_is_announced() {
    let mut urls = vec!["sqlite::memory:".to_owned()];
    urls.extend(harness::pgbouncer::database().await);
    for url in urls {
        let store = open(&url).await;
        assert!(!store.hear_changes(|| panic!("nothing is announced")).await.unwrap(), "{url}");
        store.announce_changes().await;
    }
}
