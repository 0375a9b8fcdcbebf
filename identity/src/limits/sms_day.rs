//! The daily SMS limits: in total, and by calling code.
//!
//! Invariant: all processes count in the transaction that decides on a message, so the limits are exact. Days are UTC.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use shared::clock::Timestamp;

use crate::domain::utc_day::UtcDay;
use crate::store::{Connection, StoreError, sms_days};

/// The pause between two log lines about a reached daily limit: each rejected request would write one.
const LOG_PAUSE: Duration = Duration::from_secs(60);

/// The row key of the total of all countries.
const TOTAL: &str = "";

/// The day of a message and the limits that count it.
#[derive(Clone, Debug)]
pub struct SmsDay {
    day: UtcDay,
    calling_code: String,
    total: u32,
    per_country: u32,
}

impl SmsDay {
    /// The day of `now`, for a message to `calling_code`.
    pub fn of(now: Timestamp, calling_code: &str, total: u32, per_country: u32) -> Self {
        Self { day: UtcDay::of(now), calling_code: calling_code.to_owned(), total, per_country }
    }

    /// Whether both limits allow one more message.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn has_room(&self, conn: &mut Connection) -> Result<bool, StoreError> {
        for (name, calling_code, limit) in self.counters() {
            if sms_days::count(conn, self.day.number(), calling_code).await? >= i64::from(limit) {
                metrics::counter!("identity_rate_limited_total", "limit" => name).increment(1);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts a message. Needs the transaction of [`SmsDay::has_room`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn charge(&self, conn: &mut Connection) -> Result<(), StoreError> {
        for (_, calling_code, _) in self.counters() {
            sms_days::add(conn, self.day.number(), calling_code, 1).await?;
        }
        Ok(())
    }

    /// Reverts the count of a message that was certainly not sent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn give_back(&self, conn: &mut Connection) -> Result<(), StoreError> {
        for (_, calling_code, _) in self.counters() {
            sms_days::add(conn, self.day.number(), calling_code, -1).await?;
        }
        Ok(())
    }

    fn counters(&self) -> [(&'static str, &str, u32); 2] {
        [("max_per_day_per_country", self.calling_code.as_str(), self.per_country), ("max_per_day", TOTAL, self.total)]
    }
}

/// Limits the log lines about a reached daily limit to one a minute.
#[derive(Debug, Default)]
pub struct SpentLog(AtomicI64);

impl SpentLog {
    /// Whether a line is due at `now`.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let next = self.0.load(Ordering::Relaxed);
        let after = now.plus(LOG_PAUSE).as_millis();
        // A clock that was set back delays the next line by at most the pause.
        let is_due = now.as_millis() >= next || next > after;
        is_due && self.0.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The number of messages on the day of `now`, to all countries.
///
/// # Errors
/// [`StoreError`].
pub async fn messages_today(conn: &mut Connection, now: Timestamp) -> Result<i64, StoreError> {
    sms_days::count(conn, UtcDay::of(now).number(), TOTAL).await
}

/// Deletes the counts of the days before that of `now`.
///
/// # Errors
/// [`StoreError`].
pub async fn delete_past(conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    sms_days::delete_before(conn, UtcDay::of(now).number()).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SmsDay, SpentLog, delete_past, messages_today};
    use crate::store::testing::{START, stores};
    use crate::store::{Store, StoreError};

    #[test]
    fn a_reached_limit_is_logged_once_a_minute() {
        let log = SpentLog::default();
        let at = |seconds| START.plus(Duration::from_secs(seconds));
        let due: Vec<_> = [0, 0, 59, 60, 61, 119, 120].map(|seconds| log.is_due(at(seconds))).into();
        assert_eq!(due, [true, false, false, true, false, false, true]);
        assert!(log.is_due(START.minus(Duration::from_secs(3600))), "the clock was set back");
    }

    async fn charge(store: &Store, day: &SmsDay) -> bool {
        let day = day.clone();
        let charged = store.write(async move |conn| {
            let has_room = day.has_room(conn).await?;
            if has_room {
                day.charge(conn).await?;
            }
            Ok::<_, StoreError>(has_room)
        });
        charged.await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_day_has_a_limit_for_each_country_and_one_in_total() {
        for store in stores().await {
            let to = |country: &str| SmsDay::of(START, country, 3, 2);
            let mut answers = Vec::new();
            for country in ["44", "44", "44", "1", "49"] {
                answers.push(charge(&store, &to(country)).await);
            }
            assert_eq!(answers, [true, true, false, true, false]);
            assert_eq!(store.read(async |conn| messages_today(conn, START).await).await.unwrap(), 3);

            // Both limits count a reverted message no more.
            let back = to("44");
            store.write(async move |conn| back.give_back(conn).await).await.unwrap();
            assert!(charge(&store, &to("44")).await && !charge(&store, &to("44")).await);

            let tomorrow = START.plus(Duration::from_secs(86_400));
            assert!(charge(&store, &SmsDay::of(tomorrow, "44", 3, 2)).await);
            store.write(async move |conn| delete_past(conn, tomorrow).await).await.unwrap();
            assert_eq!(store.read(async |conn| messages_today(conn, START).await).await.unwrap(), 0);
            assert_eq!(store.read(async move |conn| messages_today(conn, tomorrow).await).await.unwrap(), 1);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_limit_of_zero_allows_no_message() {
        for store in stores().await {
            assert!(!charge(&store, &SmsDay::of(START, "44", 0, 2)).await);
            assert!(!charge(&store, &SmsDay::of(START, "44", 2, 0)).await);
        }
    }
}
