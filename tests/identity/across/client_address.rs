//! The client address that a limit counts: the peer, or the address that a trusted proxy sends; and the TLS listener.
//!
//! Invariant: the limit that is exceeded shows which address the server used.

use harness::api::{Answer, Api};
use harness::binary;
use harness::certificates::Authority;
use harness::process::{Server, new_folder};
use serde_json::json;

use harness::world::identity::{DEADLINE, Settings, World, v2};

/// Two registrations an hour from one address, and trusted proxies on 127.0.0.1 and in 10.0.0.0/8.
const TWO_EACH: &str = "[limits]\nregister_per_ip = { burst = 2, every = \"1h\" }\n";

/// One attempt to register, with an unknown OpenID token: 401 if the server sent a request to the homeserver.
async fn register(world: &World, forwarded_for: &[&str]) -> Answer {
    let body = json!({"access_token": "unknown", "matrix_server_name": "hs.example"});
    let call = world.api.post(&v2("/account/register"), body);
    forwarded_for.iter().fold(call, |call, line| call.header("x-forwarded-for", line)).send().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_not_trusted_cannot_choose_its_address() {
    let world = World::with(Settings { tables: TWO_EACH, ..Settings::default() }).await;
    register(&world, &["1.1.1.1"]).await.refused(401, "M_UNAUTHORIZED");
    register(&world, &["2.2.2.2, 127.0.0.1"]).await.refused(401, "M_UNAUTHORIZED");
    let refused = register(&world, &["3.3.3.3"]).await;
    let body = refused.refused(429, "M_LIMIT_EXCEEDED");
    assert_eq!(body["error"], "Too many requests");
    let milliseconds = body["retry_after_ms"].as_u64().unwrap();
    assert!((1..=3_600_000).contains(&milliseconds), "{refused}");
    let seconds = milliseconds.div_ceil(1000).to_string();
    assert_eq!(refused.header("retry-after"), Some(seconds.as_str()));
    register(&world, &[]).await.refused(429, "M_LIMIT_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_forwarded_request_of_a_proxy_that_is_not_listed_gives_one_warning() {
    const WARNING: &str = "add its address to [http] trusted_proxies";
    let one_process = Some("the warnings of a process");
    let world = World::with(Settings { one_process, ..Settings::default() }).await;
    world.api.get("/_matrix/identity/versions").send().await.expect(200);
    assert!(!world.server.logs().contains(WARNING), "{}", world.server.logs());
    for _ in 0..3 {
        let call = world.api.get("/_matrix/identity/versions").header("x-forwarded-for", "1.1.1.1");
        call.send().await.expect(200);
    }
    harness::wait::wait_until("the warning", DEADLINE, || world.server.logs().contains(WARNING)).await;
    let logs = world.server.logs();
    let lines: Vec<&str> = logs.lines().filter(|line| line.contains(WARNING)).collect();
    assert!(lines.len() == 1 && lines[0].contains("WARN") && lines[0].contains("peer=127.0.0.1"), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_is_believed_from_the_right_up_to_the_first_stranger() {
    let settings = Settings {
        http: "trusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\", \"2001:db8::/32\"]",
        tables: TWO_EACH,
        ..Settings::default()
    };
    let world = World::with(settings).await;
    // Each row: the same client twice, however its address is sent; then its limit is exceeded.
    for (first, second, third) in [
        (&["1.1.1.1"][..], &["1.1.1.1"][..], &["1.1.1.1"][..]),
        (&["9.9.9.9, 1.1.1.2"], &["8.8.8.8, 1.1.1.2, 10.0.0.7"], &["1.1.1.2"]),
        (&["7.7.7.7", "1.1.1.3, 10.1.1.1"], &["1.1.1.3", "10.0.0.1,10.0.0.2"], &["1.1.1.3:4711"]),
        (&["2a00::1"], &["[2a00::1]:443"], &["2a00:0:0::1, 2001:db8::5"]),
        (&["::ffff:1.1.1.4"], &["1.1.1.4"], &["5.5.5.5,::ffff:1.1.1.4 , ::ffff:10.0.0.1"]),
        // Without a usable address the peer is the client.
        (&[], &[""], &["not an address"]),
    ] {
        register(&world, first).await.refused(401, "M_UNAUTHORIZED");
        register(&world, second).await.refused(401, "M_UNAUTHORIZED");
        register(&world, third).await.refused(429, "M_LIMIT_EXCEEDED");
    }
    register(&world, &["1.1.1.5"]).await.refused(401, "M_UNAUTHORIZED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_with_a_certificate_speaks_tls_and_nothing_else() {
    let (folder, authority) = (new_folder(), Authority::new("the operator's authority"));
    let (certificate, key) = authority.issue(&["127.0.0.1", "id.example"]).write_pem(folder.path());
    let config = format!(
        "[server]\ndata_dir = \"data\"\n[http]\nbind = \"127.0.0.1:0\"\ntls_cert_file = {certificate:?}\n\
         tls_key_file = {key:?}\nheader_timeout = \"1s\"\n"
    );
    let server = Server::start_in(folder, binary::identity(), &config, &[]).await;
    assert!(server.url().starts_with("https://"), "{}", server.url());
    let api = Api::trusting(&server.url(), &authority.pem());
    assert_eq!(api.get(&v2("")).send().await.expect(200), json!({}));
    api.get(&v2("/account")).send().await.refused(401, "M_UNAUTHORIZED");

    // Plain HTTP gets no HTTP response.
    let plain = harness::raw::exchange(server.address(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", DEADLINE).await;
    assert!(matches!(plain, Err(harness::raw::NoResponse::Closed(_))), "{plain:?}");
    // A connection without a byte is closed and affects no other.
    let mut silent = harness::raw::Raw::connect(server.address()).await;
    assert_eq!(api.get(&v2("")).send().await.expect(200), json!({}));
    assert!(silent.closes_within(DEADLINE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_certificate_is_no_start() {
    let authority = Authority::new("the operator's authority");
    for half in ["tls_cert_file = \"certificate.pem\"", "tls_key_file = \"key.pem\""] {
        let folder = new_folder();
        authority.issue(&["127.0.0.1"]).write_pem(folder.path());
        let config = format!("[server]\ndata_dir = \"data\"\n[http]\nbind = \"127.0.0.1:0\"\n{half}\n");
        let failure = Server::try_start_in(folder, binary::identity(), &config, &[]).await.unwrap_err();
        assert!(failure.status.is_some_and(|status| !status.success()), "{failure:?}");
        assert!(failure.output.contains("tls_key_file"), "{}", failure.output);
    }
}
