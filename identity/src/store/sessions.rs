//! `sessions`: validation sessions.
//!
//! Invariant: the client secret is stored as a digest and the validation token sealed.

use diesel::SelectableHelper;
use diesel::prelude::{
    AsChangeset, BoolExpressionMethods, ExpressionMethods, Insertable, OptionalExtension, QueryDsl, Queryable,
    Selectable,
};
use diesel_async::RunQueryDsl;
use shared::clock::Timestamp;

use super::connection::queries;
use super::schema::sessions;
use super::{BATCH, StoreError};
#[cfg(test)]
use crate::domain::client_secret::ClientSecret;
use crate::domain::mxid::UserId;
use crate::domain::next_link::NextLink;
use crate::domain::session::{ClientSecretDigest, SendAttempt, Sending, Session};
use crate::domain::sid::Sid;
use crate::domain::threepid::ThreePid;

queries! {
    /// The session with this id.
    pub async fn find(conn, sid: &Sid) -> Result<Option<Session>, StoreError> {
        // PostgreSQL rejects NUL in text, and a client may send any text as `sid`.
        if sid.as_str().contains('\0') {
            return Ok(None);
        }
        let row: Option<Row> =
            sessions::table.find(sid.as_str()).select(Row::as_select()).get_result(conn as &mut Conn).await.optional()?;
        row.map(Session::try_from).transpose()
    }

    /// The newest session of this address, secret and account.
    pub async fn find_newest(
        conn,
        threepid: &ThreePid,
        client_secret: ClientSecretDigest,
        account: Option<&UserId>,
    ) -> Result<Option<Session>, StoreError> {
        // Without a limit, because a key has few sessions: see `queries`.
        let same_key = sessions::table
            .filter(sessions::medium.eq(threepid.medium().as_str()))
            .filter(sessions::address.eq(threepid.address().as_str()))
            .filter(sessions::client_secret_digest.eq(client_secret.as_bytes().as_slice()))
            .order((sessions::created_at.desc(), sessions::sid))
            .select(Row::as_select());
        let row: Option<Row> = match account {
            Some(account) => {
                same_key.filter(sessions::account.eq(account.as_str())).get_result(conn as &mut Conn).await.optional()?
            }
            None => same_key.filter(sessions::account.is_null()).get_result(conn as &mut Conn).await.optional()?,
        };
        row.map(Session::try_from).transpose()
    }

    /// Inserts or replaces the session.
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

    /// Deletes a batch of the sessions that were started, and validated if at all, before `before`; returns their number.
    pub async fn delete_older(conn, before: Timestamp) -> Result<usize, StoreError> {
        let old = sessions::table.filter(sessions::created_at.lt(before.as_millis())).filter(
            sessions::validated_at.is_null().or(sessions::validated_at.lt(before.as_millis())),
        );
        let sids: Vec<String> = old.select(sessions::sid).limit(BATCH).load(conn as &mut Conn).await?;
        Ok(diesel::delete(sessions::table.filter(sessions::sid.eq_any(sids))).execute(conn).await?)
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
        let account = row.account.map(|account| UserId::from_row(&account)).transpose();
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

/// A session of `@alice:hs` for `Alice@Example.org` with the client secret "secret", for tests.
#[cfg(test)]
pub(crate) fn session(sid: &str) -> Session {
    let (threepid, secret) = (super::testing::email("Alice@Example.org"), ClientSecret::parse("secret").unwrap());
    Session {
        sid: Sid::from(sid.to_owned()),
        client_secret: ClientSecretDigest::of(&secret, &threepid),
        threepid,
        account: Some(super::testing::user("@alice:hs")),
        sealed_token: vec![0, 1, 255],
        created_at: super::testing::START,
        validated_at: None,
        send_attempt: None,
        sending: None,
        wrong_tokens: 0,
        next_link: None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::session;
    use crate::domain::client_secret::ClientSecret;
    use crate::domain::next_link::NextLink;
    use crate::domain::session::{ClientSecretDigest, SendAttempt, Sending, Session};
    use crate::domain::sid::Sid;
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::store::testing::{START, email, stores, user};
    use crate::store::{Store, sessions};

    fn after(seconds: u64) -> Timestamp {
        START.plus(Duration::from_secs(seconds))
    }

    fn secret(text: &str) -> ClientSecretDigest {
        ClientSecretDigest::of(&ClientSecret::parse(text).unwrap(), &email("Alice@Example.org"))
    }

    async fn save(store: &Store, session: &Session) {
        let session = session.clone();
        store.write(async move |conn| sessions::save(conn, &session).await).await.unwrap();
    }

    async fn find(store: &Store, sid: &str) -> Option<Session> {
        let sid = Sid::from(sid.to_owned());
        store.read(async move |conn| sessions::find(conn, &sid).await).await.unwrap()
    }

    /// The id of the newest session for the usual address.
    async fn newest(store: &Store, secret: ClientSecretDigest, account: Option<&str>) -> Option<String> {
        newest_for(store, email("alice@example.org"), secret, account).await
    }

    async fn newest_for(
        store: &Store,
        threepid: ThreePid,
        secret: ClientSecretDigest,
        account: Option<&str>,
    ) -> Option<String> {
        let account = account.map(user);
        let found =
            store.read(async move |conn| sessions::find_newest(conn, &threepid, secret, account.as_ref()).await);
        found.await.unwrap().map(|session| session.sid.as_str().to_owned())
    }

    /// All columns of a row, to compare.
    fn parts(session: &Session) -> impl PartialEq + std::fmt::Debug + use<> {
        (
            (session.sid.as_str().to_owned(), session.threepid.medium(), session.threepid.typed().to_owned()),
            (session.threepid.address().as_str().to_owned(), *session.client_secret.as_bytes()),
            (session.account.clone(), session.sealed_token.clone(), session.created_at, session.validated_at),
            (session.send_attempt, session.sending, session.wrong_tokens),
            session.next_link.as_ref().map(|link| link.as_str().to_owned()),
        )
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_saved_session_is_read_unchanged_and_optional_fields_can_be_unset() {
        for store in stores().await {
            assert!(find(&store, "sid").await.is_none());
            let empty = Session { account: None, ..session("sid") };
            save(&store, &empty).await;
            assert_eq!(parts(&find(&store, "sid").await.unwrap()), parts(&empty));

            let attempt = SendAttempt::from_row(999_999_999_999_999_999);
            let full = Session {
                validated_at: Some(after(1)),
                send_attempt: Some(SendAttempt::from_row(0)),
                sending: Some(Sending { attempt, until: after(2) }),
                wrong_tokens: 20,
                next_link: Some(NextLink::from_row("https://x.example/ä?a=b#c".to_owned())),
                ..session("sid")
            };
            save(&store, &full).await;
            assert_eq!(parts(&find(&store, "sid").await.unwrap()), parts(&full));
            save(&store, &empty).await;
            assert_eq!(parts(&find(&store, "sid").await.unwrap()), parts(&empty));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn any_text_is_accepted_as_a_sid() {
        for store in stores().await {
            save(&store, &session("sid")).await;
            save(&store, &session("")).await;
            for text in ["\0", "sid\0", "\0sid", "SID", "sid ", "'; drop table sessions; --", "\u{10ffff}", "%", "_id"]
            {
                assert!(find(&store, text).await.is_none(), "{text:?}");
            }
            assert!(find(&store, &"x".repeat(1 << 20)).await.is_none());
            assert!(find(&store, "sid").await.is_some());
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_key_of_a_session_is_address_medium_secret_and_account() {
        for store in stores().await {
            save(&store, &session("alice's")).await;
            save(&store, &Session { account: None, ..session("anonymous") }).await;
            let found = async |text: &str, account| newest(&store, secret(text), account).await;
            assert_eq!(found("secret", Some("@alice:hs")).await.as_deref(), Some("alice's"));
            assert_eq!(found("secret", None).await.as_deref(), Some("anonymous"));
            assert_eq!(found("secret", Some("@bob:hs")).await, None);
            assert_eq!(found("Secret", Some("@alice:hs")).await, None);

            let elsewhere = async |threepid| newest_for(&store, threepid, secret("secret"), Some("@alice:hs")).await;
            assert_eq!(elsewhere(email("ALICE@example.ORG")).await.as_deref(), Some("alice's"));
            assert_eq!(elsewhere(email("bob@example.org")).await, None);
            let same_text = ThreePid::from_row(Medium::Msisdn, "alice@example.org".to_owned(), String::new());
            assert_eq!(elsewhere(same_text).await, None);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_newest_session_of_a_key_is_found_and_ties_are_stable() {
        for store in stores().await {
            save(&store, &session("c-old")).await;
            for sid in ["b-new", "a-new", "d-new"] {
                save(&store, &Session { created_at: after(5), ..session(sid) }).await;
            }
            assert_eq!(newest(&store, secret("secret"), Some("@alice:hs")).await.as_deref(), Some("a-new"));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_session_is_old_when_both_its_start_and_its_validation_are() {
        for store in stores().await {
            save(&store, &session("old")).await;
            save(&store, &Session { validated_at: Some(after(10)), ..session("validated") }).await;
            save(&store, &Session { created_at: after(10), ..session("new") }).await;
            let delete_older =
                async |before| store.write(async move |conn| sessions::delete_older(conn, before).await).await.unwrap();
            assert_eq!(delete_older(START).await, 0);
            assert_eq!(delete_older(after(10)).await, 1);
            assert!(find(&store, "old").await.is_none());
            assert_eq!(delete_older(after(11)).await, 2);
        }
    }
}
