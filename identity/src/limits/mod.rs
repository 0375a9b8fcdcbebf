//! Rate limits: what is counted, in buckets that all processes on one database share.
//!
//! Invariant: the buckets of one event are charged together or not at all.

mod lookup_quota;
pub mod sms_day;

use std::net::IpAddr;
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::clock::Timestamp;

use crate::config::limits::Limits;
use crate::domain::mxid::UserId;
use crate::domain::room_id::RoomId;
use crate::domain::threepid::ThreePid;
use crate::store::{Connection, Store, StoreError, rate_limits};
use shared::rate_limit::{Charge, Limit};

pub use lookup_quota::LookupQuota;

/// Whose events a bucket counts.
#[derive(Clone, Copy, Debug)]
pub enum Counted<'a> {
    /// Those that an account causes.
    Account(&'a UserId),
    /// Those that concern an address.
    ThreePid(&'a ThreePid),
    /// Those that concern the block of ten thousand numbers that a number is in: its last four digits do not count.
    /// Who earns by messages has whole blocks of numbers.
    NumberRange(&'a ThreePid),
    /// Those that concern a calling code.
    Country(&'a str),
    /// Those that concern a room.
    Room(&'a RoomId),
    /// Those from a client address; an IPv6 client owns its whole /64.
    Client(IpAddr),
    /// All.
    Everyone,
}

/// Who asks: an account, or a client of the legacy API, which has no accounts.
#[derive(Clone, Debug)]
pub enum Caller {
    /// That account.
    Account(UserId),
    /// Whoever is at that address.
    Client(IpAddr),
}

impl Caller {
    /// The account, if there is one.
    pub fn account(&self) -> Option<&UserId> {
        match self {
            Self::Account(mxid) => Some(mxid),
            Self::Client(_) => None,
        }
    }

    /// Whose limits are used up.
    pub fn counted(&self) -> Counted<'_> {
        match self {
            Self::Account(mxid) => Counted::Account(mxid),
            Self::Client(address) => Counted::Client(*address),
        }
    }
}

/// One bucket and its limit.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    name: &'static str,
    subject: [u8; 32],
    limit: Limit,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every bucket was charged.
    Allowed,
    /// One is empty; none was charged.
    Refused {
        /// Until that one would allow it.
        retry_after: Duration,
    },
}

impl Bucket {
    /// The bucket of the limit `name` (its key under `[limits]`) for `counted`.
    pub fn new(name: &'static str, limit: Limit, counted: Counted<'_>) -> Self {
        Self { name, subject: subject(name, counted), limit }
    }
}

/// What tells apart whose events of the name are counted; it does not tell who that is.
fn subject(name: &str, counted: Counted<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(name);
    hash.update("\0");
    match counted {
        Counted::Account(mxid) => hash.update(mxid.as_str()),
        Counted::ThreePid(threepid) => {
            hash.update(threepid.medium().as_str());
            hash.update("\0");
            hash.update(threepid.address().as_str());
        }
        Counted::NumberRange(number) => {
            let digits = number.address().as_str();
            hash.update(digits.get(..digits.len().saturating_sub(4)).unwrap_or_default());
        }
        Counted::Country(calling_code) => hash.update(calling_code),
        Counted::Room(room_id) => hash.update(room_id.as_str()),
        // What counts accounts counts the clients of the legacy API too, and four octets may be a user ID.
        Counted::Client(address) => {
            hash.update("\0");
            match address {
                IpAddr::V4(address) => hash.update(address.octets()),
                IpAddr::V6(address) => hash.update(&address.octets()[..8]),
            }
        }
        Counted::Everyone => {}
    }
    hash.finalize().into()
}

/// Charges one event to all `buckets`, or to none if one of them is empty. Needs a transaction.
///
/// # Errors
/// [`StoreError`] if the database does.
pub async fn charge(conn: &mut Connection, buckets: &[Bucket], now: Timestamp) -> Result<Verdict, StoreError> {
    let mut states = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match bucket.limit.charge(rate_limits::find(conn, &bucket.subject).await?, now) {
            Charge::Allowed { state } => states.push((bucket, state)),
            Charge::Refused { retry_after } => {
                metrics::counter!("identity_rate_limited_total", "limit" => bucket.name).increment(1);
                return Ok(Verdict::Refused { retry_after });
            }
        }
    }
    for (bucket, state) in states {
        rate_limits::save(conn, &bucket.subject, state).await?;
    }
    Ok(Verdict::Allowed)
}

/// Takes one charge of `bucket` back.
///
/// # Errors
/// [`StoreError`] if the database does.
pub async fn give_back(conn: &mut Connection, bucket: &Bucket, now: Timestamp) -> Result<(), StoreError> {
    match rate_limits::find(conn, &bucket.subject).await? {
        Some(state) => rate_limits::save(conn, &bucket.subject, bucket.limit.give_back(state, now)).await,
        None => Ok(()),
    }
}

/// Charges a request to a homeserver of which `client` is the cause, before anything shows who the client is.
///
/// # Errors
/// [`StoreError`] if the database does.
pub async fn charge_for_question(
    store: &Store,
    limits: &Limits,
    client: IpAddr,
    now: Timestamp,
) -> Result<Verdict, StoreError> {
    if !limits.enabled {
        return Ok(Verdict::Allowed);
    }
    let bucket = Bucket::new("register_per_ip", limits.register_per_ip, Counted::Client(client));
    store.write(async move |conn| charge(conn, &[bucket], now).await).await
}

/// Whether `bucket` would allow one more event, without charging it.
///
/// # Errors
/// [`StoreError`] if the database does.
pub async fn peek(conn: &mut Connection, bucket: &Bucket, now: Timestamp) -> Result<Verdict, StoreError> {
    match bucket.limit.charge(rate_limits::find(conn, &bucket.subject).await?, now) {
        Charge::Allowed { .. } => Ok(Verdict::Allowed),
        Charge::Refused { retry_after } => {
            metrics::counter!("identity_rate_limited_total", "limit" => bucket.name).increment(1);
            Ok(Verdict::Refused { retry_after })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::config::HumanDuration;

    use super::{Bucket, Counted, Limit, Verdict, charge};
    use crate::domain::mxid::UserId;
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::store::testing::{self, START};

    const LIMIT: Limit = Limit::new(2, HumanDuration::from_secs(60));

    #[test]
    fn what_is_counted_apart_has_buckets_apart() {
        let alice = UserId::parse("@alice:hs").unwrap();
        let client = |text: &str| Bucket::new("x", LIMIT, Counted::Client(text.parse().unwrap())).subject;
        let account = |name| Bucket::new(name, LIMIT, Counted::Account(&alice)).subject;
        assert_ne!(account("x"), account("y"));
        assert_ne!(client("1.2.3.4"), client("1.2.3.5"));
        assert_eq!(client("2a00::1"), client("2a00::2"));
        assert_ne!(client("2a00::1"), client("2a00:0:0:1::1"));
        let range = |digits: &str| {
            let number = ThreePid::canonical(Medium::Msisdn, digits).unwrap();
            Bucket::new("x", LIMIT, Counted::NumberRange(&number)).subject
        };
        assert_eq!(range("447700900001"), range("447700909999"));
        assert_ne!(range("447700900001"), range("447700910001"));
        let octets = UserId::parse("@a:b").unwrap();
        assert_ne!(client("64.97.58.98"), Bucket::new("x", LIMIT, Counted::Account(&octets)).subject);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_event_is_charged_to_all_buckets_or_to_none() {
        for store in testing::stores().await {
            let tight = Bucket::new("tight", Limit::new(1, HumanDuration::from_secs(60)), Counted::Everyone);
            let wide = Bucket::new("wide", LIMIT, Counted::Everyone);
            let both = async |after: u64| {
                let now = START.plus(Duration::from_secs(after));
                store.write(async move |conn| charge(conn, &[wide, tight], now).await).await.unwrap()
            };
            assert_eq!(both(0).await, Verdict::Allowed);
            assert_eq!(both(0).await, Verdict::Refused { retry_after: Duration::from_secs(60) });
            // The refused event took nothing from the wide bucket.
            let wide_alone = store.write(async move |conn| charge(conn, &[wide], START).await).await.unwrap();
            assert_eq!(wide_alone, Verdict::Allowed);
            assert_eq!(both(60).await, Verdict::Allowed);
        }
    }
}
