//! Endpoints that must not be connected to, over real sockets.
//!
//! Invariant: a name that leads to a private address is no proof against the pushkey: the homeserver keeps the event.

use std::net::IpAddr;

use harness::dns::Dns;
use harness::push_service::{PushService, VAPID};
use harness::world::push::{World, endpoint_app, ids, with};
use serde_json::{Value, json};

use super::{BELIEVING, UNIFIED, WEB};

/// Hosts of URLs that can never be endpoints, each with any port and path.
const HOSTS: [&str; 46] = [
    "127.0.0.1",
    "127.1",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "2130706433",
    "127.0.0.1.",
    "①②⑦.0.0.1",
    "127.0.0.2",
    "0.0.0.0",
    "0",
    "10.0.0.1",
    "167772161",
    "100.64.0.1",
    "169.254.169.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "[::1]",
    "[::]",
    "[::ffff:10.0.0.1]",
    "[::ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[2002:a00:1::]",
    "[64:ff9b::a00:1]",
    "[64:ff9b:1::1]",
    "[2001::1]",
    "[2001:db8::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[ff02::1]",
    "localhost",
    "LOCALHOST.",
    "a.localhost",
    "metadata.google.internal",
    "printer.local",
];

/// URLs that can never be endpoints; `PORT` is that of a listening server.
const URLS: [&str; 20] = [
    "http://127.0.0.1:PORT/x",
    "http://push.example.net/x",
    "ftp://push.example.net/x",
    "notaurl",
    "unix://x",
    "file:///etc/passwd",
    "gopher://127.0.0.1:PORT/",
    "https://u@127.0.0.1:PORT/",
    "https://u:p@push.example.net/",
    "https://push.example.net:25/",
    "https://push.example.net:22/",
    "https://push.example.net:0/",
    "https://push.example.net:99999/",
    "https://intranet:PORT/",
    "https://nas.home.arpa:PORT/",
    "https://[::1:PORT/",
    "https://127.0.0.1:PORT\\@push.example.net/",
    "https://127.0.0.1:PORT/#@push.example.net",
    "https://push.example.net\n.evil/",
    "https://",
];

/// A gateway that asks `dns`, may reach no private address, and trusts the push service.
async fn world(keys: &str, dns: &Dns) -> (World, PushService) {
    let web = format!("{VAPID}{keys}");
    let apps = [endpoint_app("webpush", WEB, &web), endpoint_app("unifiedpush", UNIFIED, keys)];
    let tables = format!("{BELIEVING}[endpoints]\ndns_servers = [\"{}\"]\n", dns.address());
    let gateway = World::serving("", &tables, &apps).await;
    let names = ["rebinding.example.net", "private.example.net", "mixed.example.net"];
    let service = PushService::start(gateway.google.authority(), &names).await;
    (gateway, service)
}

/// The two devices that name this endpoint.
fn devices(service: &PushService, endpoint: &str) -> [Value; 2] {
    let mut browser = service.browser(WEB);
    browser["data"]["endpoint"] = json!(endpoint);
    [browser, json!({ "app_id": UNIFIED, "pushkey": endpoint })]
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_endpoints_are_rejected_without_a_connection() {
    let dns = Dns::start().await;
    let (gateway, service) = world("", &dns).await;
    let port = service.address().port();
    let with_host = HOSTS.iter().map(|host| format!("https://{host}:{port}/push/x"));
    let urls = URLS.iter().map(|url| url.replace("PORT", &port.to_string()));
    let endpoints: Vec<String> = with_host.chain(urls).collect();
    assert!(endpoints.len() >= 60);
    for endpoint in endpoints {
        for device in devices(&service, &endpoint) {
            let answer = gateway.notify(&with(ids(), json!({ "devices": [device] }))).await;
            assert_eq!(answer.expect(200)["rejected"], json!([device["pushkey"]]), "{endpoint}");
        }
    }
    assert_eq!((service.connections(), dns.all_questions()), (0, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_to_a_private_address_now_or_later_is_not_connected_to_and_not_rejected() {
    let dns = Dns::start().await;
    let (gateway, service) = world("", &dns).await;
    let (private, public): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [192, 0, 1, 1].into());
    dns.set_addresses("private.example.net", &[private]);
    dns.set_addresses("mixed.example.net", &[public, private]);
    dns.set_alias("alias.example.net", "private.example.net");
    dns.set_failing("failing.example.net");
    dns.set_addresses_in_turn("rebinding.example.net", &[&[private], &[public], &[private]]);
    let port = service.address().port();
    let names =
        ["private.example.net", "mixed.example.net", "alias.example.net", "failing.example.net", "missing.example.net"];
    for name in names.into_iter().chain(["rebinding.example.net"]) {
        for device in devices(&service, &format!("https://{name}:{port}/push/x")) {
            let answer = gateway.notify(&with(ids(), json!({ "devices": [device] }))).await;
            assert_eq!(answer.code(), 502, "{name}: {answer}");
        }
    }
    // A name is asked for once in a minute, so that the second look-up of an attack never happens.
    assert_eq!(
        dns.all_questions().iter().filter(|(name, kind)| name == "rebinding.example.net" && kind == "A").count(),
        1
    );
    assert_eq!(service.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unusual_port_is_rejected_unless_the_name_leads_to_an_allowed_network() {
    let dns = Dns::start().await;
    let tables = format!("{BELIEVING}[endpoints]\ndns_servers = [\"{}\"]\n", dns.address());
    let (gateway, service) = super::world_with("", &tables).await;
    dns.set_addresses("public.example.net", &[[192, 0, 1, 1].into()]);
    dns.set_failing("failing.example.net");
    for (name, code) in [("missing.example.net", 200), ("public.example.net", 200), ("failing.example.net", 502)] {
        for device in devices(&service, &format!("https://{name}:25/push/x")) {
            let answer = gateway.notify(&with(ids(), json!({ "devices": [device] }))).await;
            assert_eq!(answer.code(), code, "{name}: {answer}");
            if code == 200 {
                assert_eq!(answer.expect(200)["rejected"], json!([device["pushkey"]]), "{name}");
            }
        }
    }
    assert_eq!(service.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parsed_host_decides_whether_the_list_allows_an_endpoint() {
    let dns = Dns::start().await;
    let (gateway, service) = world("allowed_endpoints = [\"*.notify.windows.com\"]\n", &dns).await;
    for endpoint in [
        "https://evil.example\\@x.notify.windows.com/",
        "https://evil.example/#@x.notify.windows.com",
        "https://x.notify.windows.com:8443/",
        "https://x.notify.windows.com.evil.example/",
    ] {
        for device in devices(&service, endpoint) {
            gateway.deliver(ids(), &device).await;
        }
    }
    assert_eq!(dns.all_questions(), Vec::new());
    for device in devices(&service, "https://X.NOTIFY.WINDOWS.COM./w") {
        let answer = gateway.notify(&with(ids(), json!({ "devices": [device] }))).await;
        assert_eq!(answer.code(), 502, "allowed, but without an address: {answer}");
    }
    assert!(dns.questions("x.notify.windows.com") > 0);
}
