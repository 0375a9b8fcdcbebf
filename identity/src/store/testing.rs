//! New databases for tests of the store, one of each kind, so that each test runs on all: SQLite, PostgreSQL, and
//! PostgreSQL behind pgbouncer in transaction mode.
//!
//! Invariant: every test has its own databases; tests share only the PostgreSQL server.

use shared::clock::Timestamp;

use super::{Store, peppers};
use crate::config::database::Database;
use crate::domain::lookup_hash::Pepper;
use crate::domain::mxid::UserId;
use crate::domain::threepid::{Medium, ThreePid};

/// The start time of tests.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_750_000_000_000);

/// A new SQLite database and, if a PostgreSQL server is available, two new PostgreSQL ones, one of them behind pgbouncer.
pub(crate) async fn stores() -> Vec<Store> {
    // The folder stays until the test process ends; SQLite needs its path only.
    let folder = tempfile::tempdir().unwrap().keep();
    let mut urls = vec![format!("sqlite://{}", folder.join("test.db").display())];
    urls.extend(harness::postgres::database().await);
    urls.extend(harness::pgbouncer::database().await);
    let mut stores = Vec::new();
    for url in urls {
        let settings = Database { max_connections: 4, ..Database::at(&url) };
        let store = Store::open(&settings, None).await.unwrap();
        let pepper = pepper();
        store.write(async move |conn| peppers::list_or_insert(conn, &pepper, START).await).await.unwrap();
        stores.push(store);
    }
    stores
}

/// The pepper of the databases.
pub(crate) fn pepper() -> Pepper {
    Pepper::parse("matrixrocks").unwrap()
}

/// Parses a user ID.
pub(crate) fn user(mxid: &str) -> UserId {
    UserId::parse(mxid).unwrap()
}

/// Parses an email address.
pub(crate) fn email(typed: &str) -> ThreePid {
    ThreePid::canonical(Medium::Email, typed).unwrap()
}

/// Runs one statement, to create rows that no version stores any more.
pub(crate) async fn execute(store: &Store, statement: &'static str) {
    store.write(async move |conn| conn.execute(statement).await).await.unwrap();
}
