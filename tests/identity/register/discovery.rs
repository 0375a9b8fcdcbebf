//! How the server finds homeservers (server-server API, "Resolving server names"), seen by whom it asks and as whom.
//!
//! Invariant: a homeserver that is found answers a registration; what it was asked as stands in its handshake and in
//! `Host`.

use harness::certificates::Certificate;
use harness::homeserver::Homeserver;

use super::{Outside, asked_as, delegation, fresh_ip, registered, unreachable};
use harness::world::identity::v2;

/// A handshake with this name, or none, and this `Host`.
fn as_(sni: Option<&str>, host: &str) -> Vec<(Option<String>, String)> {
    vec![(sni.map(str::to_owned), host.to_owned())]
}

/// A homeserver of users of `name`, with a certificate for `certified` alone.
async fn delegated(world: &Outside, name: &str, certified: &str, port: u16) -> Homeserver {
    let server = world.homeserver(name, fresh_ip(), port).await;
    server.set_certificate(&world.authority.issue(&[certified]));
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn step_1_an_ip_literal_is_used_as_it_is_with_its_port_or_8448() {
    let world = Outside::open().await;
    let ip = fresh_ip();
    let usual = world.homeserver(&ip.to_string(), ip, 8448).await;
    registered(&world.register(&usual).await);
    assert_eq!(asked_as(&usual), as_(None, &ip.to_string()));

    let other = world.homeserver(&ip.to_string(), ip, 0).await;
    let name = other.address().to_string();
    registered(&world.register_as(&name, &other).await);
    assert_eq!(asked_as(&other), as_(None, &name));
    assert_eq!(world.dns.all_questions(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn step_2_a_name_with_a_port_is_looked_up_without_well_known_and_srv() {
    let world = Outside::open().await;
    let web = world.well_known("hs.test", delegation("elsewhere.test")).await;
    let ip = web.address().ip();
    let server = world.homeserver("hs.test", ip, 0).await;
    let name = format!("hs.test:{}", server.address().port());
    registered(&world.register_as(&name, &server).await);
    assert_eq!(asked_as(&server), as_(Some("hs.test"), &name));
    assert_eq!(web.connections(), 0);
    let questions = world.dns.all_questions();
    assert!(questions.iter().all(|(name, kind)| name == "hs.test" && kind != "SRV"), "{questions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn step_3_well_known_delegates_to_an_ip_literal_a_port_a_service_or_8448() {
    let world = Outside::open().await;

    let ip = fresh_ip();
    for (origin, port) in [("ip.test", 8448), ("ip-port.test", 0)] {
        let server = world.homeserver(origin, ip, port).await;
        server.set_certificate(&world.authority.issue(&[&ip.to_string()]));
        let to = if port == 0 { server.address().to_string() } else { ip.to_string() };
        let web = world.well_known(origin, delegation(&to)).await;
        registered(&world.register(&server).await);
        assert_eq!(asked_as(&server), as_(None, &to), "{origin}");
        assert_eq!(web.requests().len(), 1, "{origin}");
    }

    let server = delegated(&world, "port.test", "matrix.port.test", 0).await;
    world.dns.set_addresses("matrix.port.test", &[server.address().ip()]);
    let to = format!("matrix.port.test:{}", server.address().port());
    let _web = world.well_known("port.test", delegation(&to)).await;
    registered(&world.register(&server).await);
    assert_eq!(asked_as(&server), as_(Some("matrix.port.test"), &to));

    for (origin, service) in [("new.test", "_matrix-fed._tcp"), ("old.test", "_matrix._tcp")] {
        let to = format!("matrix.{origin}");
        let server = delegated(&world, origin, &to, 0).await;
        let target = format!("target.{origin}");
        world.dns.set_addresses(&target, &[server.address().ip()]);
        world.dns.set_services(&format!("{service}.{to}"), &[(10, 0, server.address().port(), &target)]);
        let _web = world.well_known(origin, delegation(&to)).await;
        registered(&world.register(&server).await);
        assert_eq!(asked_as(&server), as_(Some(&to), &to), "{service}");
    }

    let server = delegated(&world, "plain.test", "matrix.plain.test", 8448).await;
    world.dns.set_addresses("matrix.plain.test", &[server.address().ip()]);
    let _web = world.well_known("plain.test", delegation("Matrix.Plain.test")).await;
    registered(&world.register(&server).await);
    assert_eq!(asked_as(&server), as_(Some("matrix.plain.test"), "matrix.plain.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delegation_is_not_followed_twice() {
    let world = Outside::open().await;
    let server = delegated(&world, "first.test", "second.test", 8448).await;
    let _first = world.well_known("first.test", delegation("second.test")).await;
    let second = world.well_known("second.test", delegation("third.test")).await;
    world.dns.set_addresses("second.test", &[server.address().ip()]);
    registered(&world.register(&server).await);
    assert_eq!(asked_as(&server), as_(Some("second.test"), "second.test"));
    assert_eq!(second.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_4_to_6_new_service_before_old_before_8448_all_under_the_original_name() {
    let world = Outside::open().await;
    let new = world.homeserver("hs.test", fresh_ip(), 0).await;
    let old = world.homeserver("hs.test", fresh_ip(), 0).await;
    let usual = world.usual_homeserver("hs.test").await;
    for (target, server) in [("new.target.test", &new), ("old.target.test", &old)] {
        world.dns.set_addresses(target, &[server.address().ip()]);
    }
    world.dns.set_services("_matrix-fed._tcp.hs.test", &[(10, 0, new.address().port(), "new.target.test")]);
    world.dns.set_services("_matrix._tcp.hs.test", &[(10, 0, old.address().port(), "old.target.test")]);

    // Each connection is closed after its answer, so that the next registration looks for the server again.
    let found_at = async |server: &Homeserver| {
        let body = serde_json::json!({ "sub": "@alice:hs.test" });
        server.fault("/", harness::homeserver::Fault::json(200, body).with_header("connection", "close"));
        registered(&world.register(server).await);
        assert_eq!(asked_as(server), as_(Some("hs.test"), "hs.test"));
    };
    found_at(&new).await;
    assert_eq!((old.connections(), usual.connections()), (0, 0));
    world.dns.remove("_matrix-fed._tcp.hs.test");
    found_at(&old).await;
    assert_eq!((new.connections(), usual.connections()), (1, 0));
    world.dns.remove("_matrix._tcp.hs.test");
    found_at(&usual).await;
    assert_eq!((new.connections(), old.connections()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_tried_by_priority_until_one_accepts() {
    let world = Outside::open().await;
    let good = world.homeserver("hs.test", fresh_ip(), 0).await;
    let spare = world.homeserver("hs.test", fresh_ip(), 0).await;
    world.dns.set_addresses("refusing.test", &[fresh_ip()]);
    world.dns.set_addresses("good.test", &[good.address().ip()]);
    world.dns.set_addresses("spare.test", &[spare.address().ip()]);
    world.dns.set_services(
        "_matrix-fed._tcp.hs.test",
        &[
            (40, 100, spare.address().port(), "spare.test"),
            (30, 0, good.address().port(), "good.test"),
            (20, 100, 8448, "refusing.test"),
            (10, 100, 8448, "nowhere.test"),
        ],
    );
    registered(&world.register(&good).await);
    assert_eq!((good.connections(), spare.connections()), (1, 0));
    assert!(world.dns.questions("nowhere.test") > 0 && world.dns.questions("refusing.test") > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_address_of_a_name_is_tried_when_the_first_refuses() {
    let world = Outside::open().await;
    let ip = fresh_ip();
    world.dns.set_addresses("hs.test", &["::1".parse().unwrap(), fresh_ip(), ip]);
    let server = world.homeserver("hs.test", ip, 8448).await;
    registered(&world.register(&server).await);
    assert_eq!(asked_as(&server), as_(Some("hs.test"), "hs.test"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_the_name_servers_do_not_know_cannot_be_reached() {
    let world = Outside::open().await;
    world.dns.set_failing("failing.test");
    world.dns.set_failing("_matrix-fed._tcp.half.test");
    let half = world.usual_homeserver("half.test").await;
    for name in ["missing.test", "failing.test", "half.test"] {
        unreachable(&world.register_at(name).await);
    }
    // The existence of a service is unknown: port 8448 might reach the wrong server.
    assert_eq!(half.connections(), 0);
    assert!(world.failures("dns").await >= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_replaces_resolution_and_keeps_the_name() {
    let ip = fresh_ip();
    let port = {
        let free = std::net::TcpListener::bind((ip, 0)).unwrap();
        free.local_addr().unwrap().port()
    };
    // Without allow_cidrs: overrides are exempt from the address guard.
    let federation = format!(
        "overrides.\"hs.test\" = \"{ip}:{port}\"\noverrides.\"hs.test:7\" = \"inside.test:{port}\"\n\
         overrides.\"9.9.9.9\" = \"{ip}:{port}\""
    );
    let world = Outside::with_outbound("", &federation, "").await;
    world.dns.set_addresses("inside.test", &[ip]);
    let server = world.homeserver("hs.test", ip, port).await;
    server.set_certificate(&world.authority.issue(&["hs.test", "9.9.9.9"]));
    for (name, sni) in [("HS.test", Some("hs.test")), ("hs.test:7", Some("hs.test")), ("9.9.9.9", None)] {
        registered(&world.register_as(name, &server).await);
        let seen = asked_as(&server).pop().unwrap();
        assert_eq!(vec![seen], as_(sni, &name.to_lowercase()), "{name}");
    }
    let questions = world.dns.all_questions();
    assert!(questions.iter().all(|(name, _)| name == "inside.test"), "{questions:?}");

    // The certificate has to be the name's, not that of the place.
    let other = Outside::with_outbound("", &federation, "").await;
    server.set_certificate(&other.authority.issue(&[&ip.to_string(), "inside.test"]));
    unreachable(&other.register_at("hs.test").await);
    server.set_certificate(&Certificate::self_signed(&["hs.test"]));
    unreachable(&other.register_at("hs.test").await);
    assert_eq!(other.failures("tls").await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_name_is_lower_cased_before_use_and_the_user_keeps_his() {
    let world = Outside::open().await;
    let server = world.usual_homeserver("hs.test").await;
    let token = registered(&world.register_as("HS.Test", &server).await);
    assert_eq!(asked_as(&server), as_(Some("hs.test"), "hs.test"));
    let account = world.api.get(&v2("/account")).bearer(&token).send().await.expect(200);
    assert_eq!(account["user_id"], "@alice:HS.Test");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_registration_causes_few_connections_however_many_targets_there_are() {
    let world = Outside::open().await;
    // Every address of 127/8 leads to this listener, which ends each connection before its handshake.
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a free port");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    let connections = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        }
    });
    for (name, addresses, expected) in [("one.test", 1, 8), ("four.test", 4, 4)] {
        let targets: Vec<String> = (0..12).map(|n| format!("t{n}.{name}")).collect();
        for target in &targets {
            let addresses: Vec<_> = (0..addresses).map(|_| fresh_ip()).collect();
            world.dns.set_addresses(target, &addresses);
        }
        // The same target twice counts once.
        let mut services: Vec<_> = targets.iter().map(|target| (10, 0, port, target.as_str())).collect();
        services.insert(0, services[0]);
        world.dns.set_services(&format!("_matrix-fed._tcp.{name}"), &services);
        unreachable(&world.register_at(name).await);
        assert_eq!(connections.swap(0, std::sync::atomic::Ordering::SeqCst), expected, "{name}");
    }
}
