//! Which certificates of homeservers are believed: those of a trusted authority, in their time, for the very name.
//!
//! Invariant: a server whose certificate is refused never sees the request, and thus no OpenID token.

use std::net::IpAddr;

use harness::certificates::{Authority, Certificate};
use harness::homeserver::Homeserver;

use super::{Outside, fresh_ip, registered, unreachable};

/// Certificates that a server called `host` must not be believed with, by what is wrong with them.
fn bad_certificates(authority: &Authority, host: &str) -> Vec<(&'static str, Certificate)> {
    vec![
        ("for another name", authority.issue(&["other.test"])),
        ("for a longer name", authority.issue(&[&format!("x.{host}")])),
        ("for an address alone", authority.issue(&["127.0.0.9"])),
        ("for no name", authority.issue(&[])),
        ("expired", authority.issue_expired(&[host])),
        ("not valid yet", authority.issue_early(&[host])),
        ("self-signed", Certificate::self_signed(&[host])),
        ("of an untrusted authority", Authority::new("another authority").issue(&[host])),
        ("of an authority that only bears the right name", Authority::new("the world's authority").issue(&[host])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_keeps_the_token_at_home_and_a_good_one_lets_it_out() {
    let world = Outside::open().await;
    let server = world.usual_homeserver("hs.test").await;
    for (n, (flaw, certificate)) in bad_certificates(&world.authority, "hs.test").into_iter().enumerate() {
        server.set_certificate(&certificate);
        let refusal = unreachable(&world.register(&server).await);
        assert!(refusal["error"].as_str().unwrap().contains("certificate"), "{flaw}: {refusal}");
        assert_eq!((server.requests().len(), server.connections()), (0, n + 1), "{flaw}");
    }
    assert_eq!(world.failures("tls").await, server.connections() as u64);
    server.set_certificate(&world.authority.issue(&["hs.test"]));
    registered(&world.register(&server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_covers_one_label() {
    let world = Outside::open().await;
    for (name, certified, is_covered) in [
        ("b.one.test", "*.one.test", true),
        ("a.b.two.test", "*.two.test", false),
        ("three.test", "*.three.test", false),
        ("a.b.four.test", "*.b.four.test", true),
        ("ab.five.test", "a*.five.test", false),
    ] {
        let server = world.usual_homeserver(name).await;
        server.set_certificate(&world.authority.issue(&[certified]));
        let answer = world.register(&server).await;
        if is_covered {
            registered(&answer);
        } else {
            unreachable(&answer);
        }
        assert_eq!(server.requests().len(), usize::from(is_covered), "{certified} for {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ip_literal_needs_a_certificate_for_that_address() {
    let world = Outside::open().await;
    let ip = fresh_ip();
    let server = world.homeserver(&ip.to_string(), ip, 8448).await;
    for certified in [fresh_ip().to_string(), "hs.test".to_owned()] {
        server.set_certificate(&world.authority.issue(&[&certified]));
        unreachable(&world.register(&server).await);
    }
    assert_eq!((server.requests().len(), server.connections()), (0, 2));
    server.set_certificate(&world.authority.issue(&[&ip.to_string()]));
    registered(&world.register(&server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_needs_a_certificate_for_the_server_and_not_for_its_target() {
    let world = Outside::open().await;
    let server = world.homeserver("hs.test", fresh_ip(), 0).await;
    world.dns.set_addresses("target.test", &[server.address().ip()]);
    world.dns.set_services("_matrix-fed._tcp.hs.test", &[(1, 1, server.address().port(), "target.test")]);
    server.set_certificate(&world.authority.issue(&["target.test"]));
    unreachable(&world.register(&server).await);
    assert_eq!(server.requests().len(), 0);
    server.set_certificate(&world.authority.issue(&["hs.test"]));
    registered(&world.register(&server).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_certificate_is_believed_only_where_the_operator_turned_verification_off() {
    let world = Outside::with("tls_verify = false", "").await;
    assert!(world.server.logs().contains("tls_verify"), "no warning at start:\n{}", world.server.logs());
    for (n, (flaw, certificate)) in bad_certificates(&world.authority, "hs.test").into_iter().enumerate() {
        let server = at(&world, &format!("hs{n}.test")).await;
        server.set_certificate(&certificate);
        let answer = world.register(&server).await;
        assert_eq!(answer.code(), 200, "{flaw}: {answer}");
    }
}

async fn at(world: &Outside, name: &str) -> Homeserver {
    let ip: IpAddr = fresh_ip();
    world.dns.set_addresses(name, &[ip]);
    world.homeserver(name, ip, 8448).await
}
