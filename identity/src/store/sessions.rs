//! `sessions`: validation sessions.
//!
//! Invariant: the client's secret stands here as a digest and the validation token sealed.

use diesel::SelectableHelper;
use diesel::prelude::{
    AsChangeset, BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable,
    Selectable,
};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::StoreError;
use super::connection::queries;
use super::schema::sessions;
use crate::domain::mxid::UserId;
use crate::domain::next_link::NextLink;
use crate::domain::session::{ClientSecretDigest, SendAttempt, Sending, Session};
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;

queries! {
    /// The session of that name.
    pub async fn find(conn, sid: &Sid) -> Result<Option<Session>, StoreError> {
        // PostgreSQL refuses a NUL in a text, and a client may send any text as a name.
        if sid.as_str().contains('\0') {
            return Ok(None);
        }
        let row: Option<Row> =
            sessions::table.find(sid.as_str()).select(Row::as_select()).first(conn as &mut Conn).await.optional()?;
        row.map(Session::try_from).transpose()
    }

    /// The newest session for this address, secret and account.
    pub async fn find_newest(
        conn,
        threepid: &ThreePid,
        client_secret: ClientSecretDigest,
        account: Option<&UserId>,
    ) -> Result<Option<Session>, StoreError> {
        let same_key = sessions::table
            .filter(sessions::medium.eq(threepid.medium().as_str()))
            .filter(sessions::address.eq(threepid.address().as_str()))
            .filter(sessions::client_secret_digest.eq(client_secret.as_bytes().as_slice()))
            .order((sessions::created_at.desc(), sessions::sid))
            .select(Row::as_select());
        let row: Option<Row> = match account {
            Some(account) => {
                same_key.filter(sessions::account.eq(account.as_str())).first(conn as &mut Conn).await.optional()?
            }
            None => same_key.filter(sessions::account.is_null()).first(conn as &mut Conn).await.optional()?,
        };
        row.map(Session::try_from).transpose()
    }

    /// Writes the session, whether it is new or not.
    pub async fn save(conn, session: &Session) -> Result<(), StoreError> {
        let row = Row::from(session);
        diesel::insert_into(sessions::table)
            .values(&row)
            .on_conflict(sessions::sid)
            .do_update()
            .set(&row)
            .execute(conn as &mut Conn)
            .await?;
        Ok(())
    }

    /// Removes the sessions that were started and validated before `before`; their number.
    pub async fn delete_older(conn, before: Timestamp) -> Result<usize, StoreError> {
        let old = sessions::table.filter(sessions::created_at.lt(before.as_millis())).filter(
            sessions::validated_at.is_null().or(sessions::validated_at.lt(before.as_millis())),
        );
        Ok(diesel::delete(old).execute(conn as &mut Conn).await?)
    }
}

#[derive(Queryable, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = sessions, treat_none_as_null = true)]
struct Row {
    sid: String,
    medium: String,
    address: String,
    typed_address: String,
    client_secret_digest: Vec<u8>,
    account: Option<String>,
    sealed_token: Vec<u8>,
    created_at: i64,
    validated_at: Option<i64>,
    send_attempt: Option<i64>,
    sending_attempt: Option<i64>,
    sending_until: Option<i64>,
    wrong_tokens: i32,
    next_link: Option<String>,
}

impl From<&Session> for Row {
    fn from(session: &Session) -> Self {
        Self {
            sid: session.sid.as_str().to_owned(),
            medium: session.threepid.medium().as_str().to_owned(),
            address: session.threepid.address().as_str().to_owned(),
            typed_address: session.threepid.typed().to_owned(),
            client_secret_digest: session.client_secret.as_bytes().to_vec(),
            account: session.account.as_ref().map(|account| account.as_str().to_owned()),
            sealed_token: session.sealed_token.clone(),
            created_at: session.created_at.as_millis(),
            validated_at: session.validated_at.map(Timestamp::as_millis),
            send_attempt: session.send_attempt.map(SendAttempt::get),
            sending_attempt: session.sending.map(|sending| sending.attempt.get()),
            sending_until: session.sending.map(|sending| sending.until.as_millis()),
            wrong_tokens: i32::try_from(session.wrong_tokens).unwrap_or(i32::MAX),
            next_link: session.next_link.as_ref().map(|link| link.as_str().to_owned()),
        }
    }
}

impl TryFrom<Row> for Session {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let medium = row.medium.parse().map_err(|_| StoreError::Corrupt("sessions.medium"))?;
        let digest: [u8; 32] =
            row.client_secret_digest.try_into().map_err(|_| StoreError::Corrupt("sessions.client_secret_digest"))?;
        let account = row.account.map(|account| UserId::parse(&account)).transpose();
        Ok(Self {
            sid: Sid::from(row.sid),
            threepid: ThreePid::from_row(medium, row.address, row.typed_address),
            client_secret: ClientSecretDigest::from_bytes(digest),
            account: account.map_err(|_| StoreError::Corrupt("sessions.account"))?,
            sealed_token: row.sealed_token,
            created_at: Timestamp::from_millis(row.created_at),
            validated_at: row.validated_at.map(Timestamp::from_millis),
            send_attempt: row.send_attempt.map(SendAttempt::from_row),
            sending: row.sending_attempt.zip(row.sending_until).map(|(attempt, until)| Sending {
                attempt: SendAttempt::from_row(attempt),
                until: Timestamp::from_millis(until),
            }),
            wrong_tokens: u32::try_from(row.wrong_tokens).map_err(|_| StoreError::Corrupt("sessions.wrong_tokens"))?,
            next_link: row.next_link.map(NextLink::from_row),
        })
    }
}
