//! Copies every table of one database to another one, of the same or of the other kind.
//!
//! All rows are copied, also those of limits, queues and the changes that processes follow, so that limits stay in force
//! and a process whose database is replaced by the copy reads on where it was.
//!
//! Invariant: a copy is complete only if every table of both databases has the same rows at the end. Until then the target
//! is marked as unfinished, and no server starts on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::store::tables::{self, Start, Table};
use crate::store::{Store, StoreError, unfinished_copy};

/// What a caller learns of a copy that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Copied,
    /// The target was read, to compare it with the source.
    Checked,
}

/// Why the copy is not complete.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("--from: {0}")]
    Source(StoreError),
    #[error("--to: {0}")]
    Target(StoreError),
    #[error("--to: the table {0}: {1}")]
    Write(String, StoreError),
    #[error("--to: the table {0} has rows; name an empty database")]
    HasRows(String),
    #[error(
        "--to: the database is an unfinished copy of another database, or of this one before it changed; stop all servers \
         that use the source, replace the target by an empty database, and start again"
    )]
    OtherCopy,
    #[error("--to: another `identity copy-database` writes to the table {0}; wait for it, then run this one again")]
    Concurrent(String),
    #[error(
        "--from: the table {0} changed while it was copied, or the copy of it did; stop all servers that use either \
         database, replace the target by an empty database, and start again"
    )]
    Changed(String),
}

/// Copies `source` to `target`, or what is left of an interrupted copy; returns the number of tables and of their rows.
/// `fresh` is a new SQLite database in memory. `report` receives the table, and how many of its rows are done.
///
/// # Errors
/// [`CopyError`]. The next call with the same databases continues, unless the error says otherwise.
pub async fn copy_database(
    source: &Store,
    target: &Store,
    fresh: &Store,
    mut report: impl FnMut(Step, &str, i64, i64),
) -> Result<(usize, i64), CopyError> {
    let tables = tables::list(fresh).await.map_err(CopyError::Source)?;
    let fingerprint = tables::fingerprint(source, &tables).await.map_err(CopyError::Source)?;
    let begun = begin(target, fresh, &tables, &fingerprint).await?;
    let mut all = 0;
    for table in &tables {
        let copied = begun.get(&table.name).map_or(0, |(_, copied)| *copied);
        all +=
            copy_table(source, target, table, copied, |rows, of| report(Step::Copied, &table.name, rows, of)).await?;
    }
    for table in &tables {
        let total = count(target, table).await.map_err(CopyError::Target)?;
        let read = |rows| report(Step::Checked, &table.name, rows, total);
        let copy = tables::content(target, table, read).await.map_err(CopyError::Target)?;
        if tables::content(source, table, |_| {}).await.map_err(CopyError::Source)? != copy {
            return Err(CopyError::Changed(table.name.clone()));
        }
    }
    // A table that was compared may have changed while the next ones were.
    if tables::fingerprint(source, &tables).await.map_err(CopyError::Source)? != fingerprint {
        return Err(CopyError::OtherCopy);
    }
    target.write(async |conn| unfinished_copy::drop(conn).await).await.map_err(CopyError::Target)?;
    Ok((tables.len(), all))
}

/// Marks the target as unfinished; returns how much it has already.
async fn begin(
    target: &Store,
    fresh: &Store,
    tables: &[Arc<Table>],
    fingerprint: &str,
) -> Result<BTreeMap<String, (String, i64)>, CopyError> {
    let begun = target.read(async |conn| {
        if unfinished_copy::exists(conn).await? { unfinished_copy::list(conn).await } else { Ok(BTreeMap::new()) }
    });
    let begun = begun.await.map_err(CopyError::Target)?;
    if !begun.is_empty() {
        let is_same = begun.values().all(|(source, _)| source == fingerprint) && begun.len() == tables.len();
        return if is_same { Ok(begun) } else { Err(CopyError::OtherCopy) };
    }
    for table in tables {
        let seeded = tables::content(fresh, table, |_| {}).await.map_err(CopyError::Target)?;
        // The count comes first: it is enough for most tables that have rows.
        let is_new = count(target, table).await.map_err(CopyError::Target)? == seeded.rows
            && tables::content(target, table, |_| {}).await.map_err(CopyError::Target)? == seeded;
        if !is_new {
            return Err(CopyError::HasRows(table.name.clone()));
        }
    }
    let (tables, fingerprint) = (tables.to_vec(), fingerprint.to_owned());
    let mark = target.write(async move |conn| {
        unfinished_copy::create(conn).await?;
        for table in &tables {
            unfinished_copy::insert(conn, &table.name, &fingerprint).await?;
        }
        // The migrations have inserted rows, which the source has too.
        for table in tables.iter().rev() {
            tables::clear(conn, table).await?;
        }
        Ok(())
    });
    mark.await.map_err(CopyError::Target)?;
    Ok(begun)
}

/// Copies the rows after the first `copied`; returns the number of all.
async fn copy_table(
    source: &Store,
    target: &Store,
    table: &Arc<Table>,
    mut copied: i64,
    mut report: impl FnMut(i64, i64),
) -> Result<i64, CopyError> {
    let total = count(source, table).await.map_err(CopyError::Source)?;
    let mut start = Start::Skip(copied);
    loop {
        let page = source.read({
            let table = Arc::clone(table);
            async move |conn| tables::page(conn, &table, &start).await
        });
        let rows = Arc::new(page.await.map_err(CopyError::Source)?);
        let Some(last) = rows.last() else { return Ok(copied) };
        start = table.after(last);
        let after = copied + i64::try_from(rows.len()).unwrap_or(i64::MAX);
        let write = target.write({
            let (table, before) = (Arc::clone(table), copied);
            async move |conn| {
                let is_alone = unfinished_copy::advance(conn, &table.name, before, after).await?;
                if is_alone {
                    tables::insert(conn, &table, &rows).await?;
                }
                Ok::<_, StoreError>(is_alone)
            }
        });
        if !write.await.map_err(|error| CopyError::Write(table.name.clone(), error))? {
            return Err(CopyError::Concurrent(table.name.clone()));
        }
        copied = after;
        report(copied, total);
    }
}

async fn count(store: &Store, table: &Arc<Table>) -> Result<i64, StoreError> {
    let table = Arc::clone(table);
    store.read(async move |conn| tables::count(conn, &table).await).await
}
