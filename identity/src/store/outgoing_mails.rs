//! `outgoing_mails`: mails that the relay has put off (SMTP 4xx), waiting for their next try.
//!
//! Invariant: a mail lies here sealed, because its link holds a token and a client's secret; and whoever works on one
//! holds a lease, so that no two processes send it at the same time.

use diesel::SelectableHelper;
use diesel::prelude::{
    BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable, Selectable,
};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::outgoing_mails;

/// A mail in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Queryable, Selectable, Insertable)]
#[diesel(table_name = outgoing_mails)]
pub struct QueuedMail {
    /// Its name, which is also what it is sealed with.
    pub id: String,
    /// The mail, sealed.
    pub sealed_mail: Vec<u8>,
    /// Tries so far.
    pub attempts: i32,
    /// Unix milliseconds of the next try.
    pub next_attempt_at: i64,
    /// Unix milliseconds after which it is worth nothing.
    pub expires_at: i64,
}

queries! {
    /// Adds a mail.
    pub async fn insert(conn, mail: &QueuedMail) -> Result<(), StoreError> {
        diesel::insert_into(outgoing_mails::table).values(mail).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// Leases the mail whose turn it is, if there is one. Needs a transaction.
    pub async fn take_due(conn, now: Timestamp, leased_until: Timestamp) -> Result<Option<QueuedMail>, StoreError> {
        let now = now.as_millis();
        let free = outgoing_mails::leased_until.is_null().or(outgoing_mails::leased_until.lt(now));
        let due: Option<QueuedMail> = outgoing_mails::table
            .filter(outgoing_mails::next_attempt_at.le(now))
            .filter(free)
            .order(outgoing_mails::next_attempt_at)
            .select(QueuedMail::as_select())
            .first(conn as &mut Conn)
            .await
            .optional()?;
        if let Some(mail) = &due {
            diesel::update(outgoing_mails::table.find(&mail.id))
                .set(outgoing_mails::leased_until.eq(leased_until.as_millis()))
                .execute(conn)
                .await?;
        }
        Ok(due)
    }

    /// Gives a leased mail back for another try.
    pub async fn save_attempt(conn, id: &str, attempts: i32, next_attempt_at: Timestamp) -> Result<(), StoreError> {
        diesel::update(outgoing_mails::table.find(id))
            .set((
                outgoing_mails::attempts.eq(attempts),
                outgoing_mails::next_attempt_at.eq(next_attempt_at.as_millis()),
                outgoing_mails::leased_until.eq(None::<i64>),
            ))
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Removes a mail.
    pub async fn delete(conn, id: &str) -> Result<(), StoreError> {
        diesel::delete(outgoing_mails::table.find(id)).execute(conn as &mut Conn).await?;
        Ok(())
    }

    /// How many wait.
    pub async fn count(conn) -> Result<i64, StoreError> {
        Ok(outgoing_mails::table.count().get_result(conn as &mut Conn).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::QueuedMail;
    use crate::store::testing::{START, stores};
    use crate::store::{Store, outgoing_mails};

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn mail(id: &str, next_attempt_at: Timestamp) -> QueuedMail {
        QueuedMail {
            id: id.to_owned(),
            sealed_mail: vec![0, 255, 10],
            attempts: 1,
            next_attempt_at: next_attempt_at.as_millis(),
            expires_at: after(86_400).as_millis(),
        }
    }

    async fn insert(store: &Store, mail: &QueuedMail) {
        let mail = mail.clone();
        store.write(async move |conn| outgoing_mails::insert(conn, &mail).await).await.unwrap();
    }

    /// Takes a mail at `now` with a lease of a minute.
    async fn take(store: &Store, now: Timestamp) -> Option<QueuedMail> {
        let until = now.plus(Duration::from_secs(60));
        store.write(async move |conn| outgoing_mails::take_due(conn, now, until).await).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn mails_come_in_their_turn_and_none_before_it() {
        for store in stores().await {
            let (first, second) = (mail("first", after(10)), mail("second", after(20)));
            insert(&store, &second).await;
            insert(&store, &first).await;
            assert_eq!(store.read(async |conn| outgoing_mails::count(conn).await).await.unwrap(), 2);
            assert_eq!(take(&store, after(9)).await, None);
            assert_eq!(take(&store, after(20)).await, Some(first));
            assert_eq!(take(&store, after(20)).await, Some(second));
            assert_eq!(take(&store, after(20)).await, None);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_leased_mail_is_nobody_elses_until_its_holder_is_taken_for_dead() {
        for store in stores().await {
            insert(&store, &mail("m", START)).await;
            assert!(take(&store, START).await.is_some());
            assert_eq!(take(&store, after(59)).await, None);
            assert_eq!(take(&store, after(60)).await, None);
            assert!(take(&store, after(61)).await.is_some());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_mail_given_back_waits_for_its_next_turn_and_a_deleted_one_is_gone() {
        for store in stores().await {
            insert(&store, &mail("m", START)).await;
            take(&store, START).await.unwrap();
            let back = store.write(async |conn| outgoing_mails::save_attempt(conn, "m", 2, after(120)).await);
            back.await.unwrap();
            assert_eq!(take(&store, after(119)).await, None);
            let again = take(&store, after(120)).await.unwrap();
            assert_eq!((again.attempts, again.next_attempt_at), (2, after(120).as_millis()));
            for _ in 0..2 {
                store.write(async |conn| outgoing_mails::delete(conn, "m").await).await.unwrap();
            }
            assert_eq!(store.read(async |conn| outgoing_mails::count(conn).await).await.unwrap(), 0);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn workers_that_ask_at_the_same_time_never_get_the_same_mail() {
        for store in stores().await {
            for number in 0..12 {
                insert(&store, &mail(&format!("m{number:02}"), START)).await;
            }
            let workers = (0..4).map(|_| {
                let store = store.clone();
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    while let Some(mail) = take(&store, START).await {
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
