//! The tables of this version, read from a new database that the compiled-in migrations have created.
//!
//! Invariant: a table comes after the tables that its foreign keys refer to.

use std::sync::Arc;

use diesel::QueryableByName;
use diesel::sql_types::{Integer, Text};
use diesel_async::RunQueryDsl;

use super::{Column, Kind, Table};
use crate::store::connect::SQLITE_TABLES;
use crate::store::connection::SqliteConn;
use crate::store::{Connection, Store, StoreError};

const COLUMNS: &str = "select name, lower(type) as kind, pk as place_in_key from pragma_table_info(?) order by cid";
const PARENTS: &str = "select distinct \"table\" as name from pragma_foreign_key_list(?)";

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct ColumnInfo {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    kind: String,
    #[diesel(sql_type = Integer)]
    place_in_key: i32,
}

/// The tables of `fresh`, a new SQLite database.
///
/// # Errors
/// [`StoreError`].
pub async fn list(fresh: &Store) -> Result<Vec<Arc<Table>>, StoreError> {
    let read = fresh.read(async |connection| {
        let Connection::Sqlite(conn) = connection else { return Err(StoreError::Corrupt("not an SQLite database")) };
        let mut tables = Vec::new();
        for Name { name } in diesel::sql_query(SQLITE_TABLES).load(&mut **conn).await? {
            tables.push(read_table(conn, name).await?);
        }
        Ok(tables)
    });
    parents_first(read.await?)
}

/// The table, and the names of the tables that it refers to.
async fn read_table(conn: &mut SqliteConn, name: String) -> Result<(Table, Vec<String>), StoreError> {
    let columns: Vec<ColumnInfo> = diesel::sql_query(COLUMNS).bind::<Text, _>(&name).load(conn).await?;
    let parents: Vec<Name> = diesel::sql_query(PARENTS).bind::<Text, _>(&name).load(conn).await?;
    let mut key: Vec<_> = (0..columns.len()).filter(|&index| columns[index].place_in_key > 0).collect();
    key.sort_by_key(|&index| columns[index].place_in_key);
    let columns = columns.into_iter().map(|ColumnInfo { name, kind, .. }| {
        let kind = match kind.as_str() {
            "integer" | "bigint" => Kind::Integer,
            "text" => Kind::Text,
            "blob" => Kind::Bytes,
            _ => return Err(StoreError::Corrupt("a column has an unknown type")),
        };
        Ok(Column { name, kind })
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Ok((Table { name, columns, key }, parents.into_iter().map(|parent| parent.name).collect()))
}

fn parents_first(mut tables: Vec<(Table, Vec<String>)>) -> Result<Vec<Arc<Table>>, StoreError> {
    let mut sorted: Vec<Arc<Table>> = Vec::new();
    while !tables.is_empty() {
        let is_ready = |(table, parents): &(Table, Vec<String>)| {
            parents.iter().all(|parent| *parent == table.name || sorted.iter().any(|sorted| sorted.name == *parent))
        };
        let Some(ready) = tables.iter().position(is_ready) else {
            return Err(StoreError::Corrupt("foreign keys form a circle"));
        };
        sorted.push(Arc::new(tables.remove(ready).0));
    }
    Ok(sorted)
}
