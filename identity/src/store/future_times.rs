//! Times that lie in the future, across all tables: the clock was ahead when they were stored.
//!
//! Invariant: afterwards no stored time hides, blocks or delays a row for longer than the row's own rule says.

use diesel::prelude::{ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::{associations, invites, onbinds, outgoing_mails, sessions, sms_days, tokens};
use crate::domain::utc_day::UtcDay;

/// The latest plausible times at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    pub now: Timestamp,
    /// For events of the past; later than `now`, because the clocks of replicas differ.
    pub event: Timestamp,
    /// For the end of a lease.
    pub lease: Timestamp,
    /// For the next attempt of a queued row.
    pub retry: Timestamp,
}

queries! {
    /// Moves later times to `now` and ends later leases; returns the number of corrected values.
    pub async fn correct(conn, horizon: Horizon) -> Result<usize, StoreError> {
        let now = horizon.now.as_millis();
        let (event, lease, retry) =
            (horizon.event.as_millis(), horizon.lease.as_millis(), horizon.retry.as_millis());
        let day = UtcDay::of(horizon.event).number();
        let mut corrected = 0;
        corrected += diesel::update(sessions::table.filter(sessions::created_at.gt(event)))
            .set(sessions::created_at.eq(now))
            .execute(conn as &mut Conn)
            .await?;
        corrected += diesel::update(sessions::table.filter(sessions::validated_at.gt(event)))
            .set(sessions::validated_at.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(sessions::table.filter(sessions::sending_until.gt(lease)))
            .set((sessions::sending_until.eq(None::<i64>), sessions::sending_attempt.eq(None::<i64>)))
            .execute(conn)
            .await?;
        corrected += diesel::update(tokens::table.filter(tokens::created_at.gt(event)))
            .set(tokens::created_at.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(tokens::table.filter(tokens::used_at.gt(event)))
            .set(tokens::used_at.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(associations::table.filter(associations::not_before.gt(event)))
            .set((associations::ts.eq(now), associations::not_before.eq(now)))
            .execute(conn)
            .await?;
        corrected += diesel::update(outgoing_mails::table.filter(outgoing_mails::next_attempt_at.gt(retry)))
            .set(outgoing_mails::next_attempt_at.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(outgoing_mails::table.filter(outgoing_mails::leased_until.gt(lease)))
            .set(outgoing_mails::leased_until.eq(None::<i64>))
            .execute(conn)
            .await?;
        corrected += diesel::update(onbinds::table.filter(onbinds::next_attempt_at.gt(retry)))
            .set(onbinds::next_attempt_at.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(onbinds::table.filter(onbinds::leased_until.gt(lease)))
            .set(onbinds::leased_until.eq(None::<i64>))
            .execute(conn)
            .await?;
        corrected += diesel::update(onbinds::table.filter(onbinds::created_at.gt(event)))
            .set(onbinds::created_at.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(onbinds::table.filter(onbinds::not_before.gt(event)))
            .set((onbinds::ts.eq(now), onbinds::not_before.eq(now)))
            .execute(conn)
            .await?;
        corrected += diesel::update(invites::table.filter(invites::sending_until.gt(lease)))
            .set(invites::sending_until.eq(None::<i64>))
            .execute(conn)
            .await?;
        // SMS of a day that has not come would count on it.
        corrected += diesel::delete(sms_days::table.filter(sms_days::day.gt(day))).execute(conn).await?;
        Ok(corrected)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::{Horizon, correct};
    use crate::store::outgoing_mails::QueuedMail;
    use crate::store::testing::{START, stores};
    use crate::store::{QueueHead, outgoing_mails};

    fn horizon(now: Timestamp) -> Horizon {
        let after = |seconds| now.plus(Duration::from_secs(seconds));
        Horizon { now, event: after(60), lease: after(600), retry: after(7200) }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mail_queued_and_leased_by_a_clock_that_was_ahead_is_due_at_once() {
        for store in stores().await {
            let day = Duration::from_secs(86_400);
            let ahead = START.plus(2 * day);
            let mail = QueuedMail {
                id: "m".to_owned(),
                sealed_mail: vec![1],
                attempts: 1,
                next_attempt_at: ahead.as_millis(),
                expires_at: ahead.plus(day).as_millis(),
            };
            store.write(async move |conn| outgoing_mails::insert(conn, &mail).await).await.unwrap();
            let take = async |now: Timestamp| {
                let until = now.plus(Duration::from_secs(60));
                store.write(async move |conn| outgoing_mails::take_due(conn, now, until).await).await.unwrap()
            };
            assert!(matches!(take(ahead).await, QueueHead::Due(_)));
            assert!(matches!(take(START).await, QueueHead::Empty));
            let corrected = store.write(async |conn| correct(conn, horizon(START)).await).await.unwrap();
            assert_eq!(corrected, 2);
            assert!(matches!(take(START).await, QueueHead::Due(_)));
            let again = store.write(async |conn| correct(conn, horizon(START)).await).await.unwrap();
            assert_eq!(again, 0, "a plausible time stays");
        }
    }
}
