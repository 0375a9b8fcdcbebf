//! `outgoing_mails`: mails that the relay has deferred (SMTP 4xx), until their next attempt.
//!
//! Invariant: a mail is sealed, because its link contains a token and a client secret. A worker leases a mail before it
//! sends it, so that two processes never send it at the same time.

use diesel::SelectableHelper;
use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable, Selectable,
};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::outgoing_mails;
use super::{QueueHead, StoreError};
use crate::domain::backoff::NextAttempt;

/// A mail in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = outgoing_mails)]
pub struct QueuedMail {
    /// The id, which is also the seal's associated data.
    pub id: String,
    /// The sealed mail.
    pub sealed_mail: Vec<u8>,
    /// Failed attempts so far.
    pub attempts: i32,
    /// Unix milliseconds of the next attempt.
    pub next_attempt_at: i64,
    /// Milliseconds of the wait for it.
    pub backoff: i64,
    /// Unix milliseconds of its expiry.
    pub expires_at: i64,
}

queries! {
    /// Adds a mail to the queue.
    pub async fn insert(conn, mail: &QueuedMail) -> Result<(), StoreError> {
        diesel::insert_into(outgoing_mails::table).values(mail).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// Leases the next mail if it is due. Needs a transaction.
    pub async fn take_due(conn, now: Timestamp, leased_until: Timestamp) -> Result<QueueHead<QueuedMail>, StoreError> {
        let free = outgoing_mails::leased_until.is_null().or(outgoing_mails::leased_until.lt(now.as_millis()));
        let first: Option<QueuedMail> = outgoing_mails::table
            .filter(free)
            .order(outgoing_mails::next_attempt_at)
            .select(QueuedMail::as_select())
            .first(conn as &mut Conn)
            .await
            .optional()?;
        let Some(mail) = first else { return Ok(QueueHead::Empty) };
        if mail.next_attempt_at > now.as_millis() {
            return Ok(QueueHead::Later(Timestamp::from_millis(mail.next_attempt_at)));
        }
        diesel::update(outgoing_mails::table.find(&mail.id))
            .set(outgoing_mails::leased_until.eq(leased_until.as_millis()))
            .execute(conn)
            .await?;
        Ok(QueueHead::Due(mail))
    }

    /// Saves a failed attempt and ends the lease.
    pub async fn save_attempt(conn, id: &str, attempts: i32, next: NextAttempt) -> Result<(), StoreError> {
        diesel::update(outgoing_mails::table.find(id))
            .set((
                outgoing_mails::attempts.eq(attempts),
                outgoing_mails::next_attempt_at.eq(next.at.as_millis()),
                outgoing_mails::backoff.eq(next.backoff_millis()),
                outgoing_mails::leased_until.eq(None::<i64>),
            ))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Deletes a mail.
    pub async fn delete(conn, id: &str) -> Result<(), StoreError> {
        diesel::delete(outgoing_mails::table.find(id)).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// The number of queued mails.
    pub async fn count(conn) -> Result<i64, StoreError> {
        Ok(outgoing_mails::table.count().get_result(conn as &mut Conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::QueuedMail;
    use crate::domain::backoff::NextAttempt;
    use crate::store::testing::{START, stores};
    use crate::store::{QueueHead, Store, outgoing_mails};

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn mail(id: &str, next_attempt_at: Timestamp) -> QueuedMail {
        QueuedMail {
            id: id.to_owned(),
            sealed_mail: vec![0, 255, 10],
            attempts: 1,
            next_attempt_at: next_attempt_at.as_millis(),
            backoff: 0,
            expires_at: after(86_400).as_millis(),
        }
    }

    async fn insert(store: &Store, mail: &QueuedMail) {
        let mail = mail.clone();
        store.write(async move |conn| outgoing_mails::insert(conn, &mail).await).await.unwrap();
    }

    /// Takes the head of the queue at `now` with a lease of a minute.
    async fn take(store: &Store, now: Timestamp) -> QueueHead<QueuedMail> {
        let until = now.plus(Duration::from_secs(60));
        store.write(async move |conn| outgoing_mails::take_due(conn, now, until).await).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mails_are_taken_in_the_order_of_their_next_attempt_and_not_before() {
        for store in stores().await {
            let (first, second) = (mail("first", after(10)), mail("second", after(20)));
            insert(&store, &second).await;
            insert(&store, &first).await;
            assert_eq!(store.read(async |conn| outgoing_mails::count(conn).await).await.unwrap(), 2);
            assert_eq!(take(&store, after(9)).await, QueueHead::Later(after(10)));
            assert_eq!(take(&store, after(20)).await, QueueHead::Due(first));
            assert_eq!(take(&store, after(20)).await, QueueHead::Due(second));
            assert_eq!(take(&store, after(20)).await, QueueHead::Empty);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_leased_mail_is_not_taken_until_its_lease_expires() {
        for store in stores().await {
            insert(&store, &mail("m", START)).await;
            assert!(matches!(take(&store, START).await, QueueHead::Due(_)));
            assert_eq!(take(&store, after(59)).await, QueueHead::Empty);
            assert_eq!(take(&store, after(60)).await, QueueHead::Empty);
            assert!(matches!(take(&store, after(61)).await, QueueHead::Due(_)));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_failed_mail_waits_for_its_next_attempt_and_a_deleted_one_is_not_taken() {
        for store in stores().await {
            insert(&store, &mail("m", START)).await;
            take(&store, START).await;
            let next = NextAttempt::after(START, Duration::from_secs(120));
            let back = store.write(async move |conn| outgoing_mails::save_attempt(conn, "m", 2, next).await);
            back.await.unwrap();
            assert_eq!(take(&store, after(119)).await, QueueHead::Later(after(120)));
            let again = QueuedMail { attempts: 2, backoff: 120_000, ..mail("m", after(120)) };
            assert_eq!(take(&store, after(120)).await, QueueHead::Due(again));
            for _ in 0..2 {
                store.write(async |conn| outgoing_mails::delete(conn, "m").await).await.unwrap();
            }
            assert_eq!(store.read(async |conn| outgoing_mails::count(conn).await).await.unwrap(), 0);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn concurrent_workers_never_take_the_same_mail() {
        for store in stores().await {
            for number in 0..12 {
                insert(&store, &mail(&format!("m{number:02}"), START)).await;
            }
            let workers = (0..4).map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    while let QueueHead::Due(mail) = take(&store, START).await {
                        taken.push(mail.id);
                    }
                    taken
                })
            });
            let mut taken = Vec::new();
            for worker in workers.collect::<Vec<_>>() {
                taken.extend(worker.await.unwrap());
            }
            taken.sort();
            assert_eq!(taken, (0..12).map(|number| format!("m{number:02}")).collect::<Vec<_>>());
        }
    }
}
