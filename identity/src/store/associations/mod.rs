//! `associations`: the user of each bound address.
//!
//! Invariant: an address has at most one association, with digests under every pepper; a delete keeps its digests in
//! `changes` for a while, and nothing else. A function that changes a row appends its digests to `changes`, so that every
//! process reads them again.

pub mod found;
pub mod rehash;

use diesel::SelectableHelper;
use diesel::dsl::sql;
use diesel::prelude::{
    AsChangeset, BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable,
    Selectable, TextExpressionMethods,
};
use diesel::sql_types::Bool;
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::associations;
use super::{Connection, StoreError, changes, peppers};
use crate::domain::association::Association;
use crate::domain::lookup_hash::{LookupDigest, LookupDigests};
use crate::domain::mxid::UserId;
use crate::domain::pepper::{SlotDigests, all_digests};
use crate::domain::threepid::{Medium, ThreePid};

queries! {
    /// The association of an address, valid at present or not.
    pub async fn find(conn, threepid: &ThreePid) -> Result<Option<Association>, StoreError> {
        let row: Option<Row> = associations::table
            .find((threepid.medium().as_str(), threepid.address().as_str()))
            .select(Row::as_select())
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        row.map(Association::try_from).transpose()
    }

    /// The association under exactly this `address`.
    pub async fn find_form(conn, medium: Medium, address: &str) -> Result<Option<Association>, StoreError> {
        let row: Option<Row> = associations::table
            .find((medium.as_str(), address))
            .select(Row::as_select())
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        row.map(Association::try_from).transpose()
    }

    /// The associations of a user, oldest first.
    pub async fn list(conn, mxid: &UserId) -> Result<Vec<Association>, StoreError> {
        let rows: Vec<Row> = associations::table
            .filter(associations::mxid.eq(mxid.as_str()))
            .order((associations::ts, associations::address))
            .select(Row::as_select())
            .load(conn as &mut Conn)
            .await?;
        rows.into_iter().map(Association::try_from).collect()
    }

    async fn upsert(conn, association: &Association, digests: &SlotDigests) -> Result<(), StoreError> {
        let (row, digests) = (Row::from(association), DigestColumns::from(digests));
        diesel::insert_into(associations::table)
            .values((&row, &digests))
            .on_conflict((associations::medium, associations::address))
            .do_update()
            .set((&row, &digests))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    async fn find_digests(conn, medium: Medium, address: &str) -> Result<Option<SlotDigests>, StoreError> {
        let row: Option<DigestColumns> = associations::table
            .find((medium.as_str(), address))
            .select(DigestColumns::as_select())
            .get_result(conn as &mut Conn)
            .await
            .optional()?;
        row.map(SlotDigests::try_from).transpose()
    }

    async fn delete_row(conn, medium: Medium, address: &str) -> Result<(), StoreError> {
        diesel::delete(associations::table.find((medium.as_str(), address))).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// The e-mail associations that an earlier version stored in another form: with A-labels, or without the hash of the
    /// A-labels, and Mexican numbers with their old digit.
    pub async fn list_old_forms(conn) -> Result<Vec<(String, Association)>, StoreError> {
        let with_a_labels = associations::medium.eq("email").and(associations::address.like("%xn--%"));
        let without_digest = associations::medium
            .eq("email")
            // Every version that knows the second slot stores all digests.
            .and(associations::digest.is_not_null())
            .and(associations::digest_ascii.is_null())
            .and(sql::<Bool>("octet_length(address) <> length(address)"));
        let with_old_digit = associations::medium.eq("msisdn").and(associations::address.like("521__________"));
        let rows: Vec<Row> = associations::table
            .filter(with_a_labels.or(without_digest).or(with_old_digit))
            .select(Row::as_select())
            .load(conn as &mut Conn)
            .await?;
        rows.into_iter().map(|row| Ok((row.address.clone(), Association::try_from(row)?))).collect()
    }

    /// The number of associations.
    pub async fn count(conn) -> Result<i64, StoreError> {
        Ok(associations::table.count().get_result(conn as &mut Conn).await?)
    }
}

/// Inserts the association, or replaces the previous one of its address; returns the digests whose associations have
/// changed.
///
/// # Errors
/// [`StoreError`].
pub async fn save(
    conn: &mut Connection,
    association: &Association,
    now: Timestamp,
) -> Result<Vec<LookupDigest>, StoreError> {
    let digests = peppers::list(conn).await?.digests(&association.threepid);
    save_with(conn, association, &digests, now).await
}

async fn save_with(
    conn: &mut Connection,
    association: &Association,
    digests: &SlotDigests,
    now: Timestamp,
) -> Result<Vec<LookupDigest>, StoreError> {
    let (medium, address) = (association.threepid.medium(), association.threepid.address().as_str());
    let mut changed: Vec<LookupDigest> = all_digests(digests).collect();
    // Another spelling of the address may have had other digests.
    if let Some(previous) = find_digests(conn, medium, address).await? {
        let former: Vec<_> = all_digests(&previous).filter(|digest| !changed.contains(digest)).collect();
        changed.extend(former);
    }
    upsert(conn, association, digests).await?;
    announce(conn, &changed, now).await?;
    Ok(changed)
}

/// Deletes the association of `threepid` to `mxid`; returns its digests, none if there is no such association.
///
/// # Errors
/// [`StoreError`].
pub async fn delete(
    conn: &mut Connection,
    threepid: &ThreePid,
    mxid: &UserId,
    now: Timestamp,
) -> Result<Vec<LookupDigest>, StoreError> {
    if find(conn, threepid).await?.is_none_or(|found| found.mxid != *mxid) {
        return Ok(Vec::new());
    }
    delete_form(conn, threepid.medium(), threepid.address().as_str(), now).await
}

/// Deletes the association under exactly this `address`; returns its digests.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_form(
    conn: &mut Connection,
    medium: Medium,
    address: &str,
    now: Timestamp,
) -> Result<Vec<LookupDigest>, StoreError> {
    let Some(digests) = find_digests(conn, medium, address).await? else { return Ok(Vec::new()) };
    delete_row(conn, medium, address).await?;
    let digests: Vec<LookupDigest> = all_digests(&digests).collect();
    announce(conn, &digests, now).await?;
    Ok(digests)
}

/// Announces to every process that associations of these digests have changed.
async fn announce(conn: &mut Connection, digests: &[LookupDigest], now: Timestamp) -> Result<(), StoreError> {
    let digests: Vec<[u8; 32]> = digests.iter().map(|digest| *digest.as_bytes()).collect();
    changes::append(conn, changes::Kind::Associations, &digests, now).await
}

/// The digests in one slot.
type DigestsRow = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

fn parse_digest(digest: Vec<u8>) -> Result<LookupDigest, StoreError> {
    let digest = digest.try_into().map_err(|_| StoreError::Corrupt("associations.digest"))?;
    Ok(LookupDigest::from_bytes(digest))
}

fn parse_digests((h1, h2, ascii): DigestsRow) -> Result<Option<LookupDigests>, StoreError> {
    let Some(h1) = h1 else { return Ok(None) };
    Ok(Some(LookupDigests {
        h1: parse_digest(h1)?,
        h2: h2.map(parse_digest).transpose()?,
        ascii: ascii.map(parse_digest).transpose()?,
    }))
}

/// The digests in both slots.
#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = associations, treat_none_as_null = true)]
struct DigestColumns {
    digest: Option<Vec<u8>>,
    digest_lower: Option<Vec<u8>>,
    digest_ascii: Option<Vec<u8>>,
    digest_2: Option<Vec<u8>>,
    digest_lower_2: Option<Vec<u8>>,
    digest_ascii_2: Option<Vec<u8>>,
}

impl From<&SlotDigests> for DigestColumns {
    fn from([first, second]: &SlotDigests) -> Self {
        let bytes = |digest: LookupDigest| digest.as_bytes().to_vec();
        Self {
            digest: first.map(|digests| bytes(digests.h1)),
            digest_lower: first.and_then(|digests| digests.h2).map(bytes),
            digest_ascii: first.and_then(|digests| digests.ascii).map(bytes),
            digest_2: second.map(|digests| bytes(digests.h1)),
            digest_lower_2: second.and_then(|digests| digests.h2).map(bytes),
            digest_ascii_2: second.and_then(|digests| digests.ascii).map(bytes),
        }
    }
}

impl TryFrom<DigestColumns> for SlotDigests {
    type Error = StoreError;

    fn try_from(row: DigestColumns) -> Result<Self, StoreError> {
        Ok([
            parse_digests((row.digest, row.digest_lower, row.digest_ascii))?,
            parse_digests((row.digest_2, row.digest_lower_2, row.digest_ascii_2))?,
        ])
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = associations)]
struct Row {
    medium: String,
    address: String,
    typed_address: String,
    mxid: String,
    ts: i64,
    not_before: i64,
    not_after: i64,
}

impl From<&Association> for Row {
    fn from(association: &Association) -> Self {
        Self {
            medium: association.threepid.medium().as_str().to_owned(),
            address: association.threepid.address().as_str().to_owned(),
            typed_address: association.threepid.typed().to_owned(),
            mxid: association.mxid.as_str().to_owned(),
            ts: association.ts.as_millis(),
            not_before: association.not_before.as_millis(),
            not_after: association.not_after.as_millis(),
        }
    }
}

impl TryFrom<Row> for Association {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let medium = row.medium.parse().map_err(|_| StoreError::Corrupt("associations.medium"))?;
        Ok(Self {
            threepid: ThreePid::from_row(medium, row.address, row.typed_address),
            mxid: UserId::from_row(&row.mxid).map_err(|_| StoreError::Corrupt("associations.mxid"))?,
            ts: Timestamp::from_millis(row.ts),
            not_before: Timestamp::from_millis(row.not_before),
            not_after: Timestamp::from_millis(row.not_after),
        })
    }
}

#[cfg(test)]
mod tests;
