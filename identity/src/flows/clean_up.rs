//! Deletes expired rows once an hour.
//!
//! Invariant: no response depends on a deleted row. A session is kept for a day after its expiry, so that its client
//! receives "expired" instead of "unknown".

use std::sync::Arc;
use std::time::Duration;

use shared::clock::Timestamp;

use crate::error::Error;
use crate::limits::{lookup_quota, sms_day};
use crate::state::{CurrentState, State};
use crate::store::onbinds::listing;
use crate::store::{
    BATCH, Store, StoreError, accounts, changes, ephemeral_keys, invites, rate_limits, sessions, tokens,
};

const INTERVAL: Duration = Duration::from_secs(3600);
/// Between two batches.
const PAUSE: Duration = Duration::from_millis(50);
const KEEP_EXPIRED: Duration = Duration::from_secs(24 * 3600);
/// How long an account without a token, accepted terms or an association stays.
const KEEP_UNUSED: Duration = Duration::from_secs(24 * 3600);

/// Cleans up until the process ends.
pub async fn run(current: Arc<CurrentState>) {
    let mut interval = tokio::time::interval(INTERVAL);
    loop {
        interval.tick().await;
        if let Err(error) = clean_up(&current.load()).await {
            tracing::error!(%error, "clean-up failed; the next one is in an hour");
        }
    }
}

async fn clean_up(state: &State) -> Result<(), Error> {
    let now = state.clock.now();
    let old_session = now.minus(state.config.sessions.lifetime.get() + KEEP_EXPIRED);
    let unused_account = now.minus(KEEP_UNUSED);
    let idle_token = now.minus(state.config.auth.token_idle.get());
    let old_invite = now.minus(KEEP_EXPIRED);
    // Zero keeps them.
    let before = |keep: Duration| (!keep.is_zero()).then(|| now.minus(keep));
    let store = &state.store;
    let sessions = delete(store, Rows::Sessions(old_session)).await?;
    let tokens = delete(store, Rows::Tokens(idle_token)).await?;
    // After the tokens: an account is kept for one of them.
    delete(store, Rows::Accounts(unused_account)).await?;
    let mut invites = delete(store, Rows::Invites(old_invite)).await?;
    // Before the abandoned invites: those of a dead letter wait from then on.
    if let Some(old_dead) = before(state.config.outbox.keep_dead.get()) {
        delete(store, Rows::DeadLetters(old_dead)).await?;
    }
    if let Some(abandoned) = before(state.config.invites.keep_waiting.get()) {
        invites += delete(store, Rows::AbandonedInvites(abandoned)).await?;
    }
    // An expired key and an unknown one get the same response.
    delete(store, Rows::EphemeralKeys(old_invite)).await?;
    delete(store, Rows::RateLimits(now)).await?;
    delete(store, Rows::Changes(now.minus(state.config.lookup.feed_keep.get()))).await?;
    delete(store, Rows::LookupQuota(now)).await?;
    store.write(async move |conn| sms_day::delete_past(conn, now).await).await?;
    tracing::debug!(sessions, tokens, invites, "expired rows deleted");
    Ok(())
}

/// Rows that expired before a time.
#[derive(Clone, Copy)]
enum Rows {
    Sessions(Timestamp),
    Tokens(Timestamp),
    Invites(Timestamp),
    Accounts(Timestamp),
    DeadLetters(Timestamp),
    AbandonedInvites(Timestamp),
    EphemeralKeys(Timestamp),
    RateLimits(Timestamp),
    Changes(Timestamp),
    /// Rows of the days before yesterday.
    LookupQuota(Timestamp),
}

/// Deletes batch after batch, each in its own transaction, so that requests write in between; returns the number of rows.
async fn delete(store: &Store, rows: Rows) -> Result<usize, StoreError> {
    let mut deleted = 0;
    loop {
        let batch = delete_batch(store, rows).await?;
        deleted += batch;
        if i64::try_from(batch).unwrap_or(i64::MAX) < BATCH {
            return Ok(deleted);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn delete_batch(store: &Store, rows: Rows) -> Result<usize, StoreError> {
    match rows {
        // No index finds these: the search runs before the transaction, where it blocks no writer.
        Rows::Accounts(before) => {
            let unused = store.read(async move |conn| accounts::list_unused(conn, before).await).await?;
            if unused.is_empty() {
                return Ok(0);
            }
            store.write(async move |conn| accounts::delete_unused(conn, &unused).await).await
        }
        Rows::AbandonedInvites(before) => {
            let abandoned = store.read(async move |conn| invites::list_abandoned(conn, before).await).await?;
            if abandoned.is_empty() {
                return Ok(0);
            }
            store.write(async move |conn| invites::delete_abandoned(conn, &abandoned).await).await
        }
        Rows::Sessions(before) => store.write(async move |conn| sessions::delete_older(conn, before).await).await,
        Rows::Tokens(before) => store.write(async move |conn| tokens::delete_idle(conn, before).await).await,
        Rows::Invites(before) => store.write(async move |conn| invites::delete_expired(conn, before).await).await,
        Rows::DeadLetters(before) => store.write(async move |conn| listing::delete_dead(conn, before).await).await,
        Rows::EphemeralKeys(before) => {
            store.write(async move |conn| ephemeral_keys::delete_expired(conn, before).await).await
        }
        Rows::RateLimits(before) => store.write(async move |conn| rate_limits::delete_full(conn, before).await).await,
        Rows::LookupQuota(now) => store.write(async move |conn| lookup_quota::delete_past(conn, now).await).await,
        Rows::Changes(before) => store.write(async move |conn| changes::delete_old(conn, before).await).await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::{Rows, delete, delete_batch};
    use crate::store::testing::{START, execute, stores};
    use crate::store::{BATCH, rate_limits};

    #[tokio::test(flavor = "multi_thread")]
    async fn more_rows_than_a_batch_are_all_deleted_and_others_stay() {
        for store in stores().await {
            let later = START.plus(Duration::from_secs(1));
            let filled = store.write(async move |conn| {
                for number in 0..2_500_u16 {
                    let mut subject = [0; 32];
                    subject[..2].copy_from_slice(&number.to_be_bytes());
                    rate_limits::save(conn, &subject, START).await?;
                }
                rate_limits::save(conn, &[255; 32], later).await
            });
            filled.await.unwrap();
            assert_eq!(delete(&store, Rows::RateLimits(START)).await.unwrap(), 2_500);
            let kept = store.read(async |conn| rate_limits::find(conn, &[255; 32]).await).await.unwrap();
            assert_eq!(kept, Some(later));
        }
    }

    /// Statements that insert 2500 old rows each.
    const INSERTS: [&str; 3] = [
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 2500)
            insert into accounts (mxid, created_at) select '@u' || n || ':hs', 1 from n",
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 2500)
            insert into invites (id, medium, address, room_id, sender, token, created_at)
            select 'i' || n, 'email', 'a@x.org', '!r:hs', '@a:hs', 't' || n, 1 from n",
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 2500)
            insert into onbinds (id, medium, address, mxid, server, ts, not_before, not_after, created_at, attempts,
                next_attempt_at, dead_at)
            select 'o' || n, 'email', 'a@x.org', '@a:hs', 'hs', 1, 1, 1, 1, 0, 1, 1 from n",
    ];

    #[tokio::test(flavor = "multi_thread")]
    async fn no_transaction_deletes_more_than_a_batch() {
        let rows = [Rows::Accounts, Rows::AbandonedInvites, Rows::DeadLetters] as [fn(Timestamp) -> Rows; 3];
        for (rows, insert) in rows.into_iter().zip(INSERTS) {
            for store in stores().await {
                execute(&store, insert).await;
                assert_eq!(i64::try_from(delete_batch(&store, rows(START)).await.unwrap()), Ok(BATCH), "{insert}");
                assert_eq!(delete(&store, rows(START)).await.unwrap(), 1_500, "{insert}");
            }
        }
    }
}
