//! Every table as rows of plain values, for a copy of the whole database. A new table needs no line here.
//!
//! Invariant: a statement reads or writes at most [`BATCH`] rows.

mod list;
mod row;

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use diesel::QueryableByName;
use diesel::pg::Pg;
use diesel::sql_types::BigInt;
use diesel::sqlite::Sqlite;
use diesel_async::{AsyncConnectionCore, RunQueryDsl};
use sha2::{Digest, Sha256};

pub use self::list::list;
use self::row::bind;
pub use self::row::{Row, Value};
use super::connection::queries;
use super::{BATCH, Store, StoreError};

/// A table of the database.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    columns: Vec<Column>,
    /// The indices of the columns of the primary key, in its order.
    key: Vec<usize>,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Integer,
    Text,
    Bytes,
}

/// The number of rows and a checksum, which does not depend on their order: databases sort texts differently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub rows: i64,
    sum: [u64; 4],
}

/// Where a page of a table begins.
#[derive(Clone, Debug)]
pub enum Start {
    /// After this many rows.
    Skip(i64),
    /// After the row with this key.
    After(Vec<Value>),
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    rows: i64,
}

impl Content {
    /// Adds a row.
    pub fn add(&mut self, row: &Row) {
        self.rows += 1;
        let digest = row.digest();
        let (words, _) = digest.as_chunks::<8>();
        for (sum, word) in self.sum.iter_mut().zip(words) {
            *sum = sum.wrapping_add(u64::from_be_bytes(*word));
        }
    }
}

impl Table {
    /// The start of the page after a page that ends with `row`.
    pub fn after(&self, row: &Row) -> Start {
        Start::After(self.key.iter().map(|&index| row.0[index].clone()).collect())
    }

    fn names<'a>(&'a self, columns: impl IntoIterator<Item = &'a Column>) -> String {
        columns.into_iter().map(|column| format!("\"{}\"", column.name)).collect::<Vec<_>>().join(", ")
    }

    fn page<DB: Placeholders>(&self, start: &Start) -> String {
        let (name, columns) = (&self.name, self.names(&self.columns));
        let key = self.names(self.key.iter().map(|&index| &self.columns[index]));
        let (condition, offset) = match start {
            Start::Skip(rows) => (String::new(), format!(" offset {rows}")),
            Start::After(_) => (format!(" where ({key}) > {}", DB::placeholders(0, self.key.len())), String::new()),
        };
        format!("select {columns} from \"{name}\"{condition} order by {key} limit {BATCH}{offset}")
    }

    fn insertion<DB: Placeholders>(&self, rows: usize) -> String {
        let mut sql = format!("insert into \"{}\" ({}) values ", self.name, self.names(&self.columns));
        for row in 0..rows {
            let separator = if row == 0 { "" } else { ", " };
            _ = write!(sql, "{separator}{}", DB::placeholders(row * self.columns.len(), self.columns.len()));
        }
        sql
    }
}

/// How a database names the values of a statement. Diesel replaces none in a statement that is written as text.
trait Placeholders {
    /// A list in parentheses, after the first `before` values.
    fn placeholders(before: usize, number: usize) -> String;
}

impl Placeholders for Sqlite {
    fn placeholders(_: usize, number: usize) -> String {
        format!("({})", vec!["?"; number].join(", "))
    }
}

impl Placeholders for Pg {
    fn placeholders(before: usize, number: usize) -> String {
        let list: Vec<_> = (before + 1..=before + number).map(|number| format!("${number}")).collect();
        format!("({})", list.join(", "))
    }
}

queries! {
    /// The number of rows.
    pub async fn count(conn, table: &Table) -> Result<i64, StoreError> {
        let query = diesel::sql_query(format!("select count(*) as rows from \"{}\"", table.name));
        let Count { rows } = query.get_result(conn).await?;
        Ok(rows)
    }

    /// A batch of rows in the order of their keys; an empty one at the end.
    pub async fn page(conn, table: &Table, start: &Start) -> Result<Vec<Row>, StoreError> {
        type Backend = <Conn as AsyncConnectionCore>::Backend;
        let mut query = diesel::sql_query(table.page::<Backend>(start)).into_boxed::<Backend>();
        if let Start::After(key) = start {
            for (value, index) in key.iter().zip(&table.key) {
                query = bind(query, table.columns[*index].kind, value);
            }
        }
        Ok(query.load(conn).await?)
    }

    /// Inserts a batch of rows.
    pub async fn insert(conn, table: &Table, rows: &[Row]) -> Result<(), StoreError> {
        type Backend = <Conn as AsyncConnectionCore>::Backend;
        let mut query = diesel::sql_query(table.insertion::<Backend>(rows.len())).into_boxed::<Backend>();
        for row in rows {
            for (value, column) in row.0.iter().zip(&table.columns) {
                query = bind(query, column.kind, value);
            }
        }
        query.execute(conn).await?;
        Ok(())
    }

    /// Deletes the few rows that the migrations have inserted.
    pub async fn clear(conn, table: &Table) -> Result<(), StoreError> {
        diesel::sql_query(format!("delete from \"{}\"", table.name)).execute(conn).await?;
        Ok(())
    }
}

/// Reads the whole table; `read` receives the number of rows that were read so far.
///
/// # Errors
/// [`StoreError`].
pub async fn content(store: &Store, table: &Arc<Table>, mut read: impl FnMut(i64)) -> Result<Content, StoreError> {
    let (mut content, mut start) = (Content::default(), Start::Skip(0));
    loop {
        let rows = store.read({
            let table = Arc::clone(table);
            async move |conn| page(conn, &table, &start).await
        });
        let rows = rows.await?;
        rows.iter().for_each(|row| content.add(row));
        let Some(last) = rows.last() else { return Ok(content) };
        start = table.after(last);
        read(content.rows);
    }
}

/// A digest that changes with the number of rows of any table, and with the content of tables with at most one batch. It
/// recognizes a database without reading it all.
///
/// # Errors
/// [`StoreError`].
pub async fn fingerprint(store: &Store, tables: &[Arc<Table>]) -> Result<String, StoreError> {
    let mut digest = Sha256::new();
    for table in tables {
        let counted = Arc::clone(table);
        let rows = store.read(async move |conn| count(conn, &counted).await).await?;
        let content = if rows <= BATCH { Some(content(store, table, |_| {}).await?) } else { None };
        digest.update(format!("{} {rows} {content:?}\n", table.name));
    }
    Ok(STANDARD_NO_PAD.encode(digest.finalize()))
}

#[cfg(test)]
mod tests;
