//! How connections are made, shared, lost and given up.

use std::time::Duration;

use harness::apns::{Apple, Fault};
use harness::certificates::Certificate;
use harness::wait::wait_until;
use shared::outbound::backoff::Backoff;
use shared::outbound::settings::Outbound;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::{PATIENCE, QUICK, World, assert_delivered, deliver, deliver_all, temporary, token};
use crate::providers::apns::client::Timing;
use crate::providers::{Outcome, ProviderError};

/// How often each device's push was accepted.
fn accepted(apple: &Apple, number: usize) -> usize {
    apple.requests_for(&token(number)).iter().filter(|request| request.status == Some(200)).count()
}

#[tokio::test]
async fn it_connects_before_the_first_push_and_stays_connected() {
    let world = World::new().await;
    let provider = world.provider();
    provider.warm_up();
    provider.warm_up();
    wait_until("a connection", PATIENCE, || world.apple.open_connections() == 1).await;
    assert_delivered(&deliver_all(&provider, 0..200).await);
    assert_delivered(&deliver_all(&provider, 0..200).await);
    assert_eq!((world.apple.connections(), world.apple.refused_streams()), (1, 0));
    assert_eq!(world.apple.priorities_and_pings(), (0, 0));
    drop(provider);
    wait_until("its end", PATIENCE, || world.apple.open_connections() == 0).await;
}

#[tokio::test]
async fn one_stream_until_the_first_success_is_no_reason_for_more_connections() {
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
async fn there_are_never_more_streams_than_apple_allows_even_when_it_changes_its_mind() {
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
async fn further_connections_come_when_all_streams_stay_busy_and_not_beyond_the_limit() {
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
async fn what_a_goaway_leaves_out_goes_elsewhere_once() {
    let world = World::new().await;
    let provider = world.provider();
    for (number, two_phase) in [(1, false), (2, true)] {
        assert_eq!(deliver(&provider, 0).await, Ok(Outcome::Delivered));
        let before = world.apple.connections();
        world.apple.fault_times(&token(number), 1, Fault::GoAway { reason: "Shutdown", two_phase });
        assert_eq!(deliver(&provider, number).await, Ok(Outcome::Delivered));
        let requests = world.apple.requests_for(&token(number));
        assert_eq!((requests.len(), world.apple.connections()), (2, before + 1));
        assert_eq!((requests[0].status, requests[1].status), (None, Some(200)));
        assert_eq!(requests[0].header("apns-id"), requests[1].header("apns-id"));
        assert_eq!(deliver(&provider, 0).await, Ok(Outcome::Delivered));
    }
}

#[tokio::test]
async fn in_the_middle_of_traffic_a_goaway_loses_nothing_and_doubles_nothing() {
    let world = World::new().await;
    let provider = world.provider();
    assert_delivered(&deliver_all(&provider, 0..1).await);
    // Long enough for half of them to be there before the first is answered.
    world.apple.fault("", Fault::Delay(Duration::from_secs(1)));
    let (results, ()) = tokio::join!(deliver_all(&provider, 0..100), async {
        wait_until("half of them", PATIENCE, || world.apple.requests().len() > 50).await;
        // Stream 1 was the first push; up to 51 they get their answers.
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
async fn what_is_never_processed_is_sent_three_times_at_most() {
    let world = World::new().await;
    let provider = world.provider();
    /// REFUSED_STREAM (RFC 9113, section 7).
    const REFUSED: Fault = Fault::Reset(7);
    world.apple.fault(&token(1), REFUSED);
    assert_eq!(deliver(&provider, 1).await, temporary("not_processed", None, true, true));
    assert_eq!(world.apple.requests_for(&token(1)).len(), 3);
    world.apple.fault_times(&token(2), 2, REFUSED);
    assert_eq!(deliver(&provider, 2).await, Ok(Outcome::Delivered));
    assert_eq!(world.apple.requests_for(&token(2)).len(), 3);
    assert_eq!(world.apple.connections(), 1);
    world.apple.fault(&token(3), Fault::GoAway { reason: "Shutdown", two_phase: false });
    assert!(matches!(deliver(&provider, 3).await, Err(ProviderError::Temporary { again: true, .. })));
    assert!(world.apple.requests_for(&token(3)).len() <= 3);
}

#[tokio::test]
async fn what_may_have_been_processed_is_not_sent_again() {
    let world = World::new().await;
    let provider = world.provider();
    assert_delivered(&deliver_all(&provider, 0..1).await);
    world.apple.fault("", Fault::Silence);
    let (results, ()) = tokio::join!(deliver_all(&provider, 1..21), async {
        wait_until("all of them", PATIENCE, || world.apple.requests().len() == 21).await;
        world.apple.cut();
    });
    for result in results {
        assert_eq!(result, temporary("connection_lost", None, true, true));
    }
    assert_eq!(world.apple.requests().len(), 21);
    world.apple.mend();
    assert_delivered(&deliver_all(&provider, 1..21).await);
    assert_eq!(world.apple.connections(), 2);
}

#[tokio::test]
async fn a_connection_without_a_sign_of_life_is_given_up() {
    let world = World::new().await;
    let timing = Timing { attempt: Duration::from_secs(1), ping_timeout: Duration::from_millis(300), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    assert_delivered(&deliver_all(&provider, 0..1).await);
    world.apple.fall_silent();
    assert_eq!(deliver(&provider, 1).await, temporary("timeout", None, true, true));
    wait_until("its end", PATIENCE, || world.apple.open_connections() == 0).await;
    assert_eq!(deliver(&provider, 1).await, Ok(Outcome::Delivered));
    assert_eq!(world.apple.connections(), 2);
}

#[tokio::test]
async fn an_idle_connection_is_asked_for_a_sign_of_life_and_kept() {
    let world = World::new().await;
    let timing = Timing { ping_after: Duration::from_millis(50), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    assert_delivered(&deliver_all(&provider, 0..1).await);
    wait_until("three signs of life", PATIENCE, || world.apple.priorities_and_pings().1 >= 3).await;
    assert_delivered(&deliver_all(&provider, 0..1).await);
    assert_eq!(world.apple.connections(), 1);
    assert_eq!(Timing::USUAL.ping_after, Duration::from_secs(60));
}

#[tokio::test]
async fn an_apple_that_cannot_be_reached_is_not_asked_without_pause() {
    let world = World::new().await;
    let (address, authority) = (world.apple.address().to_string(), world.apple.authority().clone());
    let timing = Timing { backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(2)), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    let World { apple, .. } = world;
    drop(apple);
    wait_until("a refused connection", PATIENCE, || std::net::TcpStream::connect(&address).is_err()).await;
    assert_eq!(deliver(&provider, 1).await, temporary("connect", None, true, true));

    let apple = Apple::start_at(&address, &authority).await;
    let Err(ProviderError::Temporary { reason: "back_off", retry_after: Some(wait), again: true, is_outage: true }) =
        deliver(&provider, 1).await
    else {
        panic!("it connected at once")
    };
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    assert_eq!(apple.connections(), 0);
    tokio::time::sleep(wait).await;
    apple.fault("", Fault::text(200, ""));
    assert_eq!(deliver(&provider, 1).await, Ok(Outcome::Delivered));
    // The first success wipes the slate.
    apple.cut();
    harness::wait::wait_for("a new connection", PATIENCE, async || match deliver(&provider, 1).await {
        Ok(Outcome::Delivered) => Some(()),
        // It has not heard yet that the connection is no more.
        Err(ProviderError::Temporary { reason: "connection_lost", .. }) => None,
        other => panic!("{other:?}"),
    })
    .await;
}

#[tokio::test]
async fn a_silent_apple_costs_no_more_than_the_time_to_connect() {
    let world = World::new().await;
    world.apple.set_silent(true);
    let timing = Timing { connect: Duration::from_millis(200), ..QUICK };
    let provider = world.provider_with(|_| {}, timing);
    for result in deliver_all(&provider, 0..20).await {
        assert_eq!(result, temporary("connect_timeout", None, true, true));
    }
    assert_eq!(world.apple.connections(), 1);
}

#[tokio::test]
async fn who_is_not_apple_gets_nothing() {
    let world = World::new().await;
    let authority = world.apple.authority().clone();
    for certificate in [
        authority.issue(&["127.0.0.2"]),
        authority.issue_expired(&["127.0.0.1"]),
        authority.issue_early(&["127.0.0.1"]),
        Certificate::self_signed(&["127.0.0.1"]),
    ] {
        world.apple.set_certificate(&certificate);
        assert_eq!(deliver(&world.provider(), 1).await, temporary("tls", None, true, true));
    }
    for protocols in [&["http/1.1"][..], &[]] {
        world.apple.set_protocol(protocols);
        assert_eq!(deliver(&world.provider(), 1).await, temporary("tls", None, true, true));
    }
    assert_eq!(world.apple.requests().len(), 0);
    world.apple.set_protocol(&["h2"]);
    assert_eq!(deliver(&world.provider(), 1).await, Ok(Outcome::Delivered));
}

/// A proxy that makes each connection it is asked for, and tells what it was asked.
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
async fn a_proxy_is_asked_for_one_tunnel_and_those_who_need_none_go_straight() {
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
    assert_eq!(deliver(&provider, 1).await, Ok(Outcome::Delivered));
    assert!(asked.try_recv().is_err());
}
