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
