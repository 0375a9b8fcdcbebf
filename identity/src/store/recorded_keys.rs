//! `recorded_keys`: the public halves of the keys that have signed for this database.
//!
//! Invariant: an id keeps its public key, and at most one key is current.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::{
    accounts, associations, ephemeral_keys, invites, onbinds, outgoing_mails, recorded_keys, sessions,
};
use crate::domain::recorded_key::RecordedKey;

queries! {
    /// All recorded keys.
    pub async fn list(conn) -> Result<Vec<RecordedKey>, StoreError> {
        let rows: Vec<(String, Vec<u8>, i32)> = recorded_keys::table
            .select((recorded_keys::id, recorded_keys::public_key, recorded_keys::is_current))
            .order_by(recorded_keys::id)
            .load(conn as &mut Conn)
            .await?;
        Ok(rows.into_iter().map(|(id, public, current)| RecordedKey { id, public, is_current: current != 0 }).collect())
    }

    /// Replaces all recorded keys.
    pub async fn replace(conn, keys: Vec<RecordedKey>, now: Timestamp) -> Result<(), StoreError> {
        diesel::delete(recorded_keys::table).execute(conn as &mut Conn).await?;
        for key in keys {
            diesel::insert_into(recorded_keys::table)
                .values((
                    recorded_keys::id.eq(key.id),
                    recorded_keys::public_key.eq(key.public),
                    recorded_keys::is_current.eq(i32::from(key.is_current)),
                    recorded_keys::recorded_at.eq(now.as_millis()),
                ))
                .execute(conn)
                .await?;
        }
        Ok(())
    }

    /// Whether the database has data of users, some of which may be signed or sealed.
    pub async fn has_data(conn) -> Result<bool, StoreError> {
        Ok(accounts::table.select(accounts::created_at).limit(1).load::<i64>(conn as &mut Conn).await?.len()
            + associations::table.select(associations::ts).limit(1).load::<i64>(conn).await?.len()
            + sessions::table.select(sessions::created_at).limit(1).load::<i64>(conn).await?.len()
            + invites::table.select(invites::created_at).limit(1).load::<i64>(conn).await?.len()
            + ephemeral_keys::table.select(ephemeral_keys::created_at).limit(1).load::<i64>(conn).await?.len()
            + onbinds::table.select(onbinds::created_at).limit(1).load::<i64>(conn).await?.len()
            + outgoing_mails::table.select(outgoing_mails::expires_at).limit(1).load::<i64>(conn).await?.len()
            > 0)
    }
}

#[cfg(test)]
mod tests {
    use crate::domain::recorded_key::RecordedKey;
    use crate::store::recorded_keys;
    use crate::store::testing::{START, stores};

    #[tokio::test(flavor = "multi_thread")]
    async fn recorded_keys_are_replaced_as_a_whole() {
        for store in stores().await {
            let key = |id: &str, is_current| RecordedKey { id: id.to_owned(), public: vec![1; 32], is_current };
            for keys in [vec![key("ed25519:0", true)], vec![key("ed25519:0", false), key("ed25519:1", true)]] {
                let written = keys.clone();
                let write = store.write(async move |conn| recorded_keys::replace(conn, written.clone(), START).await);
                write.await.unwrap();
                assert_eq!(store.read(async |conn| recorded_keys::list(conn).await).await.unwrap(), keys);
            }
            assert!(!store.read(async |conn| recorded_keys::has_data(conn).await).await.unwrap());
        }
    }
}
