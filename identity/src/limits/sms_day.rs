//! How many SMS a day may have: of one country, and in all.
//!
//! Invariant: all processes count together, in the transaction that decides whether a message goes out, so that the bound
//! is exact; days are those of UTC.

use shared::clock::Timestamp;

use crate::store::{Connection, StoreError, sms_days};

const DAY: i64 = 86_400_000;

/// What is counted under no country in particular.
const OVERALL: &str = "";

/// The day of a message, with the bounds that it is charged to.
#[derive(Clone, Debug)]
pub struct SmsDay {
    day: i64,
    calling_code: String,
    overall: u32,
    per_country: u32,
}

impl SmsDay {
    /// The day that `now` is in, for a message to `calling_code`.
    pub fn of(now: Timestamp, calling_code: &str, overall: u32, per_country: u32) -> Self {
        Self { day: now.as_millis().div_euclid(DAY), calling_code: calling_code.to_owned(), overall, per_country }
    }

    /// Whether one more message is within both bounds.
    ///
    /// # Errors
    /// [`StoreError`] if the database does.
    pub async fn has_room(&self, conn: &mut Connection) -> Result<bool, StoreError> {
        for (name, calling_code, bound) in self.counters() {
            if sms_days::count(conn, self.day, calling_code).await? >= i64::from(bound) {
                metrics::counter!("identity_rate_limited_total", "limit" => name).increment(1);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Counts a message. Needs the transaction in which [`SmsDay::has_room`] was asked.
    ///
    /// # Errors
    /// [`StoreError`] if the database does.
    pub async fn charge(&self, conn: &mut Connection) -> Result<(), StoreError> {
        for (_, calling_code, _) in self.counters() {
            sms_days::add(conn, self.day, calling_code, 1).await?;
        }
        Ok(())
    }

    /// Takes the count back of a message that surely was not sent.
    ///
    /// # Errors
    /// [`StoreError`] if the database does.
    pub async fn give_back(&self, conn: &mut Connection) -> Result<(), StoreError> {
        for (_, calling_code, _) in self.counters() {
            sms_days::add(conn, self.day, calling_code, -1).await?;
        }
        Ok(())
    }

    fn counters(&self) -> [(&'static str, &str, u32); 2] {
        [
            ("max_per_day_per_country", self.calling_code.as_str(), self.per_country),
            ("max_per_day", OVERALL, self.overall),
        ]
    }
}

/// The messages of the day that `now` is in, to all countries.
///
/// # Errors
/// [`StoreError`] if the database does.
pub async fn messages_today(conn: &mut Connection, now: Timestamp) -> Result<i64, StoreError> {
    sms_days::count(conn, now.as_millis().div_euclid(DAY), OVERALL).await
}

/// Forgets the days before the one that `now` is in.
///
/// # Errors
/// [`StoreError`] if the database does.
pub async fn forget(conn: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    sms_days::delete_before(conn, now.as_millis().div_euclid(DAY)).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SmsDay, forget, messages_today};
    use crate::store::Store;
    use crate::store::testing::{START, stores};

    async fn charge(store: &Store, day: &SmsDay) -> bool {
        let day = day.clone();
        let charged = store.write(async move |conn| {
            let has_room = day.has_room(conn).await?;
            if has_room {
                day.charge(conn).await?;
            }
            Ok(has_room)
        });
        charged.await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_day_has_a_bound_for_each_country_and_one_for_all() {
        for store in stores().await {
            let to = |country: &str| SmsDay::of(START, country, 3, 2);
            let mut answers = Vec::new();
            for country in ["44", "44", "44", "1", "49"] {
                answers.push(charge(&store, &to(country)).await);
            }
            assert_eq!(answers, [true, true, false, true, false]);
            assert_eq!(store.read(async |conn| messages_today(conn, START).await).await.unwrap(), 3);

            // What was not sent is given back to both.
            let back = to("44");
            store.write(async move |conn| back.give_back(conn).await).await.unwrap();
            assert!(charge(&store, &to("44")).await && !charge(&store, &to("44")).await);

            let tomorrow = START.plus(Duration::from_secs(86_400));
            assert!(charge(&store, &SmsDay::of(tomorrow, "44", 3, 2)).await);
            store.write(async move |conn| forget(conn, tomorrow).await).await.unwrap();
            assert_eq!(store.read(async |conn| messages_today(conn, START).await).await.unwrap(), 0);
            assert_eq!(store.read(async move |conn| messages_today(conn, tomorrow).await).await.unwrap(), 1);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bound_of_nothing_lets_nothing_through() {
        for store in stores().await {
            assert!(!charge(&store, &SmsDay::of(START, "44", 0, 2)).await);
            assert!(!charge(&store, &SmsDay::of(START, "44", 2, 0)).await);
        }
    }
}
