//! What a message costs: its rate limits, and for an SMS the daily limits.
//!
//! Invariant: all of it is charged, or none; and all of it is given back, or none.

use std::time::Duration;

use shared::clock::Timestamp;

use super::sms_day::SmsDay;
use super::{Bucket, RateLimitDecision, charge, give_back};
use crate::store::{Connection, StoreError};

/// The charges of one message.
#[derive(Clone, Debug)]
pub struct Charges {
    buckets: Vec<Bucket>,
    day: Option<SmsDay>,
}

/// The decision on one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargeDecision {
    /// Everything was charged.
    Charged,
    /// A bucket is empty until then; nothing was charged.
    Limited(Duration),
    /// A daily limit is reached; nothing was charged.
    Spent,
}

impl Charges {
    /// The rate limits of a message, and the daily limits of an SMS.
    pub fn new(buckets: Vec<Bucket>, day: Option<SmsDay>) -> Self {
        Self { buckets, day }
    }

    /// Charges everything, or nothing if one limit is reached. Needs a transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn charge(&self, conn: &mut Connection, now: Timestamp) -> Result<ChargeDecision, StoreError> {
        if let Some(day) = &self.day
            && !day.has_room(conn).await?
        {
            return Ok(ChargeDecision::Spent);
        }
        if let RateLimitDecision::Limited { retry_after } = charge(conn, &self.buckets, now).await? {
            return Ok(ChargeDecision::Limited(retry_after));
        }
        if let Some(day) = &self.day {
            day.charge(conn).await?;
        }
        Ok(ChargeDecision::Charged)
    }

    /// Gives everything back, for a message that was certainly not sent. Needs a transaction.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_back(&self, conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
        for bucket in &self.buckets {
            give_back(conn, bucket, now).await?;
        }
        if let Some(day) = &self.day {
            day.give_back(conn).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::config::HumanDuration;
    use shared::rate_limit::Limit;

    use super::super::sms_day::{SmsDay, messages_today};
    use super::super::{Bucket, LimitKey};
    use super::{ChargeDecision, Charges};
    use crate::store::testing::{START, stores};
    use crate::store::{Store, StoreError, rate_limits};

    async fn charge(store: &Store, charges: &Charges) -> ChargeDecision {
        let charges = charges.clone();
        store.write(async move |conn| charges.charge(conn, START).await).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_message_is_charged_and_given_back_as_a_whole() {
        for store in stores().await {
            let bucket = |name| Bucket::new(name, Limit::new(2, HumanDuration::from_secs(60)), LimitKey::Global);
            let (one, two) = (bucket("one"), bucket("two"));
            let charges = Charges::new(vec![one, two], Some(SmsDay::of(START, "44", 2, 9)));
            let state = async || {
                let state = store.read(async move |conn| {
                    let buckets =
                        [rate_limits::find(conn, &one.subject).await?, rate_limits::find(conn, &two.subject).await?];
                    Ok::<_, StoreError>((buckets, messages_today(conn, START).await?))
                });
                state.await.unwrap()
            };
            assert_eq!(charge(&store, &charges).await, ChargeDecision::Charged);
            let after_one = state().await;
            assert_eq!(after_one, ([Some(START.plus(Duration::from_secs(60))); 2], 1));
            assert_eq!(charge(&store, &charges).await, ChargeDecision::Charged);
            // The day decides before the buckets, and neither changes.
            let after_two = state().await;
            assert_eq!(charge(&store, &charges).await, ChargeDecision::Spent);
            let wide_day = Charges::new(vec![one, two], Some(SmsDay::of(START, "44", 9, 9)));
            assert_eq!(charge(&store, &wide_day).await, ChargeDecision::Limited(Duration::from_secs(60)));
            assert_eq!(state().await, after_two);
            let back = charges.clone();
            store.write(async move |conn| back.give_back(conn, START).await).await.unwrap();
            assert_eq!(state().await, after_one);
        }
    }
}
