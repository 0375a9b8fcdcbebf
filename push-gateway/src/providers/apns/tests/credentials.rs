//! Authentication to APNs: keys, tokens, certificates, and unusable settings.

use std::time::Duration;

use harness::apns::Fault;
use harness::certificates::Authority;
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shared::outbound::settings::Outbound;
use shared::secret::Secret;

use super::{QUICK, World, assert_delivered, deliver, deliver_all, mistake, outage, token};
use crate::providers::Provider;
use crate::providers::apns::Settings;
use crate::providers::outcome::{Failure, Outcome};

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// The `authorization` of each request for a device.
fn authorizations(world: &World, number: usize) -> Vec<String> {
    let requests = world.apple.requests_for(&token(number));
    requests.iter().map(|request| request.header("authorization").unwrap_or("none").to_owned()).collect()
}

#[tokio::test]
async fn all_apps_of_a_key_share_one_token_and_renew_it_in_time() {
    let world = World::new().await;
    let apps =
        [world.provider(), world.provider(), world.provider_with(|s| s.topic = String::from("org.other"), QUICK)];
    for (round, pause) in [0, 49, 2, 30, 60].into_iter().enumerate() {
        world.clock.advance(minutes(pause));
        for app in &apps {
            assert_delivered(&deliver_all(app, 0..20).await);
        }
        let expected = [1, 1, 2, 2, 3][round];
        assert_eq!(world.apple.provider_tokens(), expected, "round {round}");
    }
}

#[tokio::test]
async fn a_token_that_apns_reports_as_expired_is_renewed_once_if_it_is_old_enough() {
    let world = World::new().await;
    let provider = world.provider();
    world.apple.fault_times(&token(1), 1, Fault::error(403, "ExpiredProviderToken"));
    assert_eq!(mistake(&deliver(&provider, 1).await).0, "ExpiredProviderToken");
    assert_eq!(authorizations(&world, 1).len(), 1);

    world.clock.advance(minutes(20));
    world.apple.fault_times(&token(2), 1, Fault::error(403, "ExpiredProviderToken"));
    assert_eq!(deliver(&provider, 2).await, Outcome::Delivered);
    let tokens = authorizations(&world, 2);
    assert!(tokens.len() == 2 && tokens[0] != tokens[1]);

    world.clock.advance(minutes(20));
    world.apple.fault(&token(3), Fault::error(403, "ExpiredProviderToken"));
    assert_eq!(mistake(&deliver(&provider, 3).await).0, "ExpiredProviderToken");
    assert_eq!(authorizations(&world, 3).len(), 2);
}

#[tokio::test]
async fn after_too_many_tokens_the_current_one_stays_for_twenty_minutes() {
    let world = World::new().await;
    let provider = world.provider();
    assert_eq!(deliver(&provider, 1).await, Outcome::Delivered);
    world.clock.advance(minutes(45));
    world.apple.fault_times(&token(2), 1, Fault::error(429, "TooManyProviderTokenUpdates"));
    let refused =
        Outcome::from(Failure { is_rate_refused: true, ..Failure::upstream("TooManyProviderTokenUpdates", None) });
    assert_eq!(deliver(&provider, 2).await, refused);
    world.clock.advance(minutes(14));
    // 59 minutes old, and still the only one.
    assert_eq!(deliver(&provider, 2).await, Outcome::Delivered);
    assert_eq!(world.apple.provider_tokens(), 1);
    world.clock.advance(minutes(7));
    assert_eq!(deliver(&provider, 2).await, Outcome::Delivered);
    assert_eq!(world.apple.provider_tokens(), 2);
}

#[tokio::test]
async fn a_token_with_another_key_or_team_id_is_a_mistake_of_the_gateway() {
    let world = World::new().await;
    for (key_id, team_id) in
        [("KEY7654321", world.apple.team_id()), (&world.apple.key_id(), String::from("OTHER12345"))]
    {
        let provider = world.provider_with(
            |settings| (settings.key_id, settings.team_id) = (Some(key_id.to_owned()), Some(team_id.clone())),
            QUICK,
        );
        assert_eq!(mistake(&deliver(&provider, 1).await).0, "InvalidProviderToken");
    }
}

#[tokio::test]
async fn a_client_certificate_replaces_the_token() {
    let world = World::new().await;
    let clients = Authority::new("Apple's authority for developers");
    world.apple.ask_for_certificates(&clients);
    let pem = clients.issue_client_pem("org.example.app");
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap();
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let chain = PrivateKeyChain::new(
        "push",
        PrivateKey::from_der(key.secret_der()).unwrap(),
        [Certificate::from_der(&certificate).unwrap()],
    );
    let mut store = KeyStore::new();
    store.add_entry("push", KeyStoreEntry::PrivateKeyChain(chain));
    let pkcs12 = store.writer("sesame").write().unwrap();

    for (name, file, password) in [("client.pem", pem.into_bytes(), None), ("client.p12", pkcs12, Some("sesame"))] {
        let path = world.folder.path().join(name);
        std::fs::write(&path, file).unwrap();
        let settings = Settings {
            cert_file: Some(path),
            cert_password: password.map(|password| Secret::new(password.to_owned())),
            ..without_key(&world)
        };
        let provider = world.try_provider(&settings, &world.outbound(), QUICK).unwrap();
        assert_eq!(deliver(&provider, 1).await, Outcome::Delivered, "{name}");
        // The year 2999.
        assert!(provider.credential_validity().unwrap().end.as_millis() > 32_000_000_000_000);
        world.apple.fault_times(&token(1), 1, Fault::error(403, "ExpiredProviderToken"));
        assert_eq!(mistake(&deliver(&provider, 1).await).0, "ExpiredProviderToken");
    }
    assert!(authorizations(&world, 1).iter().all(|authorization| authorization == "none"));
    // With TLS 1.3 a client learns of the refusal only after its first request.
    let refused = deliver(&world.provider(), 2).await;
    let possible = ["connection_lost", "not_processed", "tls"].map(|reason| outage(reason, None));
    assert!(possible.contains(&refused), "{refused:?}");
    assert_eq!(world.apple.requests_for(&token(2)).len(), 0);
}

fn without_key(world: &World) -> Settings {
    Settings { key: None, key_id: None, team_id: None, ..world.settings() }
}

#[tokio::test]
async fn unusable_settings_are_refused_before_anything_is_sent() {
    let world = World::new().await;
    let refused = |settings: Settings, outbound: &Outbound| {
        world.try_provider(&settings, outbound, QUICK).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let file = world.folder.path().join("nonsense");
    std::fs::write(&file, "nonsense").unwrap();
    let outbound = world.outbound();
    for (settings, expected) in [
        (Settings { topic: String::new(), ..world.settings() }, "topic"),
        (without_key(&world), "key_file"),
        (Settings { cert_file: Some(file.clone()), ..world.settings() }, "either key_file"),
        (Settings { key_id: None, ..world.settings() }, "key_id and team_id"),
        (Settings { team_id: Some(String::new()), ..world.settings() }, "key_id and team_id"),
        (Settings { key: Some(Secret::new(String::from("x"))), ..world.settings() }, "key: its value is neither PEM"),
        (Settings { key_file: Some(file.clone()), ..world.settings() }, "key"),
        (Settings { cert_file: Some(file.clone()), ..without_key(&world) }, "nonsense is neither PEM"),
        (Settings { cert_file: Some(file.with_extension("gone")), ..without_key(&world) }, "cannot read"),
        (Settings { endpoint: Some(String::from("http://a.example")), ..world.settings() }, "endpoint: expected"),
        (
            Settings { sandbox_fallback: true, fallback_endpoint: Some(String::from("x")), ..world.settings() },
            "fallback_endpoint: expected",
        ),
    ] {
        let error = refused(settings, &outbound);
        assert!(error.contains(expected), "{error:?} does not say {expected}");
    }
    let error = refused(world.settings(), &Outbound { extra_ca_file: Some(file), ..Outbound::default() });
    assert!(error.contains("extra_ca_file"), "{error}");
    assert_eq!(world.apple.connections(), 0);
}
