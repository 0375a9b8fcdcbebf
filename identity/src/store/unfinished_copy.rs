//! `unfinished_copy`: how much of each table a copy of another database has, until it is complete.
//!
//! No migration creates the table: it exists in the target of a copy only, and only until that is complete.
//!
//! Invariant: a database with this table is served to no client.

use std::collections::BTreeMap;

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel::sql_types::Integer;
use diesel::{QueryableByName, table};
use diesel_async::RunQueryDsl;

use super::connection::queries;
use super::{Connection, StoreError};

/// The name of the table.
pub const NAME: &str = "unfinished_copy";

table! {
    unfinished_copy (table_name) {
        table_name -> Text,
        source -> Text,
        copied -> BigInt,
    }
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Integer)]
    #[expect(dead_code, reason = "only whether there is one counts")]
    found: i32,
}

/// Whether the database is an unfinished copy.
///
/// # Errors
/// [`StoreError`].
pub async fn exists(connection: &mut Connection) -> Result<bool, StoreError> {
    let found: Vec<Found> = match connection {
        Connection::Sqlite(conn) => {
            let query = "select 1 as found from sqlite_master where type = 'table' and name = 'unfinished_copy'";
            diesel::sql_query(query).load(&mut **conn).await?
        }
        Connection::Postgres(conn) => {
            let query = "select 1 as found where to_regclass('unfinished_copy') is not null";
            diesel::sql_query(query).load(&mut **conn).await?
        }
    };
    Ok(!found.is_empty())
}

/// Creates the table.
///
/// # Errors
/// [`StoreError`].
pub async fn create(connection: &mut Connection) -> Result<(), StoreError> {
    let create = "create table if not exists unfinished_copy \
        (table_name text not null primary key, source text not null, copied bigint not null)";
    connection.execute(create).await
}

/// Drops the table: the copy is complete.
///
/// # Errors
/// [`StoreError`].
pub async fn drop(connection: &mut Connection) -> Result<(), StoreError> {
    connection.execute("drop table unfinished_copy").await
}

queries! {
    /// The fingerprint of the source and the number of copied rows, by table.
    pub async fn list(conn) -> Result<BTreeMap<String, (String, i64)>, StoreError> {
        let rows: Vec<(String, String, i64)> = unfinished_copy::table.load(conn as &mut Conn).await?;
        Ok(rows.into_iter().map(|(table, source, copied)| (table, (source, copied))).collect())
    }

    /// Adds a table without a copied row.
    pub async fn insert(conn, table: &str, source: &str) -> Result<(), StoreError> {
        diesel::insert_into(unfinished_copy::table)
            .values((
                unfinished_copy::table_name.eq(table),
                unfinished_copy::source.eq(source),
                unfinished_copy::copied.eq(0),
            ))
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Sets the number of copied rows. False if it is not `before`: another process copies to the database.
    pub async fn advance(conn, table: &str, before: i64, after: i64) -> Result<bool, StoreError> {
        let row = unfinished_copy::table.find(table).filter(unfinished_copy::copied.eq(before));
        let changed = diesel::update(row).set(unfinished_copy::copied.eq(after)).execute(conn).await?;
        Ok(changed == 1)
    }
}
