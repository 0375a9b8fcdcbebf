//! What lookup digests find: the associations of digests, and page by page those of all.
//!
//! Invariant: validity is the caller's to judge, so that memory and database judge it by one rule.

use std::collections::HashMap;

use diesel::prelude::{CombineDsl, ExpressionMethods, IntoSql, QueryDsl, Queryable, QueryableByName};
use diesel::sql_types::{Array, BigInt, Binary, Bool, Nullable, Text};
use diesel::{QueryResult, sql_query};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::{DigestsRow, parse_digest, parse_digests};
use crate::domain::association::Validity;
use crate::domain::lookup_hash::{Form, LookupDigest, LookupDigests};
use crate::domain::pepper::Slot;
use crate::store::connection::{PostgresConn, SqliteConn, queries};
use crate::store::schema::associations;
use crate::store::{AddressKey, Connection, StoreError};

/// Digests in one statement, which binds each of them three times: SQLite binds at most 32,766 values.
const DIGESTS_A_STATEMENT: usize = 10_000;

/// What a digest finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub digest: LookupDigest,
    pub form: Form,
    pub mxid: String,
    pub validity: Validity,
}

/// Compiles the query for the columns of each slot.
macro_rules! in_slot {
    ($slot:expr, ($digest:ident, $lower:ident, $ascii:ident) => $query:expr) => {
        match $slot {
            Slot::First => {
                let ($digest, $lower, $ascii) =
                    (associations::digest, associations::digest_lower, associations::digest_ascii);
                $query
            }
            Slot::Second => {
                let ($digest, $lower, $ascii) =
                    (associations::digest_2, associations::digest_lower_2, associations::digest_ascii_2);
                $query
            }
        }
    };
}
pub(super) use in_slot;

/// Whether a row follows that of the key in the order of medium and address. As a comparison of rows, which both databases
/// search for in the primary key: one by one, the columns would bound the search by the medium alone.
macro_rules! is_after {
    ($key:expr) => {
        diesel::dsl::sql::<diesel::sql_types::Bool>("(medium, address) > (")
            .bind::<diesel::sql_types::Text, _>(&$key.0)
            .sql(", ")
            .bind::<diesel::sql_types::Text, _>(&$key.1)
            .sql(")")
    };
}
pub(super) use is_after;

queries! {
    /// A page of all associations in the order of their addresses, after `after`: the last one of the page, and what
    /// each digest of the page finds in the slot.
    pub async fn list_page(
        conn,
        slot: Slot,
        after: &AddressKey,
        limit: i64,
    ) -> Result<(Option<AddressKey>, Vec<Found>), StoreError> {
        let rows: Vec<PageRow> = in_slot!(slot, (digest, lower, ascii) => {
            associations::table
                .filter(is_after!(after))
                .order((associations::medium, associations::address))
                .limit(limit)
                .select((
                    (associations::medium, associations::address),
                    (digest, lower, ascii),
                    (associations::mxid, associations::ts, associations::not_before, associations::not_after),
                ))
                .load(conn as &mut Conn)
                .await?
        });
        let mut found = Vec::with_capacity(rows.len());
        let mut last = None;
        for (key, digests, (mxid, ts, not_before, not_after)) in rows {
            for (digest, form) in parse_digests(digests)?.iter().flat_map(LookupDigests::iter) {
                found.push(Found { digest, form, mxid: mxid.clone(), validity: validity(ts, not_before, not_after) });
            }
            last = Some(key);
        }
        Ok((last, found))
    }
}

/// Every association of one of the digests in the slot, valid at present or not.
///
/// # Errors
/// [`StoreError`].
pub async fn list_by_digest(
    conn: &mut Connection,
    slot: Slot,
    digests: &[LookupDigest],
) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    for part in digests.chunks(DIGESTS_A_STATEMENT) {
        let part: Vec<&[u8]> = part.iter().map(|digest| digest.as_bytes().as_slice()).collect();
        let rows = match conn {
            Connection::Sqlite(conn) => list_in(conn, slot, &part).await?,
            Connection::Postgres(conn) => list_joined(conn, slot, &part).await?,
        };
        for row in rows {
            found.push(Found {
                digest: parse_digest(row.digest.ok_or(StoreError::Corrupt("associations.digest"))?)?,
                form: if row.is_canonical { Form::Canonical } else { Form::Alternative },
                mxid: row.mxid,
                validity: validity(row.ts, row.not_before, row.not_after),
            });
        }
    }
    Ok(found)
}

async fn list_in(conn: &mut SqliteConn, slot: Slot, part: &[&[u8]]) -> QueryResult<Vec<FoundRow>> {
    in_slot!(slot, (digest, lower, ascii) => {
        let canonical = associations::table.filter(digest.eq_any(part)).filter(digest.is_not_null()).select((
            digest,
            true.into_sql::<Bool>(),
            associations::mxid,
            associations::ts,
            associations::not_before,
            associations::not_after,
        ));
        let lower = associations::table.filter(lower.eq_any(part)).filter(lower.is_not_null()).select((
            lower,
            false.into_sql::<Bool>(),
            associations::mxid,
            associations::ts,
            associations::not_before,
            associations::not_after,
        ));
        let ascii = associations::table.filter(ascii.eq_any(part)).filter(ascii.is_not_null()).select((
            ascii,
            false.into_sql::<Bool>(),
            associations::mxid,
            associations::ts,
            associations::not_before,
            associations::not_after,
        ));
        canonical.union_all(lower).union_all(ascii).load(conn).await
    })
}

/// [`list_in`] for PostgreSQL, which reads the whole table for `= ANY` with many values. The sub-select hides their number
/// from the planner, which would read the whole table for a join with a thousand too.
macro_rules! joined {
    ($digest:literal, $lower:literal, $ascii:literal) => {
        concat!(
            "with wanted (digest) as materialized (select distinct unnest((select $1)))",
            joined!(@part $digest, "true"),
            " union all",
            joined!(@part $lower, "false"),
            " union all",
            joined!(@part $ascii, "false"),
        )
    };
    (@part $column:literal, $is_canonical:literal) => {
        concat!(
            " select a.", $column, " as digest, ", $is_canonical, " as is_canonical,",
            " a.mxid, a.ts, a.not_before, a.not_after",
            " from wanted join associations a on a.", $column, " = wanted.digest where a.", $column, " is not null",
        )
    };
}

async fn list_joined(conn: &mut PostgresConn, slot: Slot, part: &[&[u8]]) -> QueryResult<Vec<FoundRow>> {
    let statement = match slot {
        Slot::First => joined!("digest", "digest_lower", "digest_ascii"),
        Slot::Second => joined!("digest_2", "digest_lower_2", "digest_ascii_2"),
    };
    sql_query(statement).bind::<Array<Binary>, _>(part).load(conn).await
}

#[derive(Queryable, QueryableByName)]
struct FoundRow {
    #[diesel(sql_type = Nullable<Binary>)]
    digest: Option<Vec<u8>>,
    #[diesel(sql_type = Bool)]
    is_canonical: bool,
    #[diesel(sql_type = Text)]
    mxid: String,
    #[diesel(sql_type = BigInt)]
    ts: i64,
    #[diesel(sql_type = BigInt)]
    not_before: i64,
    #[diesel(sql_type = BigInt)]
    not_after: i64,
}

/// Whom each digest finds at `now`: the canonical form of an address has precedence over another one.
pub fn users_at(rows: &[Found], now: Timestamp) -> HashMap<LookupDigest, &Found> {
    let mut users: HashMap<LookupDigest, &Found> = HashMap::new();
    for row in rows.iter().filter(|row| row.validity.covers(now)) {
        let best = users.entry(row.digest).or_insert(row);
        if row.form < best.form {
            *best = row;
        }
    }
    users
}

/// The columns `mxid, ts, not_before, not_after`.
type Period = (String, i64, i64, i64);
type PageRow = (AddressKey, DigestsRow, Period);

fn validity(ts: i64, not_before: i64, not_after: i64) -> Validity {
    let [ts, not_before, not_after] = [ts, not_before, not_after].map(Timestamp::from_millis);
    Validity::new(ts, not_before, not_after)
}
