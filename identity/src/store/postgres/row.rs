//! A row of PostgreSQL as diesel reads it.
//!
//! Invariant: a value is passed on as the server sent it; diesel decodes it.

use std::error::Error;
use std::num::NonZeroU32;
use std::ops::Range;

use diesel::pg::{Pg, PgValue};
use diesel::row::{Field, PartialRow, Row, RowIndex, RowSealed};
use tokio_postgres::types::{FromSql, Type};

pub struct PostgresRow(pub(super) tokio_postgres::Row);

impl RowSealed for PostgresRow {}

impl<'a> Row<'a, Pg> for PostgresRow {
    type Field<'f>
        = PostgresField<'f>
    where
        'a: 'f,
        Self: 'f;
    type InnerPartialRow = Self;

    fn field_count(&self) -> usize {
        self.0.len()
    }

    fn get<'b, I>(&'b self, index: I) -> Option<Self::Field<'b>>
    where
        'a: 'b,
        Self: RowIndex<I>,
    {
        let index = self.idx(index)?;
        let type_oid = NonZeroU32::new(self.0.columns().get(index)?.type_().oid())?;
        Some(PostgresField { row: &self.0, index, type_oid })
    }

    fn partial_row(&self, range: Range<usize>) -> PartialRow<'_, Self::InnerPartialRow> {
        PartialRow::new(self, range)
    }
}

impl RowIndex<usize> for PostgresRow {
    fn idx(&self, index: usize) -> Option<usize> {
        (index < self.0.len()).then_some(index)
    }
}

impl<'a> RowIndex<&'a str> for PostgresRow {
    fn idx(&self, name: &'a str) -> Option<usize> {
        self.0.columns().iter().position(|column| column.name() == name)
    }
}

pub struct PostgresField<'a> {
    row: &'a tokio_postgres::Row,
    index: usize,
    type_oid: NonZeroU32,
}

impl<'a> Field<'a, Pg> for PostgresField<'a> {
    fn field_name(&self) -> Option<&str> {
        Some(self.row.columns().get(self.index)?.name())
    }

    fn value(&self) -> Option<PgValue<'_>> {
        let Encoded(bytes) = self.row.try_get(self.index).ok()?;
        Some(PgValue::new(bytes?, &self.type_oid))
    }
}

/// A value of any type in its binary form; `None` is null.
struct Encoded<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Encoded<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(Some(bytes)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
