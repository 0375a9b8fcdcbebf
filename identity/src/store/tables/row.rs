//! A row of any table as plain values.
//!
//! Invariant: a row has the same values, and so the same digest, in both databases.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::row::{Field, NamedRow};
use diesel::serialize::ToSql;
use diesel::sql_types::{BigInt, Binary, HasSqlType, Integer, Nullable, Text};
use diesel::sqlite::{Sqlite, SqliteType};
use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;

use super::Kind;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// The values of a row, in the order of its table's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// A digest of the values. Each has its kind and length before it, so that different rows have different input.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for value in &self.0 {
            let number;
            let (kind, bytes): (u8, &[u8]) = match value {
                Value::Null => (0, &[]),
                Value::Integer(integer) => {
                    number = integer.to_be_bytes();
                    (1, &number)
                }
                Value::Text(text) => (2, text.as_bytes()),
                Value::Bytes(bytes) => (3, bytes),
            };
            digest.update([kind]);
            digest.update((bytes.len() as u64).to_be_bytes());
            digest.update(bytes);
        }
        digest.finalize().into()
    }
}

impl QueryableByName<Sqlite> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Sqlite>) -> deserialize::Result<Self> {
        let value = |index| {
            let field = diesel::row::Row::get(row, index).ok_or("a column is missing")?;
            let Some(value) = field.value() else { return Ok(Value::Null) };
            match value.value_type() {
                Some(SqliteType::SmallInt | SqliteType::Integer | SqliteType::Long) => {
                    FromSql::<BigInt, Sqlite>::from_sql(value).map(Value::Integer)
                }
                Some(SqliteType::Text) => FromSql::<Text, Sqlite>::from_sql(value).map(Value::Text),
                Some(SqliteType::Binary) => FromSql::<Binary, Sqlite>::from_sql(value).map(Value::Bytes),
                other => Err(format!("a value has the unexpected type {other:?}").into()),
            }
        };
        (0..row.field_count()).map(value).collect::<deserialize::Result<_>>().map(Self)
    }
}

impl QueryableByName<Pg> for Row {
    fn build<'a>(row: &impl NamedRow<'a, Pg>) -> deserialize::Result<Self> {
        let value = |index| {
            let field = diesel::row::Row::get(row, index).ok_or("a column is missing")?;
            let Some(value) = field.value() else { return Ok(Value::Null) };
            match Type::from_oid(value.get_oid().get()) {
                Some(Type::INT4) => {
                    let integer: i32 = FromSql::<Integer, Pg>::from_sql(value)?;
                    Ok(Value::Integer(integer.into()))
                }
                Some(Type::INT8) => FromSql::<BigInt, Pg>::from_sql(value).map(Value::Integer),
                Some(Type::TEXT) => FromSql::<Text, Pg>::from_sql(value).map(Value::Text),
                Some(Type::BYTEA) => FromSql::<Binary, Pg>::from_sql(value).map(Value::Bytes),
                other => Err(format!("a value has the unexpected type {other:?}").into()),
            }
        };
        (0..row.field_count()).map(value).collect::<deserialize::Result<_>>().map(Self)
    }
}

/// Adds `value`, which is of a column of this kind, to the values of `query`.
pub(super) fn bind<'a, DB>(
    query: BoxedSqlQuery<'a, DB, SqlQuery>,
    kind: Kind,
    value: &'a Value,
) -> BoxedSqlQuery<'a, DB, SqlQuery>
where
    DB: Backend + HasSqlType<BigInt> + HasSqlType<Text> + HasSqlType<Binary>,
    i64: ToSql<BigInt, DB>,
    str: ToSql<Text, DB>,
    [u8]: ToSql<Binary, DB>,
{
    match kind {
        Kind::Integer => {
            let value = if let Value::Integer(value) = value { Some(*value) } else { None };
            query.bind::<Nullable<BigInt>, _>(value)
        }
        Kind::Text => {
            let value = if let Value::Text(value) = value { Some(value.as_str()) } else { None };
            query.bind::<Nullable<Text>, _>(value)
        }
        Kind::Bytes => {
            let value = if let Value::Bytes(value) = value { Some(value.as_slice()) } else { None };
            query.bind::<Nullable<Binary>, _>(value)
        }
    }
}
