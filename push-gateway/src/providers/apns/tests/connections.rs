//! How connections open, are shared, fail and close.

use std::time::Duration;

use harness::apns::{Apple, Fault};
use harness::certificates::Certificate;
use harness::wait::wait_until;
use shared::outbound::backoff::Backoff;
use shared::outbound::settings::Outbound;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{PATIENCE, QUICK, World, assert_delivered, deliver, deliver_all, outage, token};
use crate::providers::Provider;
use crate::providers::apns::client::TIMING;
use crate::providers::outcome::{Failure, Outcome};
use crate::upstream::options::Timing;

/// The number of accepted pushes for a device.
fn accepted(apple: &Apple, number: usize) -> usize {
    apple.requests_for(&token(number)).iter().filter(|request| request.status == Some(200)).count()
}

#[tokio::test]
async fn warm_up_connects_before_the_first_push_and_the_connection_stays() {
    let world = World::new().await;
    let provider = world.provider();
    provider.warm_up().await.unwrap();
    provider.warm_up().await.unwrap();
    wait_until("a connection", PATIENCE, || world.apple.open_connections() == 1).await;
    assert_delivered(&deliver_all(&provider, 0..200).await);
    assert_delivered(&deliver_all(&provider, 0..200).await);
    assert_eq!((world.apple.connections(), world.apple.refused_streams()), (1, 0));
    assert_eq!(world.apple.priorities_and_pings(), (0, 0));
    drop(provider);
    wait_until("its end", PATIENCE, || world.apple.open_connections() == 0).await;
}

#[tokio::test]
async fn one_stream_until_the_first_success_opens_no_further_connection() {
    let world = World::new().await;
    world.apple.allow_one_stream_at_first();
    world.apple.fault_times(&token(0), 1, Fault::Delay(Duration::from_millis(300)));
    let provider = world.provider();
    let first = deliver_all(&provider, 0..1);
    let others = async {
        wait_until("the first", PATIENCE, || world.apple.requests().len() == 1).await;
        deliver_all(&provider, 1..100).await
    };
    let (first, others) = tokio::join!(first, others);
    assert_delivered(&first);
    assert_delivered(&others);
    assert_eq!((world.apple.connections(), world.apple.refused_streams()), (1, 0));
    assert_eq!(world.apple.requests().len(), 100);
}

#[tokio::test]
async fn the_number_of_streams_follows_every_change_of_the_limit() {
    let world = World::new().await;
    world.apple.set_max_streams(3);
    world.apple.fault("", Fault::Delay(Duration::from_millis(5)));
    let provider = world.provider_with(|settings| settings.max_connections = 1, QUICK);
    assert_delivered(&deliver_all(&provider, 0..60).await);
    assert_eq!((world.apple.refused_streams(), world.apple.connections()), (0, 1));
    assert_eq!(world.apple.peak_streams(), 3);
    let (results, ()) = tokio::join!(deliver_all(&provider, 60..260), async {
        for (requests, max_streams) in [(80, 7), (120, 2), (160, 20)] {
            wait_until("some deliveries", PATIENCE, || world.apple.requests().len() >= requests).await;
            world.apple.set_max_streams(max_streams);
        }
    });
    assert_delivered(&results);
    assert_eq!((world.apple.refused_streams(), world.apple.connections()), (0, 1));
    assert!((4..=20).contains(&world.apple.peak_streams()), "{}", world.apple.peak_streams());
}

#[tokio::test]
async fn further_connections_open_when_all_streams_stay_busy_up_to_the_limit() {
    let world = World::new().await;
    world.apple.set_max_streams(2);
    let provider = world.provider_with(|settings| settings.max_connections = 3, QUICK);
    assert_delivered(&deliver_all(&provider, 0..1).await);
    world.apple.fault("", Fault::Delay(Duration::from_millis(100)));
    assert_delivered(&deliver_all(&provider, 0..40).await);
    assert_eq!((world.apple.connections(), world.apple.refused_streams()), (3, 0));
    for connection in 1..=3 {
        assert!(world.apple.requests().iter().any(|request| request.connection == connection), "{connection} is idle");
    }
}

#[tokio::test]
async fn a_push_that_a_goaway_leaves_out_is_resent_once() {
    let world = World::new().await;
    let provider = world.provider();
    for (number, two_phase) in [(1, false), (2, true)] {
        assert_eq!(deliver(&provider, 0).await, Outcome::Delivered);
        let before = world.apple.connections();
        world.apple.fault_times(&token(number), 1, Fault::GoAway { reason: "Shutdown", two_phase });
        assert_eq!(deliver(&provider, number).await, Outcome::Delivered);
        let requests = world.apple.requests_for(&token(number));
        assert_eq!((requests.len(), world.apple.connections()), (2, before + 1));
        assert_eq!((requests[0].status, requests[1].status), (None, Some(200)));
        assert_eq!(requests[0].header("apns-id"), requests[1].header("apns-id"));
        assert_eq!(deliver(&provider, 0).await, Outcome::Delivered);
    }
}

#[tokio::test]
async fn a_goaway_under_load_loses_and_duplicates_no_push() {
    let world = World::new().await;
    let provider = world.provider();
    assert_delivered(&deliver_all(&provider, 0..1).await);
    // Long enough for half of them to be there before the first is answered.
    world.apple.fault("", Fault::Delay(Duration::from_secs(1)));
    let (results, ()) = tokio::join!(deliver_all(&provider, 0..100), async {
        wait_until("half of them", PATIENCE, || world.apple.requests().len() > 50).await;
        // Stream 1 was the first push; up to 51 they get their responses.
        world.apple.go_away(51, "Shutdown");
    });
    assert_delivered(&results);
    assert_eq!(world.apple.connections(), 2);
    for number in 1..100 {
        assert_eq!(accepted(&world.apple, number), 1, "number {number}");
    }
    let on_the_first = world.apple.requests().iter().filter(|r| r.connection == 1 && r.status == Some(200)).count();
    assert_eq!(on_the_first, 26);
}

#[tokio::test]
async fn an_unprocessed_push_is_sent_at_most_three_times() {
    let world = World::new().await;
    let provider = world.provider();
    /// REFUSED_STREAM (RFC 9113, section 7).
    const REFUSED: Fault = Fault::Reset(7);
    world.apple.fault(&token(1), REFUSED);
    assert_eq!(deliver(&provider, 1).await, outage("not_processed", None));
    assert_eq!(world.apple.requests_for(&token(1)).len(), 3);
    world.apple.fault_times(&token(2), 2, REFUSED);
    assert_eq!(deliver(&provider, 2).await, Outcome::Delivered);
    assert_eq!(world.apple.requests_for(&token(2)).len(), 3);
    assert_eq!(world.apple.connections(), 1);
    world.apple.fault(&token(3), Fault::GoAway { reason: "Shutdown", two_phase: false });
    assert!(matches!(deliver(&provider, 3).await, Outcome::Failed(Failure { retry_in_request: true, .. })));
    assert!(world.apple.requests_for(&token(3)).len() <= 3);
}

#[tokio::test]
async fn a_push_that_may_be_processed_is_not_resent() {
    let world = World::new().await;
    let provider = world.provider();
    assert_delivered(&deliver_all(&provider, 0..1).await);
    world.apple.fault("", Fault::Silence);
    let (results, ()) = tokio::join!(deliver_all(&provider, 1..21), async {
        wait_until("all of them", PATIENCE, || world.apple.requests().len() == 21).await;
        world.apple.cut();
    });
    for result in results {
        assert_eq!(result, outage("connection_lost", None));
    }
    assert_eq!(world.apple.requests().len(), 21);
    world.apple.mend();
    assert_delivered(&deliver_all(&provider, 1..21).await);
    assert_eq!(world.apple.connections(), 2);
}

#[tokio::test]
async fn a_connection_without_an_answer_to_a_ping_is_closed() {
    let world = World::new().await;
    let timing = Timing { attempt: Duration::from_secs(1), ping_timeout: Duration::from_millis(300), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    assert_delivered(&deliver_all(&provider, 0..1).await);
    world.apple.fall_silent();
    assert_eq!(deliver(&provider, 1).await, outage("timeout", None));
    wait_until("its end", PATIENCE, || world.apple.open_connections() == 0).await;
    assert_eq!(deliver(&provider, 1).await, Outcome::Delivered);
    assert_eq!(world.apple.connections(), 2);
}

#[tokio::test]
async fn an_idle_connection_is_pinged_and_kept() {
    let world = World::new().await;
    let timing = Timing { ping_after: Duration::from_millis(50), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    assert_delivered(&deliver_all(&provider, 0..1).await);
    wait_until("three pings", PATIENCE, || world.apple.priorities_and_pings().1 >= 3).await;
    assert_delivered(&deliver_all(&provider, 0..1).await);
    assert_eq!(world.apple.connections(), 1);
    assert_eq!(TIMING.ping_after, Duration::from_secs(60));
}

#[tokio::test]
async fn a_connection_that_was_left_because_of_silence_causes_no_backoff() {
    let world = World::new().await;
    let timing = Timing {
        attempt: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(100),
        backoff: Backoff::new(PATIENCE, PATIENCE),
        ..QUICK
    };
    let provider = world.provider_with(|_| {}, timing);
    for number in 1..4 {
        provider.warm_up().await.unwrap();
        wait_until("a connection", PATIENCE, || world.apple.open_connections() == 1).await;
        world.apple.fall_silent();
        assert_eq!(deliver(&provider, number).await, outage("timeout", None));
        wait_until("its end", PATIENCE, || world.apple.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn the_client_backs_off_from_an_unreachable_server() {
    let world = World::new().await;
    let (address, authority) = (world.apple.address().to_string(), world.apple.authority().clone());
    let timing = Timing { backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(2)), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    let World { apple, .. } = world;
    drop(apple);
    wait_until("a refused connection", PATIENCE, || std::net::TcpStream::connect(&address).is_err()).await;
    assert_eq!(deliver(&provider, 1).await, outage("connect", None));

    let apple = Apple::start_at(&address, &authority).await;
    let outcome = deliver(&provider, 1).await;
    let Outcome::Failed(Failure { retry_after: Some(wait), .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(outcome, outage("connect", Some(wait)), "the cause of the backoff");
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    assert_eq!(apple.connections(), 0);
    tokio::time::sleep(wait).await;
    apple.fault("", Fault::text(200, ""));
    assert_eq!(deliver(&provider, 1).await, Outcome::Delivered);
    // The first success resets the backoff.
    apple.cut();
    harness::wait::wait_for("a new connection", PATIENCE, async || match deliver(&provider, 1).await {
        Outcome::Delivered => Some(()),
        // The client has not noticed the closed connection yet.
        Outcome::Failed(Failure { reason: "connection_lost", .. }) => None,
        other => panic!("{other:?}"),
    })
    .await;
}

#[tokio::test]
async fn a_silent_server_costs_only_the_connect_timeout() {
    let world = World::new().await;
    world.apple.set_silent(true);
    let timing = Timing { connect: Duration::from_millis(200), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    for result in deliver_all(&provider, 0..20).await {
        assert_eq!(result, outage("connect_timeout", None));
    }
    assert_eq!(world.apple.connections(), 1);
}

#[tokio::test]
async fn a_server_without_a_valid_certificate_or_http2_gets_no_push() {
    let world = World::new().await;
    let authority = world.apple.authority().clone();
    for certificate in [
        authority.issue(&["127.0.0.2"]),
        authority.issue_expired(&["127.0.0.1"]),
        authority.issue_early(&["127.0.0.1"]),
        Certificate::self_signed(&["127.0.0.1"]),
    ] {
        world.apple.set_certificate(&certificate);
        assert_eq!(deliver(&world.provider(), 1).await, outage("tls", None));
    }
    for protocols in [&["http/1.1"][..], &[]] {
        world.apple.set_protocol(protocols);
        assert_eq!(deliver(&world.provider(), 1).await, outage("tls", None));
    }
    assert_eq!(world.apple.requests().len(), 0);
    world.apple.set_protocol(&["h2"]);
    assert_eq!(deliver(&world.provider(), 1).await, Outcome::Delivered);
}

/// A proxy that opens every requested tunnel, and reports the request heads.
async fn proxy() -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, asked) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let sender = sender.clone();
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if stream.read_line(&mut head).await.unwrap() == 0 {
                        return;
                    }
                }
                let target = head.split(' ').nth(1).unwrap().to_owned();
                sender.send(head).unwrap();
                let mut target = TcpStream::connect(target).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut stream, &mut target).await);
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn the_proxy_opens_one_tunnel_and_no_proxy_hosts_bypass_it() {
    let world = World::new().await;
    let (address, mut asked) = proxy().await;
    let mut outbound = Outbound { proxy: format!("http://user:p%40ss@{address}").parse().ok(), ..world.outbound() };
    let provider = std::sync::Arc::new(world.try_provider(&world.settings(), &outbound, QUICK).unwrap());
    assert_delivered(&deliver_all(&provider, 0..50).await);
    let head = asked.recv().await.unwrap();
    let target = world.apple.address();
    assert!(head.starts_with(&format!("CONNECT {target} HTTP/1.1\r\n")), "{head}");
    assert!(head.to_ascii_lowercase().contains("proxy-authorization: basic dxnlcjpwqhnz\r\n"), "{head}");
    assert!(asked.try_recv().is_err());

    outbound.no_proxy = shared::config::Globs::from(["127.0.0.*"]);
    let provider = world.try_provider(&world.settings(), &outbound, QUICK).unwrap();
    assert_eq!(deliver(&provider, 1).await, Outcome::Delivered);
    assert!(asked.try_recv().is_err());
}
