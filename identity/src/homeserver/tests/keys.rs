//! How long homeservers' keys are remembered and how often they are asked for, on a clock that is set by hand.
//!
//! Invariant: the homeserver is the one of the black-box tests, whose signatures the code under test has not made.

use std::time::Duration;

use harness::homeserver::{Fault, Homeserver, Key};
use shared::clock::Clock;
use shared::outbound::settings::Outbound;
use shared::random::Random;

use crate::config::federation::Federation;
use crate::domain::server_name::ServerName;
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::keys::{KeysError, ServerKeys};

const PATH: &str = "/_matrix/key/v2/server";
const HOUR: Duration = Duration::from_secs(3600);

struct Fixture {
    homeserver: Homeserver,
    clock: Clock,
    keys: ServerKeys,
    name: ServerName,
    _folder: tempfile::TempDir,
}

impl Fixture {
    async fn start() -> Self {
        let homeserver = Homeserver::start("hs.example").await;
        let folder = tempfile::tempdir().unwrap();
        let name = ServerName::parse("hs.example").unwrap();
        let endpoint = homeserver.address().to_string().parse().unwrap();
        let outbound =
            Outbound { extra_ca_file: Some(homeserver.authority().write_pem(folder.path())), ..Outbound::default() };
        let federation = Federation { overrides: [(name.clone(), endpoint)].into(), ..Federation::default() };
        let clock = Clock::manual(Clock::system().now());
        let client = HomeserverClient::new(&federation, &outbound, clock.clone(), Random).unwrap();
        Self { homeserver, keys: ServerKeys::new(client, clock.clone()), clock, name, _folder: folder }
    }

    /// Whether the homeserver's key with this id is known, asked for if need be.
    async fn has(&self, id: &str) -> Result<bool, KeysError> {
        self.keys.find(&self.name, &[id]).await.map(|keyring| keyring.find(id).is_some())
    }

    fn asked(&self) -> usize {
        self.homeserver.requests_to(PATH).len()
    }
}

#[tokio::test]
async fn keys_are_asked_for_once_in_their_life_and_that_is_a_week_at_most() {
    for (lifetime, remembered) in [(HOUR, HOUR), (30 * 24 * HOUR, 7 * 24 * HOUR)] {
        let fixture = Fixture::start().await;
        fixture.homeserver.set_key_lifetime(lifetime);
        assert_eq!(fixture.has("ed25519:a_1").await, Ok(true));
        // Some seconds of leeway: the homeserver's clock is not ours.
        fixture.clock.advance(remembered - Duration::from_secs(60));
        assert_eq!((fixture.has("ed25519:a_1").await, fixture.asked()), (Ok(true), 1));
        fixture.homeserver.set_key_lifetime(100 * 24 * HOUR);
        fixture.clock.advance(Duration::from_secs(120));
        assert_eq!((fixture.has("ed25519:a_1").await, fixture.asked()), (Ok(true), 2));
    }
}

#[tokio::test]
async fn keys_whose_life_is_over_are_gone_if_there_are_no_new_ones() {
    let fixture = Fixture::start().await;
    fixture.homeserver.set_key_lifetime(HOUR);
    assert_eq!(fixture.has("ed25519:a_1").await, Ok(true));
    fixture.clock.advance(2 * HOUR);
    assert!(fixture.has("ed25519:a_1").await.is_err(), "its answer is over before it comes");
    fixture.homeserver.fault(PATH, Fault::Close);
    assert!(matches!(fixture.has("ed25519:a_1").await, Err(KeysError::Contact(_))));
    assert_eq!(fixture.asked(), 3);
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_most_every_ten_seconds() {
    let fixture = Fixture::start().await;
    assert_eq!((fixture.has("ed25519:x").await, fixture.asked()), (Ok(false), 1));
    for expected in [2, 2, 2] {
        assert_eq!((fixture.has("ed25519:x").await, fixture.asked()), (Ok(false), expected));
    }
    fixture.homeserver.change_key(Key::new("ed25519:a_2"));
    fixture.clock.advance(Duration::from_millis(9_999));
    assert_eq!((fixture.has("ed25519:a_2").await, fixture.asked()), (Ok(false), 2));
    assert_eq!((fixture.has("ed25519:a_1").await, fixture.asked()), (Ok(true), 2));
    fixture.clock.advance(Duration::from_millis(1));
    assert_eq!((fixture.has("ed25519:a_2").await, fixture.asked()), (Ok(true), 3));
    assert_eq!((fixture.has("ed25519:a_1").await, fixture.asked()), (Ok(false), 3));
    // A question that brought nothing counts, and costs none of the keys that are known.
    fixture.clock.advance(Duration::from_secs(10));
    fixture.homeserver.fault(PATH, Fault::Close);
    assert!(fixture.has("ed25519:x").await.is_err());
    assert_eq!((fixture.has("ed25519:x").await, fixture.asked()), (Ok(false), 4));
    assert_eq!((fixture.has("ed25519:a_2").await, fixture.asked()), (Ok(true), 4));
}

#[tokio::test]
async fn a_failure_is_not_remembered() {
    let fixture = Fixture::start().await;
    fixture.homeserver.fault_times(PATH, 2, Fault::reply(503, ""));
    assert!(fixture.has("ed25519:a_1").await.is_err() && fixture.has("ed25519:a_1").await.is_err());
    assert_eq!((fixture.has("ed25519:a_1").await, fixture.asked()), (Ok(true), 3));
}

#[tokio::test]
async fn who_asks_at_the_same_time_shares_one_question() {
    let fixture = Fixture::start().await;
    let slow = fixture.homeserver.key_document().to_string();
    fixture.homeserver.fault_times(PATH, 1, Fault::drip(slow, Duration::from_millis(1)));
    let all = futures_util::future::join_all((0..20).map(|_| fixture.has("ed25519:a_1"))).await;
    assert!(all.iter().all(|found| *found == Ok(true)));
    assert_eq!(fixture.asked(), 1);
    fixture.homeserver.change_key(Key::new("ed25519:a_2"));
    let all = futures_util::future::join_all((0..20).map(|_| fixture.has("ed25519:a_2"))).await;
    assert!(all.iter().all(|found| *found == Ok(true)));
    assert_eq!(fixture.asked(), 2);
    // They share a failure too, instead of waiting for one after the other.
    fixture.clock.advance(8 * 24 * HOUR);
    fixture.homeserver.fault(PATH, Fault::drip("not JSON, but slow to come", Duration::from_millis(5)));
    let all = futures_util::future::join_all((0..20).map(|_| fixture.has("ed25519:a_2"))).await;
    assert!(all.iter().all(Result::is_err));
    assert_eq!(fixture.asked(), 3);
}

#[tokio::test]
async fn waiting_callers_get_the_keys_after_the_first_caller_disconnects() {
    let fixture = Fixture::start().await;
    fixture.homeserver.fault_times(PATH, 1, Fault::Silence);
    let first = tokio::time::timeout(Duration::from_millis(300), fixture.has("ed25519:a_1"));
    let (first, second) = futures_util::future::join(first, fixture.has("ed25519:a_1")).await;
    assert!(first.is_err(), "it has left");
    assert_eq!((second, fixture.asked()), (Ok(true), 2));
}
