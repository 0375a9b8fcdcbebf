//! Fresh databases for tests of the store: one of each kind, so that the same test runs on both.
//!
//! Invariant: every test has its own databases; nothing is shared but the PostgreSQL server they are in.

use shared::clock::Timestamp;

use super::Store;
use crate::config::database::Database;
use crate::domain::mxid::UserId;
use crate::domain::threepid::{Medium, ThreePid};

/// A point in time for tests to begin at.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// A new SQLite database and, where there is a PostgreSQL to be had, a new one there.
pub(crate) async fn stores() -> Vec<Store> {
    // The folder lives as long as the test process; SQLite needs no more than its path.
    let folder = tempfile::tempdir().unwrap().keep();
    let mut urls = vec![format!("sqlite://{}", folder.join("test.db").display())];
    urls.extend(harness::postgres::database().await);
    let mut stores = Vec::new();
    for url in urls {
        let settings = Database { max_connections: 4, ..Database::at(&url) };
        stores.push(Store::open(&settings, None).await.unwrap());
    }
    stores
}

/// The user of that name.
pub(crate) fn user(mxid: &str) -> UserId {
    UserId::parse(mxid).unwrap()
}

/// The e-mail address as it was typed.
pub(crate) fn email(typed: &str) -> ThreePid {
    ThreePid::canonical(Medium::Email, typed).unwrap()
}
