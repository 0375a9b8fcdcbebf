//! `associations` and `association_changes`: which address belongs to whom, and every change of it in its order.
//!
//! Invariant: whoever changes the one also appends to the other, in the same transaction.

use std::collections::HashMap;

use diesel::SelectableHelper;
use diesel::prelude::{
    AsChangeset, BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable,
    Selectable,
};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::{association_changes, associations};
use crate::domain::association::Association;
use crate::domain::lookup_hash::{LookupDigest, LookupDigests};
use crate::domain::mxid::UserId;
use crate::domain::threepid::ThreePid;

/// How many digests one statement asks for: SQLite binds at most 32,766 values.
const DIGESTS_A_STATEMENT: usize = 16_000;

queries! {
    /// The association of an address, whether it holds now or not.
    pub async fn find(conn, threepid: &ThreePid) -> Result<Option<Association>, StoreError> {
        let row: Option<Row> = associations::table
            .find((threepid.medium().as_str(), threepid.address().as_str()))
            .select(Row::as_select())
            .first(conn as &mut Conn)
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

    /// The users of those digests whose association holds at `now`.
    pub async fn list_by_digest(
        conn,
        digests: &[LookupDigest],
        now: Timestamp,
    ) -> Result<HashMap<LookupDigest, String>, StoreError> {
        let mut found = HashMap::new();
        for part in digests.chunks(DIGESTS_A_STATEMENT) {
            let part: Vec<&[u8]> = part.iter().map(|digest| digest.as_bytes().as_slice()).collect();
            let holds = associations::not_before
                .le(now.as_millis())
                .and(associations::not_after.ge(now.as_millis()));
            let canonical: Vec<(Vec<u8>, String)> = associations::table
                .filter(associations::digest.eq_any(&part).and(holds))
                .select((associations::digest, associations::mxid))
                .load(conn as &mut Conn)
                .await?;
            let lower: Vec<(Option<Vec<u8>>, String)> = associations::table
                .filter(associations::digest_lower.eq_any(&part).and(holds))
                .filter(associations::digest_lower.is_not_null())
                .select((associations::digest_lower, associations::mxid))
                .load(conn as &mut Conn)
                .await?;
            let rows = canonical.into_iter().map(|(digest, mxid)| (Some(digest), mxid)).chain(lower);
            for (digest, mxid) in rows {
                let digest: [u8; 32] = digest
                    .and_then(|digest| digest.try_into().ok())
                    .ok_or(StoreError::Corrupt("associations.digest"))?;
                found.insert(LookupDigest::from_bytes(digest), mxid);
            }
        }
        Ok(found)
    }

    /// Writes the association in place of the one that its address had, and notes the change.
    pub async fn save(conn, association: &Association, digests: &LookupDigests) -> Result<(), StoreError> {
        let row = Row::new(association, digests);
        diesel::insert_into(associations::table)
            .values(&row)
            .on_conflict((associations::medium, associations::address))
            .do_update()
            .set(&row)
            .execute(conn as &mut Conn)
            .await?;
        diesel::insert_into(association_changes::table)
            .values((
                association_changes::medium.eq(association.threepid.medium().as_str()),
                association_changes::address.eq(association.threepid.address().as_str()),
                association_changes::mxid.eq(association.mxid.as_str()),
                association_changes::ts.eq(association.ts.as_millis()),
                association_changes::not_before.eq(association.not_before.as_millis()),
                association_changes::not_after.eq(association.not_after.as_millis()),
            ))
            .execute(conn)
            .await?;
        Ok(())
    }

    /// Removes the association of `threepid` to `mxid` and notes the change; false if there is none, and nothing
    /// changes then.
    pub async fn delete(conn, threepid: &ThreePid, mxid: &UserId, now: Timestamp) -> Result<bool, StoreError> {
        let row = associations::table
            .find((threepid.medium().as_str(), threepid.address().as_str()))
            .filter(associations::mxid.eq(mxid.as_str()));
        if diesel::delete(row).execute(conn as &mut Conn).await? == 0 {
            return Ok(false);
        }
        diesel::insert_into(association_changes::table)
            .values((
                association_changes::medium.eq(threepid.medium().as_str()),
                association_changes::address.eq(threepid.address().as_str()),
                association_changes::ts.eq(now.as_millis()),
            ))
            .execute(conn)
            .await?;
        Ok(true)
    }

    /// How many associations there are.
    pub async fn count(conn) -> Result<i64, StoreError> {
        Ok(associations::table.count().get_result(conn as &mut Conn).await?)
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = associations, treat_none_as_null = true)]
struct Row {
    medium: String,
    address: String,
    typed_address: String,
    mxid: String,
    ts: i64,
    not_before: i64,
    not_after: i64,
    digest: Vec<u8>,
    digest_lower: Option<Vec<u8>>,
}

impl Row {
    fn new(association: &Association, digests: &LookupDigests) -> Self {
        Self {
            medium: association.threepid.medium().as_str().to_owned(),
            address: association.threepid.address().as_str().to_owned(),
            typed_address: association.threepid.typed().to_owned(),
            mxid: association.mxid.as_str().to_owned(),
            ts: association.ts.as_millis(),
            not_before: association.not_before.as_millis(),
            not_after: association.not_after.as_millis(),
            digest: digests.h1.as_bytes().to_vec(),
            digest_lower: digests.h2.map(|digest| digest.as_bytes().to_vec()),
        }
    }
}

impl TryFrom<Row> for Association {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let medium = row.medium.parse().map_err(|_| StoreError::Corrupt("associations.medium"))?;
        Ok(Self {
            threepid: ThreePid::from_row(medium, row.address, row.typed_address),
            mxid: UserId::parse(&row.mxid).map_err(|_| StoreError::Corrupt("associations.mxid"))?,
            ts: Timestamp::from_millis(row.ts),
            not_before: Timestamp::from_millis(row.not_before),
            not_after: Timestamp::from_millis(row.not_after),
        })
    }
}
