//! Times that lie in the future, across all tables: the clock was ahead when they were stored.
//!
//! Invariant: afterwards no stored time hides, blocks or delays a row for longer than the row's own rule says.

use std::time::Duration;

use diesel::prelude::{BoolExpressionMethods, ExpressionMethods, QueryDsl};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::{
    associations, invites, lookup_days, lookup_fingerprints, lookup_leases, onbind_backoffs, onbinds, outgoing_mails,
    peppers, sessions, sms_days, tokens,
};
use crate::domain::utc_day::UtcDay;

/// The latest plausible times at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Horizon {
    pub now: Timestamp,
    /// How far the clocks of replicas may differ.
    pub skew: Duration,
    /// The length of a lease of a mail, of its session and of its invite.
    pub mail_lease: Duration,
    /// The length of a lease of an SMS.
    pub sms_lease: Duration,
    /// The length of a lease of an onbind.
    pub onbind_lease: Duration,
}

impl Horizon {
    /// The latest event, by the clock of any replica.
    fn event(&self) -> i64 {
        self.now.plus(self.skew).as_millis()
    }

    /// The latest end of a lease, by the clock of any replica.
    fn end_of(&self, lease: Duration) -> i64 {
        self.now.plus(self.skew + lease).as_millis()
    }

    /// The number of the latest day.
    fn day(&self) -> i64 {
        UtcDay::of(self.now.plus(self.skew)).number()
    }
}

queries! {
    /// The number of rows that [`correct`] changes. Reads whole tables, so it needs no transaction.
    pub async fn count(conn, horizon: &Horizon) -> Result<i64, StoreError> {
        let (now, event) = (horizon.now.as_millis(), horizon.event());
        let (mail_lease, onbind_lease) = (horizon.end_of(horizon.mail_lease), horizon.end_of(horizon.onbind_lease));
        let sms_lease = horizon.end_of(horizon.sms_lease);
        let sessions_ahead = sessions::table.filter(
            sessions::created_at
                .gt(event)
                .or(sessions::validated_at.gt(event))
                .or(sessions::medium.eq("email").and(sessions::sending_until.gt(mail_lease)))
                .or(sessions::medium.eq("msisdn").and(sessions::sending_until.gt(sms_lease))),
        );
        let tokens_ahead = tokens::table.filter(tokens::created_at.gt(event).or(tokens::used_at.gt(event)));
        let mails_ahead = outgoing_mails::table.filter(
            outgoing_mails::next_attempt_at
                .gt(outgoing_mails::backoff + now)
                .or(outgoing_mails::leased_until.gt(mail_lease)),
        );
        let onbinds_ahead = onbinds::table.filter(
            onbinds::created_at
                .gt(event)
                .or(onbinds::not_before.gt(event))
                .or(onbinds::leased_until.gt(onbind_lease)),
        );
        let waits_ahead =
            onbind_backoffs::table.filter(onbind_backoffs::next_attempt_at.gt(onbind_backoffs::backoff + now));
        let mut number: i64 = sessions_ahead.count().get_result(conn as &mut Conn).await?;
        number += tokens_ahead.count().get_result::<i64>(conn).await?;
        number += associations::table.filter(associations::not_before.gt(event)).count().get_result::<i64>(conn).await?;
        number += mails_ahead.count().get_result::<i64>(conn).await?;
        number += waits_ahead.count().get_result::<i64>(conn).await?;
        number += onbinds_ahead.count().get_result::<i64>(conn).await?;
        number += peppers::table.filter(peppers::since.gt(event)).count().get_result::<i64>(conn).await?;
        number += invites::table.filter(invites::sending_until.gt(mail_lease)).count().get_result::<i64>(conn).await?;
        number += sms_days::table.filter(sms_days::day.gt(horizon.day())).count().get_result::<i64>(conn).await?;
        number += lookup_days::table.filter(lookup_days::day.gt(horizon.day())).count().get_result::<i64>(conn).await?;
        Ok(number)
    }

    /// Moves later times to `now` and ends later leases; returns the number of corrected values. A next attempt that is
    /// too late by no more than the clocks of replicas may differ waits for its whole backoff again.
    pub async fn correct(conn, horizon: &Horizon) -> Result<usize, StoreError> {
        let (now, event) = (horizon.now.as_millis(), horizon.event());
        let (mail_lease, onbind_lease) = (horizon.end_of(horizon.mail_lease), horizon.end_of(horizon.onbind_lease));
        let mut corrected = 0;
        corrected += diesel::update(sessions::table.filter(sessions::created_at.gt(event)))
            .set(sessions::created_at.eq(now))
            .execute(conn as &mut Conn)
            .await?;
        corrected += diesel::update(sessions::table.filter(sessions::validated_at.gt(event)))
            .set(sessions::validated_at.eq(now))
            .execute(conn)
            .await?;
        for (medium, lease) in [("email", mail_lease), ("msisdn", horizon.end_of(horizon.sms_lease))] {
            // Expired instead of absent: whether an SMS was sent stays unclear.
            let ahead = sessions::medium.eq(medium).and(sessions::sending_until.gt(lease));
            corrected += diesel::update(sessions::table.filter(ahead))
                .set(sessions::sending_until.eq(now))
                .execute(conn)
                .await?;
        }
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
        let mails = outgoing_mails::table;
        let due = outgoing_mails::next_attempt_at;
        corrected += diesel::update(mails.filter(due.gt(outgoing_mails::backoff + event)))
            .set(due.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(mails.filter(due.gt(outgoing_mails::backoff + now)))
            .set(due.eq(outgoing_mails::backoff + now))
            .execute(conn)
            .await?;
        corrected += diesel::update(mails.filter(outgoing_mails::leased_until.gt(mail_lease)))
            .set(outgoing_mails::leased_until.eq(None::<i64>))
            .execute(conn)
            .await?;
        let due = onbind_backoffs::next_attempt_at;
        corrected += diesel::update(onbind_backoffs::table.filter(due.gt(onbind_backoffs::backoff + event)))
            .set(due.eq(now))
            .execute(conn)
            .await?;
        corrected += diesel::update(onbind_backoffs::table.filter(due.gt(onbind_backoffs::backoff + now)))
            .set(due.eq(onbind_backoffs::backoff + now))
            .execute(conn)
            .await?;
        corrected += diesel::update(onbinds::table.filter(onbinds::leased_until.gt(onbind_lease)))
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
        corrected += diesel::update(invites::table.filter(invites::sending_until.gt(mail_lease)))
            .set(invites::sending_until.eq(None::<i64>))
            .execute(conn)
            .await?;
        corrected += diesel::update(peppers::table.filter(peppers::since.gt(event)))
            .set(peppers::since.eq(now))
            .execute(conn)
            .await?;
        // SMS and lookups of a day that has not come would count on it.
        let later_days = sms_days::table.filter(sms_days::day.gt(horizon.day()));
        corrected += diesel::delete(later_days).execute(conn).await?;
        let later_days = lookup_days::table.filter(lookup_days::day.gt(horizon.day()));
        corrected += diesel::delete(later_days).execute(conn).await?;
        let later_leases = lookup_leases::table.filter(lookup_leases::day.gt(horizon.day()));
        corrected += diesel::delete(later_leases).execute(conn).await?;
        let later_addresses = lookup_fingerprints::table.filter(lookup_fingerprints::day.gt(horizon.day()));
        corrected += diesel::delete(later_addresses).execute(conn).await?;
        Ok(corrected)
    }
}

#[cfg(test)]
mod tests;
