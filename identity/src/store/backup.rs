//! A copy of an SQLite file that servers may write meanwhile.
//!
//! `VACUUM INTO` reads one snapshot in one statement, so writers of other processes neither wait for it nor make it start
//! again, as they do with the online backup API unless that copies all pages in one step. It also needs no unsafe code, and
//! copies no freed pages, which may contain deleted addresses.
//!
//! Invariant: the copy is one file, and whole.

use std::path::Path;

use diesel::connection::SimpleConnection;
use diesel::sql_types::{BigInt, Text};
use diesel::sqlite::SqliteConnection;
use diesel::{Connection as _, QueryableByName, RunQueryDsl};

use super::StoreError;
use super::connect::{BUSY_TIMEOUT, SQLITE_TABLES};

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

/// Copies the SQLite file `source` to `target`, an empty file, and checks the copy; returns its tables with their numbers
/// of rows.
///
/// # Errors
/// [`StoreError`]; `target` may have a part of the copy then.
pub async fn copy(source: &Path, target: &Path) -> Result<Vec<(String, i64)>, StoreError> {
    let (source, target) = (source.to_owned(), target.to_owned());
    let work = move || {
        write(&source, &target)?;
        check(&target)
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Interrupted)?
}

fn write(source: &Path, target: &Path) -> Result<(), StoreError> {
    let mut conn = open(source)?;
    conn.batch_execute(BUSY_TIMEOUT)?;
    diesel::sql_query("VACUUM INTO ?").bind::<Text, _>(text(target)?).execute(&mut conn)?;
    Ok(())
}

fn check(copy: &Path) -> Result<Vec<(String, i64)>, StoreError> {
    let mut conn = open(copy)?;
    let found: Vec<Name> =
        diesel::sql_query("select integrity_check as name from pragma_integrity_check").load(&mut conn)?;
    if found.iter().any(|found| found.name != "ok") {
        return Err(StoreError::Corrupt("PRAGMA integrity_check finds errors in the copy"));
    }
    let tables: Vec<Name> = diesel::sql_query(SQLITE_TABLES).load(&mut conn)?;
    let rows = |Name { name: table }| {
        let count: Count =
            diesel::sql_query(format!("select count(*) as rows from \"{table}\"")).get_result(&mut conn)?;
        Ok((table, count.rows))
    };
    tables.into_iter().map(rows).collect()
}

fn open(path: &Path) -> Result<SqliteConnection, StoreError> {
    SqliteConnection::establish(text(path)?)
        .map_err(|error| StoreError::Connect(format!("SQLite, {}: {error}", path.display())))
}

fn text(path: &Path) -> Result<&str, StoreError> {
    path.to_str().ok_or_else(|| StoreError::Connect(format!("the path {} is not UTF-8", path.display())))
}
