//! Server discovery and the address filter with real sockets, TLS and DNS on the loopback network.
//!
//! Invariant: the code under test is the code that ships; only settings that an operator has too make it see this world.

mod keys;
mod refusals;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use shared::outbound::failure::Failure;
use shared::secret::Secret;

use self::world::{Seen, WELL_KNOWN_PORT, World, delegation, fresh_ip, get, http, json, redirect};
use crate::domain::server_name::ServerName;
use crate::homeserver::openid::{OpenidError, userinfo};

fn seen(sni: Option<&str>, host: &str) -> Vec<Seen> {
    vec![Seen {
        sni: sni.map(str::to_owned),
        line: String::from("GET /x?secret=hunter2 HTTP/1.1"),
        host: host.to_owned(),
    }]
}

#[tokio::test]
async fn step_1_an_ip_literal_is_used_as_it_is_with_its_port_or_8448() {
    let world = World::new().await;
    let ip = fresh_ip();
    let name = ip.to_string();
    let usual = world.serve(ip, 8448, &[&name], json("{}")).await;
    let other = world.serve(ip, 0, &[&name], json("{}")).await;
    let client = world.client(&world.settings());
    let with_port = other.address.to_string();
    assert_eq!(get(&client, &name).await.unwrap().status, 200);
    assert_eq!(get(&client, &with_port).await.unwrap().body, b"{}");
    assert_eq!(usual.seen(), seen(None, &name));
    assert_eq!(other.seen(), seen(None, &with_port));
    assert!(world.asked().is_empty(), "{:?}", world.asked());
}

#[tokio::test]
async fn step_2_a_name_with_a_port_is_looked_up_without_well_known_and_srv() {
    let world = World::new().await;
    let ip = fresh_ip();
    let server = world.serve(ip, 0, &["hs.test"], json("{}")).await;
    world.a("hs.test", ip);
    let name = format!("HS.test:{}", server.address.port());
    get(&world.client(&world.settings()), &name).await.unwrap();
    assert_eq!(server.seen(), seen(Some("hs.test"), &name.to_lowercase()));
    assert!(world.asked().iter().all(|question| question.starts_with("hs.test A")), "{:?}", world.asked());
}

#[tokio::test]
async fn step_3_well_known_delegates_to_an_ip_literal_to_a_port_to_srv_and_to_8448() {
    let world = World::new().await;
    let client = world.client(&world.settings());

    let ip = fresh_ip();
    let server = world.serve(ip, 8448, &[&ip.to_string()], json("{}")).await;
    let _file = world.well_known("ip.test", delegation(&ip.to_string())).await;
    get(&client, "ip.test").await.unwrap();
    assert_eq!(server.seen(), seen(None, &ip.to_string()));

    let ip = fresh_ip();
    let server = world.serve(ip, 0, &["matrix.port.test"], json("{}")).await;
    world.a("matrix.port.test", ip);
    let delegated = format!("matrix.port.test:{}", server.address.port());
    let _file = world.well_known("port.test", delegation(&delegated)).await;
    get(&client, "port.test").await.unwrap();
    assert_eq!(server.seen(), seen(Some("matrix.port.test"), &delegated));

    for service in ["_matrix-fed", "_matrix"] {
        let origin = format!("{}.test", service.trim_start_matches('_'));
        let delegated = format!("delegated.{origin}");
        let ip = fresh_ip();
        let server = world.serve(ip, 0, &[&delegated], json("{}")).await;
        let target = format!("target.{delegated}");
        world.srv(&format!("{service}._tcp.{delegated}"), 1, server.address.port(), &target);
        world.a(&target, ip);
        let _file = world.well_known(&origin, delegation(&delegated)).await;
        get(&client, &origin).await.unwrap();
        assert_eq!(server.seen(), seen(Some(&delegated), &delegated));
    }

    let ip = fresh_ip();
    let server = world.serve(ip, 8448, &["plain.delegated.test"], json("{}")).await;
    world.a("plain.delegated.test", ip);
    let _file = world.well_known("plain.test", delegation("Plain.Delegated.test")).await;
    get(&client, "plain.test").await.unwrap();
    assert_eq!(server.seen(), seen(Some("plain.delegated.test"), "plain.delegated.test"));
}

#[tokio::test]
async fn steps_4_to_6_srv_new_before_old_then_8448_all_under_the_original_name() {
    let world = World::new().await;
    let client = world.client(&world.settings());
    for (name, service) in [("new.test", "_matrix-fed._tcp.new.test"), ("old.test", "_matrix._tcp.old.test")] {
        let ip = fresh_ip();
        let server = world.serve(ip, 0, &[name], json("{}")).await;
        let target = format!("target.{name}");
        world.a(&target, ip);
        world.srv(service, 1, server.address.port(), &target);
        get(&client, name).await.unwrap();
        assert_eq!(server.seen(), seen(Some(name), name));
    }
    // A new record hides the old one, and both hide 8448.
    assert!(!world.asked().contains(&String::from("_matrix._tcp.new.test SRV")));
    let ip = fresh_ip();
    let server = world.serve(ip, 8448, &["bare.test"], json("{}")).await;
    world.a("bare.test", ip);
    get(&client, "bare.test").await.unwrap();
    assert_eq!(server.seen(), seen(Some("bare.test"), "bare.test"));
}

#[tokio::test]
async fn srv_targets_are_tried_by_priority_until_one_accepts() {
    let world = World::new().await;
    let (first, second, third) = (fresh_ip(), fresh_ip(), fresh_ip());
    let good = world.serve(second, 0, &["hs.test"], json("{}")).await;
    let spare = world.serve(third, 0, &["hs.test"], json("{}")).await;
    world.srv("_matrix-fed._tcp.hs.test", 30, spare.address.port(), "c.hs.test");
    world.srv("_matrix-fed._tcp.hs.test", 20, good.address.port(), "b.hs.test");
    world.srv("_matrix-fed._tcp.hs.test", 10, 8448, "a.hs.test");
    world.srv("_matrix-fed._tcp.hs.test", 5, 8448, "nowhere.hs.test");
    world.a("a.hs.test", first);
    world.a("b.hs.test", second);
    world.a("c.hs.test", third);
    get(&world.client(&world.settings()), "hs.test").await.unwrap();
    assert_eq!((good.seen().len(), spare.accepted()), (1, 0));
}

#[tokio::test]
async fn a_service_that_is_declared_absent_is_not_looked_for_elsewhere() {
    let world = World::new().await;
    let ip = fresh_ip();
    let server = world.serve(ip, 8448, &["hs.test"], json("{}")).await;
    world.a("hs.test", ip);
    world.srv("_matrix-fed._tcp.hs.test", 0, 0, "");
    assert_eq!(get(&world.client(&world.settings()), "hs.test").await, Err(Failure::Dns));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn an_override_replaces_resolution_and_keeps_the_name() {
    let world = World::new().await;
    let ip = fresh_ip();
    let server = world.serve(ip, 0, &["hs.test", "9.9.9.9"], json("{}")).await;
    let mut settings = world.settings();
    settings.outbound.allow_cidrs = Vec::new().into();
    let endpoint = |text: String| text.parse().unwrap();
    settings.federation.overrides = BTreeMap::from([
        (ServerName::parse("hs.test").unwrap(), endpoint(server.address.to_string())),
        (ServerName::parse("hs.test:7").unwrap(), endpoint(format!("inside.test:{}", server.address.port()))),
        (ServerName::parse("9.9.9.9").unwrap(), endpoint(server.address.to_string())),
    ]);
    world.a("inside.test", ip);
    let client = world.client(&settings);
    for name in ["hs.test", "hs.test:7", "9.9.9.9"] {
        get(&client, name).await.unwrap();
    }
    let seen: Vec<_> = server.seen().into_iter().map(|seen| (seen.sni, seen.host)).collect();
    let hs = Some(String::from("hs.test"));
    assert_eq!(seen, [(hs.clone(), "hs.test".into()), (hs, "hs.test:7".into()), (None, "9.9.9.9".into())]);
    assert!(world.asked().iter().all(|question| question.starts_with("inside.test A")), "{:?}", world.asked());
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let world = World::new().await;
    let ip = fresh_ip();
    let server = world.serve(ip, 0, &[&ip.to_string()], json("{}")).await;
    let client = world.client(&world.settings());
    for _ in 0..5 {
        get(&client, &server.address.to_string()).await.unwrap();
    }
    assert_eq!((server.accepted(), server.seen().len()), (1, 5));
}

#[tokio::test]
async fn five_redirects_to_the_well_known_file_are_followed_and_six_are_not() {
    let world = World::new().await;
    let ip = fresh_ip();
    let server = world.serve(ip, 0, &[&ip.to_string()], json("{}")).await;
    let mut hops = vec![world.well_known("r1.test", delegation(&server.address.to_string())).await];
    for hop in 2..=7 {
        let to = format!("https://r{}.test:{WELL_KNOWN_PORT}/{hop}", hop - 1);
        hops.push(world.well_known(&format!("r{hop}.test"), redirect(&to)).await);
    }
    let client = world.client(&world.settings());
    get(&client, "r6.test").await.unwrap();
    assert_eq!(hops[0].seen()[0].line, "GET /2 HTTP/1.1");
    assert_eq!(server.accepted(), 1);
    assert!(get(&client, "r7.test").await.is_err());
    assert_eq!((hops[0].seen().len(), hops[1].seen().len()), (1, 2));
}

#[tokio::test]
async fn a_flawed_well_known_file_is_the_same_as_none() {
    let world = World::new().await;
    let client = world.client(&world.settings());
    let large = format!("{{\"m.server\":\"9.9.9.9\",\"x\":\"{}\"}}", "x".repeat(51_200));
    for (n, reply) in [
        http("404 Not Found", "", "{\"m.server\":\"9.9.9.9\"}"),
        http("201 Created", "", "{\"m.server\":\"9.9.9.9\"}"),
        json("{\"m.server\":\"9.9.9.9/x\"}"),
        json("{\"m.server\":5}"),
        json("<html>"),
        redirect("http://9.9.9.9/"),
        json(&large),
    ]
    .into_iter()
    .enumerate()
    {
        let host = format!("flawed{n}.test");
        let ip = fresh_ip();
        world.a(&host, ip);
        let file = world.serve(ip, WELL_KNOWN_PORT, &[&host], reply).await;
        let server = world.serve(ip, 8448, &[&host], json("{}")).await;
        get(&client, &host).await.unwrap();
        assert_eq!((file.seen().len(), server.seen()), (1, seen(Some(&host), &host)));
    }
}

#[tokio::test]
async fn a_well_known_file_is_fetched_again_when_its_time_is_over() {
    let world = World::new().await;
    let ip = fresh_ip();
    let server = world.serve(ip, 0, &[&ip.to_string()], json("{}")).await;
    let to = format!("{{\"m.server\":\"{}\"}}", server.address);
    let usual = world.well_known("usual.test", json(&to)).await;
    let never = world.well_known("never.test", http("200 OK", "Cache-Control: no-store\r\n", &to)).await;
    let absent = world.well_known("absent.test", http("404 Not Found", "", "")).await;
    let client = world.client(&world.settings());
    let hour = Duration::from_secs(3600);
    let mut fetched = Vec::new();
    for wait in [Duration::ZERO, Duration::from_secs(59), Duration::from_secs(1), hour * 23 + hour / 2, hour / 2] {
        world.clock.advance(wait);
        get(&client, "usual.test").await.unwrap();
        get(&client, "never.test").await.unwrap();
        assert!(get(&client, "absent.test").await.is_err());
        fetched.push((usual.seen().len(), never.seen().len(), absent.seen().len()));
    }
    assert_eq!(fetched, [(1, 1, 1), (1, 2, 1), (1, 3, 2), (1, 4, 3), (2, 5, 4)]);
}

#[tokio::test]
async fn an_expired_delegation_stays_in_force_while_its_file_cannot_be_fetched_for_two_days_at_most() {
    let world = World::new().await;
    let ip = fresh_ip();
    let server = world.serve(ip, 0, &[&ip.to_string()], json("{}")).await;
    let file = world.well_known("good.test", delegation(&server.address.to_string())).await;
    let client = world.client(&world.settings());
    let hour = Duration::from_secs(3600);
    get(&client, "good.test").await.unwrap();
    file.fail();
    for wait in [hour * 25, hour * 22] {
        world.clock.advance(wait);
        get(&client, "good.test").await.unwrap();
    }
    world.clock.advance(hour * 2);
    assert!(get(&client, "good.test").await.is_err(), "the delegation is two days old");
}

#[tokio::test]
async fn an_absent_well_known_file_is_cached_longer_after_each_failure() {
    let world = World::new().await;
    let absent = world.well_known("absent.test", http("404 Not Found", "", "")).await;
    let client = world.client(&world.settings());
    let minute = Duration::from_secs(60);
    let millisecond = Duration::from_millis(1);
    assert!(get(&client, "absent.test").await.is_err());
    for (failures, minutes) in (1..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        world.clock.advance(minutes * minute - millisecond);
        assert!(get(&client, "absent.test").await.is_err());
        assert_eq!(absent.seen().len(), failures, "cached for less than {minutes} minutes");
        world.clock.advance(millisecond);
        assert!(get(&client, "absent.test").await.is_err());
        assert_eq!(absent.seen().len(), failures + 1, "cached for more than {minutes} minutes");
    }
}

#[tokio::test]
async fn an_openid_token_is_asked_about_in_percent_encoding() {
    let world = World::new().await;
    let ip = fresh_ip();
    world.a("hs.test", ip);
    let server = world.serve(ip, 8448, &["hs.test"], json("{\"sub\":\"@a:hs.test\"}")).await;
    let client = world.client(&world.settings());
    let name = ServerName::parse("hs.test").unwrap();
    let user = userinfo(&client, &Secret::new(String::from("t&x=1# é/")), &name).await.unwrap();
    assert_eq!(user.as_str(), "@a:hs.test");
    let path = "/_matrix/federation/v1/openid/userinfo?access_token=t%26x%3D1%23%20%C3%A9%2F";
    assert_eq!(server.seen()[0].line, format!("GET {path} HTTP/1.1"));

    let missing = ServerName::parse("missing.test").unwrap();
    let error = userinfo(&client, &Secret::new(String::from("hunter2")), &missing).await.unwrap_err();
    assert!(matches!(&error, OpenidError::Contact(contact) if contact.failure == Failure::Dns));
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}
