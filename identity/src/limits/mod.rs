//! Rate limits in token buckets, which all processes on one database share.
//!
//! Invariant: the buckets of one event are charged together or not at all.

mod charges;
pub mod lookup_quota;
pub mod sms_day;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::clock::Timestamp;
use shared::config::Globs;
use shared::rate_limit::{Charge, Limit};

use crate::config::limits::Limits;
use crate::domain::homeserver_group::homeserver_group;
use crate::domain::mxid::UserId;
use crate::domain::room_id::RoomId;
use crate::domain::server_name::ServerName;
use crate::domain::session::Session;
use crate::domain::threepid::ThreePid;
use crate::store::{Connection, Store, StoreError, rate_limits};

pub use charges::{ChargeDecision, Charges};
pub use lookup_quota::{LookupQuota, QuotaError};

/// An IPv6 /48 gets this many times the limit of a /64.
const SITE_FACTOR: u32 = 4;
/// A homeserver in `[limits] large_homeservers` gets this many times as much as another.
const LARGE_FACTOR: u32 = 100;

/// What a bucket counts the events of.
#[derive(Clone, Copy, Debug)]
pub enum LimitKey<'a> {
    /// An account that causes events.
    Account(&'a UserId),
    /// An address that receives messages.
    ThreePid(&'a ThreePid),
    /// The block of ten thousand numbers around a number, without its last four digits. Toll fraud uses whole blocks of
    /// numbers.
    NumberRange(&'a ThreePid),
    /// A calling code.
    Country(&'a str),
    /// A room, for the callers of one homeserver: a caller need not be a member.
    Room(&'a RoomId, Option<&'a ServerName>),
    /// A client address; for IPv6 its /64.
    Client(IpAddr),
    /// The /48 of a client's IPv6 address: one person may own all its /64.
    ClientSite(Ipv6Addr),
    /// A homeserver, with those of the same owner.
    Homeserver(&'a ServerName),
    /// A large homeserver, whose bucket smaller ones of the same owner do not share.
    LargeHomeserver(&'a ServerName),
    /// The account that started a session, for the number of the session. Without an account (legacy API) the sessions
    /// with the same client secret.
    Guesser(&'a Session),
    /// All events.
    Global,
}

/// The caller: an account, or a client address for the legacy API, which has no accounts.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The account.
    Account(UserId),
    /// The client address.
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

    /// The key of the caller's limits.
    pub fn limit_key(&self) -> LimitKey<'_> {
        match self {
            Self::Account(mxid) => LimitKey::Account(mxid),
            Self::Client(address) => LimitKey::Client(*address),
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

/// The decision on one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitDecision {
    /// Every bucket was charged.
    Allowed,
    /// One bucket is empty; none was charged.
    Limited {
        /// When the bucket allows the event.
        retry_after: Duration,
    },
}

impl RateLimitDecision {
    /// # Errors
    /// The time after which the caller may retry.
    pub fn into_result(self) -> Result<(), Duration> {
        match self {
            Self::Allowed => Ok(()),
            Self::Limited { retry_after } => Err(retry_after),
        }
    }
}

impl Bucket {
    /// The bucket of the limit `name` (its key under `[limits]`) for `key`.
    pub fn new(name: &'static str, limit: Limit, key: LimitKey<'_>) -> Self {
        Self { name, subject: subject(name, key), limit }
    }

    /// The buckets of a caller: an IPv6 client has one for its /64, and a larger one for its /48.
    pub fn of_caller(name: &'static str, limit: Limit, key: LimitKey<'_>) -> impl Iterator<Item = Self> {
        let site = match key {
            LimitKey::Client(IpAddr::V6(address)) => Some(LimitKey::ClientSite(address)),
            _ => None,
        };
        let site = site.map(|site| Self::new(name, limit.times(SITE_FACTOR), site));
        std::iter::once(Self::new(name, limit, key)).chain(site)
    }

    /// The bucket of a homeserver, larger if the operator lists it.
    pub fn of_homeserver(name: &'static str, limit: Limit, server: &ServerName, large: &Globs) -> Self {
        if is_large(server, large) {
            Self::new(name, limit.times(LARGE_FACTOR), LimitKey::LargeHomeserver(server))
        } else {
            Self::new(name, limit, LimitKey::Homeserver(server))
        }
    }
}

/// Whether the operator lists the homeserver in `[limits] large_homeservers`, with or without its port.
fn is_large(server: &ServerName, large: &Globs) -> bool {
    large.matches(server.host()) || large.matches(server.as_str())
}

/// The row key of a bucket: a digest, so that the table contains no address.
fn subject(name: &str, key: LimitKey<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(name);
    hash.update("\0");
    match key {
        LimitKey::Account(mxid) => hash.update(mxid.limit_form()),
        LimitKey::ThreePid(threepid) => {
            hash.update(threepid.medium().as_str());
            hash.update("\0");
            hash.update(threepid.limit_form().as_bytes());
        }
        LimitKey::NumberRange(number) => {
            let digits = number.limit_form();
            hash.update(digits.get(..digits.len().saturating_sub(4)).unwrap_or_default());
        }
        LimitKey::Country(calling_code) => hash.update(calling_code),
        LimitKey::Room(room_id, server) => {
            hash.update(room_id.as_str());
            hash.update("\0");
            hash.update(server.map(homeserver_group).unwrap_or_default());
        }
        // One limit may count accounts and client addresses. Four octets may equal a user ID; the separator prevents that.
        LimitKey::Client(address) => {
            hash.update("\0");
            match address {
                IpAddr::V4(address) => hash.update(address.octets()),
                IpAddr::V6(address) => hash.update(&address.octets()[..8]),
            }
        }
        LimitKey::ClientSite(address) => {
            hash.update("\0/48\0");
            hash.update(&address.octets()[..6]);
        }
        LimitKey::Homeserver(server) => hash.update(homeserver_group(server)),
        LimitKey::LargeHomeserver(server) => {
            hash.update("\0large\0");
            hash.update(homeserver_group(server));
        }
        LimitKey::Guesser(session) => {
            hash.update(session.threepid.address().as_str());
            hash.update("\0");
            match &session.account {
                Some(account) => hash.update(account.limit_form()),
                None => hash.update(session.client_secret.as_bytes()),
            }
        }
        LimitKey::Global => {}
    }
    hash.finalize().into()
}

/// Charges one event to all `buckets`, or to none if one of them is empty. Needs a transaction.
///
/// # Errors
/// [`StoreError`].
pub async fn charge(
    conn: &mut Connection,
    buckets: &[Bucket],
    now: Timestamp,
) -> Result<RateLimitDecision, StoreError> {
    let mut states = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match bucket.limit.charge(rate_limits::find(conn, &bucket.subject).await?, now) {
            Charge::Allowed { state } => states.push((bucket, state)),
            Charge::Refused { retry_after } => {
                metrics::counter!("identity_rate_limited_total", "limit" => bucket.name).increment(1);
                let (limit, retry_after_s) = (bucket.name, retry_after.as_secs_f64().ceil());
                tracing::info!(limit, retry_after_s, "rate limited; the key under [limits] sets the limit");
                return Ok(RateLimitDecision::Limited { retry_after });
            }
        }
    }
    for (bucket, state) in states {
        rate_limits::save(conn, &bucket.subject, state).await?;
    }
    Ok(RateLimitDecision::Allowed)
}

/// Returns one charge to `bucket`.
///
/// # Errors
/// [`StoreError`].
pub async fn give_back(conn: &mut Connection, bucket: &Bucket, now: Timestamp) -> Result<(), StoreError> {
    match rate_limits::find(conn, &bucket.subject).await? {
        Some(state) => rate_limits::save(conn, &bucket.subject, bucket.limit.give_back(state, now)).await,
        None => Ok(()),
    }
}

/// Charges an outbound request to a homeserver to the unauthenticated `client` that causes it.
///
/// # Errors
/// [`StoreError`].
pub async fn charge_homeserver_request(
    store: &Store,
    limits: &Limits,
    client: IpAddr,
    now: Timestamp,
) -> Result<RateLimitDecision, StoreError> {
    if !limits.enabled {
        return Ok(RateLimitDecision::Allowed);
    }
    let buckets: Vec<_> =
        Bucket::of_caller("register_per_ip", limits.register_per_ip, LimitKey::Client(client)).collect();
    store.write(async move |conn| charge(conn, &buckets, now).await).await
}

/// Decides on one more event without charging it.
///
/// # Errors
/// [`StoreError`].
pub async fn peek(conn: &mut Connection, bucket: &Bucket, now: Timestamp) -> Result<RateLimitDecision, StoreError> {
    match bucket.limit.charge(rate_limits::find(conn, &bucket.subject).await?, now) {
        Charge::Allowed { .. } => Ok(RateLimitDecision::Allowed),
        Charge::Refused { retry_after } => {
            metrics::counter!("identity_rate_limited_total", "limit" => bucket.name).increment(1);
            Ok(RateLimitDecision::Limited { retry_after })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::config::HumanDuration;

    use super::{Bucket, Globs, Limit, LimitKey, RateLimitDecision, RoomId, ServerName, charge};
    use crate::domain::mxid::UserId;
    use crate::domain::threepid::{Medium, ThreePid};
    use crate::store::testing::{self, START};

    const LIMIT: Limit = Limit::new(2, HumanDuration::from_secs(60));

    #[test]
    fn distinct_keys_have_distinct_buckets() {
        let alice = UserId::parse("@alice:hs").unwrap();
        let client = |text: &str| Bucket::new("x", LIMIT, LimitKey::Client(text.parse().unwrap())).subject;
        let account = |name| Bucket::new(name, LIMIT, LimitKey::Account(&alice)).subject;
        assert_ne!(account("x"), account("y"));
        assert_ne!(client("1.2.3.4"), client("1.2.3.5"));
        assert_eq!(client("2a00::1"), client("2a00::2"));
        assert_ne!(client("2a00::1"), client("2a00:0:0:1::1"));
        let range = |digits: &str| {
            let number = ThreePid::canonical(Medium::Msisdn, digits).unwrap();
            Bucket::new("x", LIMIT, LimitKey::NumberRange(&number)).subject
        };
        assert_eq!(range("447700900001"), range("447700909999"));
        assert_ne!(range("447700900001"), range("447700910001"));
        // Old and new forms of one subscriber in Argentina, Brazil, Gabon and Mexico.
        for (one, other) in [
            ("+5491123456789", "+541123456789"),
            ("+5511987654321", "+551187654321"),
            ("+24166123456", "24106123456"),
            ("+525541637145", "5215541637145"),
        ] {
            let of = |text: &str| {
                let number = ThreePid::canonical(Medium::Msisdn, text).unwrap();
                Bucket::new("x", LIMIT, LimitKey::ThreePid(&number)).subject
            };
            assert_eq!(of(one), of(other), "{one}");
        }
        let mail = |text: &str| {
            let address = ThreePid::canonical(Medium::Email, text).unwrap();
            Bucket::new("x", LIMIT, LimitKey::ThreePid(&address)).subject
        };
        for other in ["Vic.Tim+1@gmail.com", "victim@googlemail.com", "victim.@gmail.com"] {
            assert_eq!(mail("victim@gmail.com"), mail(other), "{other}");
        }
        assert_eq!(mail("victim+1@x.org"), mail("victim@X.org"));
        assert_ne!(mail("vic.tim@x.org"), mail("victim@x.org"));
        assert_ne!(mail("+1@x.org"), mail("+2@x.org"), "nothing would be left");
        let owner = |text: &str| Bucket::new("x", LIMIT, LimitKey::Account(&UserId::parse(text).unwrap())).subject;
        assert_eq!(owner("@z:HS.example"), owner("@z:hs.example"));
        assert_ne!(owner("@Z:hs.example"), owner("@z:hs.example"));
        let room = |server: &str| {
            let (room_id, server) = (RoomId::parse("!r:hs.example").unwrap(), ServerName::parse(server).unwrap());
            Bucket::new("x", LIMIT, LimitKey::Room(&room_id, Some(&server))).subject
        };
        assert_eq!(room("a.hs.example"), room("hs.example"));
        assert_ne!(room("hs.example"), room("stranger.example"));
        let of =
            |text: &str| Bucket::of_caller("x", LIMIT, LimitKey::Client(text.parse().unwrap())).collect::<Vec<_>>();
        assert_eq!((of("1.2.3.4").len(), of("2a00::1").len()), (1, 2));
        let site = of("2a00::1")[1];
        assert_eq!((site.subject, site.limit), (of("2a00:0:0:ffff::")[1].subject, LIMIT.times(4)));
        assert_ne!(site.subject, of("2a00:0:1::1")[1].subject);
        let homeserver = |name: &str| {
            let large = Globs::from(["big.example", "*.huge.example"]);
            let bucket = Bucket::of_homeserver("x", LIMIT, &ServerName::parse(name).unwrap(), &large);
            (bucket.subject, bucket.limit)
        };
        assert_eq!(homeserver("a.hs.example"), homeserver("b.hs.example:8448"));
        assert_ne!(homeserver("a.hs.example"), homeserver("a.other.example"));
        assert_eq!(homeserver("big.example:8448").1, LIMIT.times(100));
        assert_eq!(homeserver("a.huge.example").1, LIMIT.times(100));
        assert_eq!(homeserver("evil.big.example").1, LIMIT);
        assert_ne!(homeserver("big.example").0, homeserver("evil.big.example").0);
        let octets = UserId::parse("@a:b").unwrap();
        assert_ne!(client("64.97.58.98"), Bucket::new("x", LIMIT, LimitKey::Account(&octets)).subject);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_event_is_charged_to_all_buckets_or_to_none() {
        for store in testing::stores().await {
            let tight = Bucket::new("tight", Limit::new(1, HumanDuration::from_secs(60)), LimitKey::Global);
            let wide = Bucket::new("wide", LIMIT, LimitKey::Global);
            let both = async |after: u64| {
                let now = START.plus(Duration::from_secs(after));
                store.write(async move |conn| charge(conn, &[wide, tight], now).await).await.unwrap()
            };
            assert_eq!(both(0).await, RateLimitDecision::Allowed);
            assert_eq!(both(0).await, RateLimitDecision::Limited { retry_after: Duration::from_secs(60) });
            // The limited event did not charge the wide bucket.
            let wide_alone = store.write(async move |conn| charge(conn, &[wide], START).await).await.unwrap();
            assert_eq!(wide_alone, RateLimitDecision::Allowed);
            assert_eq!(both(60).await, RateLimitDecision::Allowed);
        }
    }
}
