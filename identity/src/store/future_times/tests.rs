//! Tests of times in the future on both databases.

use std::time::Duration;

use shared::clock::Timestamp;

use super::{Horizon, correct, count};
use crate::domain::association::Association;
use crate::domain::backoff::NextAttempt;
use crate::domain::session::{SendAttempt, SendDecision, Sending, Session, SessionRules};
use crate::domain::threepid::{Medium, ThreePid};
use crate::store::onbinds::outbox::{self, LeasedOnbind};
use crate::store::outgoing_mails::QueuedMail;
use crate::store::testing::{START, email, execute, stores, user};
use crate::store::{Busy, QueueHead, Store, onbinds, outgoing_mails, peppers, sessions};

const LEASE: Duration = Duration::from_secs(70);

fn after(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn horizon(now: Timestamp) -> Horizon {
    let skew = Duration::from_secs(60);
    Horizon { now, skew, mail_lease: LEASE, sms_lease: Duration::from_secs(600), onbind_lease: LEASE }
}

/// Corrects at the start; returns the numbers of rows before and of corrected values.
async fn correct_at_start(store: &Store) -> (i64, usize) {
    let found = store.read(async |conn| count(conn, &horizon(START)).await).await.unwrap();
    (found, store.write(async |conn| correct(conn, &horizon(START)).await).await.unwrap())
}

async fn take_mail(store: &Store, now: Timestamp) -> QueueHead<QueuedMail> {
    store.write(async move |conn| outgoing_mails::take_due(conn, now, now.plus(LEASE)).await).await.unwrap()
}

async fn take_onbind(store: &Store, now: Timestamp) -> QueueHead<LeasedOnbind> {
    let busy = Busy::default();
    store.write(async move |conn| outbox::take_due(conn, now, now.plus(LEASE), &busy).await).await.unwrap()
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
            backoff: 60_000,
            expires_at: ahead.plus(day).as_millis(),
        };
        store.write(async move |conn| outgoing_mails::insert(conn, &mail).await).await.unwrap();
        assert!(matches!(take_mail(&store, ahead).await, QueueHead::Due(_)));
        assert!(matches!(take_mail(&store, START).await, QueueHead::Empty));
        assert_eq!(correct_at_start(&store).await, (1, 2));
        assert!(matches!(take_mail(&store, START).await, QueueHead::Due(_)));
        assert_eq!(correct_at_start(&store).await, (0, 0), "a plausible time stays");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_row_waits_for_its_own_backoff_at_most() {
    // The clock was ahead by so many seconds when the row began to wait for 10 s; then the wait that is left.
    for (ahead, left) in [(0, 10), (1, 10), (59, 10), (61, 0), (90 * 60, 0)] {
        for store in stores().await {
            let next = NextAttempt::after(after(ahead), Duration::from_secs(10));
            let mail = QueuedMail {
                id: "m".to_owned(),
                sealed_mail: vec![1],
                attempts: 1,
                next_attempt_at: START.as_millis(),
                backoff: 0,
                expires_at: after(86_400).as_millis(),
            };
            let association = Association::new(email("a@x.org"), user("@a:hs"), START, Duration::from_secs(3600));
            let queued = store.write(async move |conn| {
                outgoing_mails::insert(conn, &mail).await?;
                outgoing_mails::save_attempt(conn, "m", 2, next).await?;
                onbinds::save(conn, "o", &association, true).await
            });
            queued.await.unwrap();
            let QueueHead::Due(onbind) = take_onbind(&store, START).await else { panic!("no onbind") };
            let saved = store.write(async move |conn| outbox::save_attempt(conn, &onbind, 3, next, None).await);
            saved.await.unwrap();

            let expected = if ahead == 0 { (0, 0) } else { (2, 2) };
            assert_eq!(correct_at_start(&store).await, expected, "{ahead}");
            let due = after(left);
            if left > 0 {
                let earlier = due.minus(Duration::from_millis(1));
                assert_eq!(take_mail(&store, earlier).await, QueueHead::Later(due), "{ahead}");
                assert_eq!(take_onbind(&store, earlier).await, QueueHead::Later(due), "{ahead}");
            }
            assert!(matches!(take_mail(&store, due).await, QueueHead::Due(_)), "{ahead}");
            assert!(matches!(take_onbind(&store, due).await, QueueHead::Due(_)), "{ahead}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_longer_than_those_of_its_queue_ends() {
    for (ahead, has_ended) in [(0, false), (59, false), (61, true), (14 * 60, true)] {
        for store in stores().await {
            let association = Association::new(email("a@x.org"), user("@a:hs"), START, Duration::from_secs(3600));
            let saved = store.write(async move |conn| onbinds::save(conn, "o", &association, true).await);
            saved.await.unwrap();
            assert!(matches!(take_onbind(&store, after(ahead)).await, QueueHead::Due(_)));
            assert_eq!(correct_at_start(&store).await, if has_ended { (1, 1) } else { (0, 0) }, "{ahead}");
            assert_eq!(matches!(take_onbind(&store, START).await, QueueHead::Due(_)), has_ended, "{ahead}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_of_a_session_expires_and_an_sms_stays_unclear() {
    let rules = SessionRules { lifetime: Duration::from_secs(86_400), email_max_wrong: 9, sms_max_wrong: 9 };
    for (medium, address, lease, decision) in [
        (Medium::Email, "a@x.org", LEASE, SendDecision::Send),
        (Medium::Msisdn, "447700900001", Duration::from_secs(600), SendDecision::Unclear),
    ] {
        for store in stores().await {
            let sending = Sending { attempt: SendAttempt::from_row(1), until: after(61).plus(lease) };
            let session = Session {
                threepid: ThreePid::from_row(medium, address.to_owned(), address.to_owned()),
                sending: Some(sending),
                ..sessions::session("sid")
            };
            let sid = session.sid.clone();
            store.write(async move |conn| sessions::save(conn, &session).await).await.unwrap();
            assert_eq!(correct_at_start(&store).await, (1, 1));
            let found = store.read(async move |conn| sessions::find(conn, &sid).await).await.unwrap();
            let decided = Session::send_decision(found.as_ref(), SendAttempt::from_row(1), START, &rules);
            assert_eq!(decided, decision);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_time_that_is_corrected_is_found_before() {
    for store in stores().await {
        for statement in [
            "insert into accounts (mxid, created_at) values ('@a:hs', 0)",
            "insert into tokens (digest, mxid, created_at, used_at) values ('d', '@a:hs', 9000000000000, 0)",
            "update tokens set created_at = 0, used_at = 9000000000000",
            "insert into associations (medium, address, typed_address, mxid, ts, not_before, not_after, digest)
                values ('email', 'a@x.org', 'a@x.org', '@a:hs', 0, 9000000000000, 9000000000000, 'd')",
            "insert into onbinds (id, medium, address, mxid, server, ts, not_before, not_after, created_at, attempts,
                next_attempt_at) values ('o', 'email', 'a@x.org', '@a:hs', 'hs', 0, 0, 0, 9000000000000, 0, 0)",
            "update onbinds set not_before = 9000000000000",
            "insert into invites (id, medium, address, room_id, sender, token, created_at, sending_until)
                values ('i', 'email', 'a@x.org', '!r:hs', '@a:hs', 't', 0, 9000000000000)",
            "insert into sms_days (day, calling_code, messages) values (900000, '44', 1)",
        ] {
            execute(&store, statement).await;
            let expected = if statement.starts_with("insert into accounts") { (0, 0) } else { (1, 1) };
            assert_eq!(correct_at_start(&store).await, expected, "{statement}");
        }
        let session = Session { created_at: after(61), validated_at: Some(after(61)), ..sessions::session("sid") };
        store.write(async move |conn| sessions::save(conn, &session).await).await.unwrap();
        assert_eq!(correct_at_start(&store).await, (1, 2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pepper_of_a_clock_that_was_ahead_is_rotated_after_its_time() {
    for store in stores().await {
        execute(&store, "update peppers set since = since + 31536000000").await;
        assert_eq!(correct_at_start(&store).await, (1, 1));
        let peppers = store.read(async |conn| peppers::list(conn).await).await.unwrap();
        assert_eq!(peppers.current().since, START);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_looked_up_on_a_day_that_has_not_come_is_forgotten() {
    let statements = [
        "insert into lookup_days (day, fingerprint_key) values (99999, 'k'), (1, 'k')",
        "insert into lookup_leases (day, subject, leased, parts) values (99999, 's', 5, 1), (1, 's', 5, 1)",
        "insert into lookup_fingerprints (day, subject, part, fingerprints) values (99999, 's', 1, 'f'), (1, 's', 1, 'f')",
    ];
    for store in stores().await {
        for statement in statements {
            execute(&store, statement).await;
        }
        assert_eq!(correct_at_start(&store).await, (1, 3));
        assert_eq!(correct_at_start(&store).await, (0, 0));
    }
}
