//! A diesel query as SQL text and encoded values.
//!
//! Invariant: every value has a built-in type, so that no statement needs a look-up of types first.

use std::error::Error;

use diesel::QueryResult;
use diesel::pg::{Pg, PgMetadataLookup, PgQueryBuilder, PgTypeMetadata};
use diesel::query_builder::bind_collector::RawBytesBindCollector;
use diesel::query_builder::{QueryBuilder, QueryFragment};
use diesel::result::Error as DieselError;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) values: Vec<(Value, Type)>,
    /// Whether the text does not depend on the number of values.
    pub(super) is_reusable: bool,
}

impl Statement {
    /// # Errors
    /// [`DieselError::SerializationError`] for a value of a type that is not built in.
    pub(super) fn new(query: &impl QueryFragment<Pg>) -> QueryResult<Self> {
        let mut builder = PgQueryBuilder::default();
        query.to_sql(&mut builder, &Pg)?;
        let mut values = RawBytesBindCollector::<Pg>::new();
        query.collect_binds(&mut values, &mut NoTypes, &Pg)?;
        let typed = values.metadata.iter().zip(values.binds).map(|(metadata, value)| {
            let built_in = metadata.oid().ok().and_then(Type::from_oid);
            let built_in =
                built_in.ok_or_else(|| DieselError::SerializationError("a type that is not built in".into()));
            Ok((Value(value), built_in?))
        });
        let values = typed.collect::<QueryResult<_>>()?;
        Ok(Self { sql: builder.finish(), values, is_reusable: query.is_safe_to_cache_prepared(&Pg)? })
    }
}

/// A value that diesel has encoded; `None` is null.
#[derive(Debug)]
pub(super) struct Value(Option<Vec<u8>>);

impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Send + Sync>> {
        let Some(bytes) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Knows no type besides the built-in ones.
struct NoTypes;

impl PgMetadataLookup for NoTypes {
    fn lookup_type(&mut self, _: &str, _: Option<&str>) -> PgTypeMetadata {
        PgTypeMetadata::new(0, 0)
    }
}
