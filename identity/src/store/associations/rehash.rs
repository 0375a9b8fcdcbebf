//! Stores the digests of existing associations under another pepper, page by page.
//!
//! Invariant: changes are not announced: no process reads a slot before all its digests are stored.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel::sql_types::{Array, Binary, Nullable, Text};
use diesel::{QueryResult, sql_query};
use diesel_async::RunQueryDsl;

use super::found::{in_slot, is_after};
use crate::domain::lookup_hash::{LookupDigest, LookupDigests};
use crate::domain::pepper::Slot;
use crate::domain::threepid::ThreePid;
use crate::store::connection::{PostgresConn, SqliteConn, queries};
use crate::store::schema::associations;
use crate::store::{AddressKey, Connection, StoreError};

queries! {
    /// A page of the addresses after `after`, in their order.
    pub async fn list_addresses(conn, after: &AddressKey, limit: i64) -> Result<Vec<ThreePid>, StoreError> {
        let rows: Vec<(String, String, String)> = associations::table
            .filter(is_after!(after))
            .order((associations::medium, associations::address))
            .limit(limit)
            .select((associations::medium, associations::address, associations::typed_address))
            .load(conn as &mut Conn)
            .await?;
        rows.into_iter()
            .map(|(medium, address, typed)| {
                let medium = medium.parse().map_err(|_| StoreError::Corrupt("associations.medium"))?;
                Ok(ThreePid::from_row(medium, address, typed))
            })
            .collect()
    }
}

/// Stores the digests of these addresses in the slot.
///
/// # Errors
/// [`StoreError`].
pub async fn save_digests(
    conn: &mut Connection,
    slot: Slot,
    rows: &[(ThreePid, LookupDigests)],
) -> Result<(), StoreError> {
    match conn {
        Connection::Sqlite(conn) => save_each(conn, slot, rows).await?,
        Connection::Postgres(conn) => save_joined(conn, slot, rows).await?,
    }
    Ok(())
}

async fn save_each(conn: &mut SqliteConn, slot: Slot, rows: &[(ThreePid, LookupDigests)]) -> QueryResult<()> {
    for (threepid, digests) in rows {
        let row = associations::table.find((threepid.medium().as_str(), threepid.address().as_str()));
        in_slot!(slot, (digest, lower, ascii) => {
            let digests = (
                digest.eq(bytes(&digests.h1)),
                lower.eq(digests.h2.as_ref().map(bytes)),
                ascii.eq(digests.ascii.as_ref().map(bytes)),
            );
            diesel::update(row).set(digests).execute(conn).await?;
        });
    }
    Ok(())
}

/// [`save_each`] for PostgreSQL, in one round trip.
macro_rules! joined {
    ($digest:literal, $lower:literal, $ascii:literal) => {
        concat!(
            "update associations a set ",
            $digest,
            " = n.h1, ",
            $lower,
            " = n.h2, ",
            $ascii,
            " = n.ascii",
            " from unnest($1, $2, $3, $4, $5) as n (medium, address, h1, h2, ascii)",
            " where a.medium = n.medium and a.address = n.address",
        )
    };
}

async fn save_joined(conn: &mut PostgresConn, slot: Slot, rows: &[(ThreePid, LookupDigests)]) -> QueryResult<()> {
    let statement = match slot {
        Slot::First => joined!("digest", "digest_lower", "digest_ascii"),
        Slot::Second => joined!("digest_2", "digest_lower_2", "digest_ascii_2"),
    };
    let media: Vec<&str> = rows.iter().map(|(threepid, _)| threepid.medium().as_str()).collect();
    let addresses: Vec<&str> = rows.iter().map(|(threepid, _)| threepid.address().as_str()).collect();
    let h1: Vec<&[u8]> = rows.iter().map(|(_, digests)| bytes(&digests.h1)).collect();
    let h2: Vec<Option<&[u8]>> = rows.iter().map(|(_, digests)| digests.h2.as_ref().map(bytes)).collect();
    let ascii: Vec<Option<&[u8]>> = rows.iter().map(|(_, digests)| digests.ascii.as_ref().map(bytes)).collect();
    sql_query(statement)
        .bind::<Array<Text>, _>(media)
        .bind::<Array<Text>, _>(addresses)
        .bind::<Array<Binary>, _>(h1)
        .bind::<Array<Nullable<Binary>>, _>(h2)
        .bind::<Array<Nullable<Binary>>, _>(ascii)
        .execute(conn)
        .await?;
    Ok(())
}

fn bytes(digest: &LookupDigest) -> &[u8] {
    digest.as_bytes()
}
