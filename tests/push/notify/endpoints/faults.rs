//! Push servers that hang, break off, have an expired certificate, or are the gateway itself.
//!
//! Invariant: no pushkey is rejected for a fault of the network.

use std::time::{Duration, Instant};

use harness::api::Api;
use harness::dns::Dns;
use harness::process::Server;
use harness::proxy::Proxy;
use harness::push_service::{ALLOW, Fault, PushService};
use harness::wait::wait_until;
use harness::world::push::{DEADLINE, NOTIFY, World, endpoint_app, ids, with};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{BELIEVING, UNIFIED, WEB, world, world_with};

fn event(id: &str, device: &Value) -> Value {
    with(ids(), json!({ "event_id": id, "devices": [device] }))
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang_delay_no_other_and_keep_their_events() {
    let (gateway, service) = world().await;
    let hung: Vec<Value> = (0..4).flat_map(|_| [service.phone(UNIFIED), service.browser(WEB)]).collect();
    let mut waiting = JoinSet::new();
    for device in &hung {
        service.fault(device, None, Fault::Silence);
        waiting.spawn(gateway.api.post(NOTIFY, json!({ "notification": event("$hung", device) })).send());
    }
    wait_until("the first attempts", DEADLINE, || hung.iter().all(|device| !service.requests_for(device).is_empty()))
        .await;
    for number in 0..20 {
        let began = Instant::now();
        gateway.deliver(with(ids(), json!({ "event_id": format!("${number}") })), &service.phone(UNIFIED)).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    }
    assert!(waiting.try_join_next().is_none(), "a push to a silent server was answered before the others");
    while let Some(answer) = waiting.join_next().await {
        answer.expect("an answer").refused(502, "M_UNKNOWN");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_or_foreign_certificate_is_an_outage() {
    let (gateway, _service) = world().await;
    let authority = gateway.google.authority();
    let foreign = harness::certificates::Certificate::self_signed(&["127.0.0.1"]);
    for certificate in [authority.issue_expired(&["127.0.0.1"]), authority.issue(&["other.example"]), foreign] {
        let service = PushService::start(authority, &[]).await;
        let devices = [service.phone(UNIFIED), service.browser(WEB)];
        service.set_certificate(&certificate);
        for device in &devices {
            gateway.notify(&event("$event", device)).await.refused(502, "M_UNKNOWN");
        }
        assert!(service.requests().is_empty());
        service.set_certificate(&authority.issue(&["127.0.0.1"]));
        for device in &devices {
            gateway.deliver(ids(), device).await;
        }
    }
}

/// A push server over plain HTTP that answers with the first bytes of a response, as many as the path names: `/<status>/<n>`.
async fn cutting_server() -> (String, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = Vec::new();
                while !request.ends_with(b"}") {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let text = String::from_utf8_lossy(&request).into_owned();
                let mut path = text.split(' ').nth(1).unwrap_or_default().split('/').skip(1);
                let status = path.next().unwrap_or_default().to_owned();
                let length = path.next().and_then(|length| length.parse().ok()).unwrap_or(0);
                let response = response(&status);
                let end = response.len().min(length);
                drop(stream.write_all(&response.as_bytes()[..end]).await);
                drop(stream.shutdown().await);
            });
        }
    });
    (origin, task)
}

fn response(status: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nTTL: 60\r\nContent-Length: 8\r\n\r\n{{\"a\":1}}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_at_any_byte_decides_only_with_its_whole_head() {
    let apps = [endpoint_app("unifiedpush", UNIFIED, "allow_http = true\n")];
    let gateway = World::serving("", &format!("{ALLOW}{BELIEVING}"), &apps).await;
    let service = PushService::start(gateway.google.authority(), &[]).await;
    let (origin, server) = cutting_server().await;
    for (status, rejected) in [("201", false), ("410", true)] {
        let whole = response(status);
        let head = whole.find("\r\n\r\n").expect("a head") + 4;
        for length in 0..=whole.len() {
            let device = json!({ "app_id": UNIFIED, "pushkey": format!("{origin}/{status}/{length}") });
            let answer = gateway.notify(&event("$event", &device)).await;
            let expected = if length < head { 502 } else { 200 };
            assert_eq!(answer.code(), expected, "{status} cut after {length} of {}", whole.len());
            if expected == 200 {
                let keys = if rejected { json!([device["pushkey"]]) } else { json!([]) };
                assert_eq!(answer.json()["rejected"], keys, "{status} cut after {length}");
            }
            // One success keeps the circuit of the host closed.
            gateway.deliver(ids(), &service.phone(UNIFIED)).await;
        }
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_as_its_own_endpoint_refuses_the_message_once() {
    let apps = [endpoint_app("unifiedpush", UNIFIED, "allow_http = true\n")];
    let gateway = World::serving("", &format!("{ALLOW}{BELIEVING}"), &apps).await;
    let own = json!({ "app_id": UNIFIED, "pushkey": format!("{}{NOTIFY}", gateway.server.url()) });
    gateway.notify(&event("$event", &own)).await.refused(502, "M_UNKNOWN");
    let metrics = Api::new(&gateway.server.admin_url()).get("/metrics").send().await.text();
    assert!(metrics.contains("push_requests_total{code=\"400\"} 1\n"), "{metrics}");
    // Without the allowance its address is private.
    let guarded = World::serving("", BELIEVING, &apps).await;
    let own = json!({ "app_id": UNIFIED, "pushkey": format!("{}{NOTIFY}", guarded.server.url()) });
    let answer = guarded.notify(&event("$event", &own)).await;
    assert_eq!(answer.expect(200)["rejected"], json!([own["pushkey"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_payload_is_no_part_of_a_unifiedpush_message() {
    let (gateway, service) = world().await;
    let mut phone = service.phone(UNIFIED);
    phone["data"] = json!({ "default_payload": { "cs": "secret", "large": "y".repeat(300_000) } });
    let sent = with(ids(), json!({ "counts": { "unread": 1 } }));
    gateway.deliver(sent.clone(), &phone).await;
    assert_eq!(service.messages_for(&phone), [json!({ "notification": sent })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_reached_through_the_proxy_after_their_address_was_checked() {
    let dns = Dns::start().await;
    dns.set_addresses("push.example.net", &[[127, 0, 0, 1].into()]);
    dns.set_addresses("private.example.net", &[[10, 0, 0, 1].into()]);
    let (mut gateway, _) =
        world_with("", &format!("{BELIEVING}[endpoints]\ndns_servers = [\"{}\"]\n", dns.address())).await;
    let authority = gateway.google.authority();
    let proxy = Proxy::start(&authority.issue(&["127.0.0.1"])).await;
    let service = PushService::start(authority, &["push.example.net"]).await;
    let line = format!("proxy = \"https://{}\"\n{ALLOW}", proxy.address());
    gateway.restart_with(|config| config.replace(ALLOW, &line)).await;
    let (phone, browser) = (service.phone(UNIFIED), service.browser(WEB));
    for device in [&phone, &browser] {
        gateway.deliver(ids(), device).await;
    }
    assert_eq!([&phone, &browser].map(|device| service.messages_for(device).len()), [1, 1]);
    let tunnels = proxy.tunnels_to(service.address());
    assert!(tunnels > 0, "{:?}", proxy.requests());
    let named = |name: &str| {
        let url = phone["pushkey"].as_str().expect("a URL").replace("127.0.0.1", name);
        json!({ "app_id": UNIFIED, "pushkey": url })
    };
    gateway.deliver(ids(), &named("push.example.net")).await;
    assert_eq!(proxy.tunnels_to(service.address()), tunnels + 1, "CONNECT names the checked address");
    gateway.notify(&event("$event", &named("private.example.net"))).await.refused(502, "M_UNKNOWN");
    assert!(!proxy.requests().iter().any(|head| head.contains("example.net") || head.contains("10.0.0.1")));
}

async fn ready(server: &Server) -> String {
    Api::new(&server.admin_url()).get("/ready").send().await.expect(200)["notes"].to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn open_circuits_of_hosts_are_notes_and_a_gauge() {
    let (gateway, service) = world().await;
    let gauge = async || {
        let text = Api::new(&gateway.server.admin_url()).get("/metrics").send().await.text();
        let start = format!("push_breaker_open{{app=\"{UNIFIED}\",kind=\"endpoint_circuit\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).map(str::to_owned)
    };
    assert_eq!(gauge().await.as_deref(), Some("0"));
    for number in 0..4 {
        let dead = json!({ "app_id": UNIFIED, "pushkey": "https://127.0.0.2:1/up" });
        gateway.notify(&event(&format!("${number}"), &dead)).await.refused(502, "M_UNKNOWN");
    }
    let notes = ready(&gateway.server).await;
    assert!(notes.contains("push server 127.0.0.2: its circuit breaker is open"), "{notes}");
    assert_eq!(gauge().await.as_deref(), Some("1"));
    let metrics = Api::new(&gateway.server.admin_url()).get("/metrics").send().await.text();
    assert!(!metrics.contains("127.0.0.2"), "a host is no label");
    gateway.deliver(ids(), &service.phone(UNIFIED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_allowed_is_logged_once() {
    let apps = [endpoint_app("unifiedpush", UNIFIED, "allowed_endpoints = [\"push.example.net\"]\n")];
    let gateway = World::serving("", BELIEVING, &apps).await;
    for (number, host) in ["a.example.org", "b.example.org", "a.example.org", "A.example.org"].iter().enumerate() {
        let device = json!({ "app_id": UNIFIED, "pushkey": format!("https://{host}/up{number}") });
        gateway.deliver(ids(), &device).await;
    }
    let logs = gateway.server.logs();
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains("push server that is not allowed")).collect();
    let of = |host: &str| lines.iter().filter(|line| line.contains(host) && line.contains("WARN")).count();
    assert_eq!((lines.len(), of("a.example.org"), of("b.example.org")), (2, 1, 1), "{logs}");
    assert!(lines[0].contains("allowed_endpoints") && !logs.contains("/up"), "{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn test_push_sends_to_endpoints_too() {
    let (gateway, service) = world().await;
    let run = async |app: &str, pushkey: &str, data: &Value| {
        let data = data.to_string();
        let arguments = ["test-push", "--app", app, "--pushkey", pushkey, "--data", &data];
        let output = gateway.server.run(&arguments).await;
        let text = [&*output.stdout, &*output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (phone, browser) = (service.phone(UNIFIED), service.browser(WEB));
    let (code, text) = run(UNIFIED, phone["pushkey"].as_str().expect("a URL"), &json!({})).await;
    assert!(code == Some(0) && text.contains("(unifiedpush)") && text.contains("delivered"), "{text}");
    let sent = service.messages_for(&phone).remove(0);
    assert_eq!(sent["notification"]["content"]["body"], "This is a test");
    let (code, text) = run(WEB, browser["pushkey"].as_str().expect("a key"), &browser["data"]).await;
    assert!(code == Some(0) && text.contains("(webpush)") && text.contains("delivered"), "{text}");
    assert_eq!(service.messages_for(&browser)[0]["content"]["body"], "This is a test");
    for (app, pushkey, expected) in [
        (UNIFIED, "https://127.0.0.1:1/up", "failed ("),
        (UNIFIED, "http://127.0.0.1:1/up", "rejected (invalid_endpoint)"),
        (WEB, "{}", "rejected (invalid_subscription)"),
    ] {
        let (code, text) = run(app, pushkey, &json!({})).await;
        assert!(code == Some(1) && text.contains(expected) && text.contains("what to do"), "{text}");
    }
}
