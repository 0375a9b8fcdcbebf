//! Tests of the load engine.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::{Load, percentile, run, run_requests};
use crate::connection::{Connection, Reply, request};

/// Echoes bodies; `/busy` returns 503, `/last` closes the connection. Counts the requests.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let counter = Arc::clone(&counter);
            let echo = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                counter.fetch_add(1, Ordering::Relaxed);
                async move {
                    let mut response = hyper::Response::builder();
                    match request.uri().path() {
                        "/busy" => response = response.status(503),
                        "/last" => response = response.header("connection", "close"),
                        _ => {}
                    }
                    let body: Bytes = request.into_body().collect().await.unwrap().to_bytes();
                    Ok::<_, Infallible>(response.body(Full::new(body)).unwrap())
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), echo));
        }
    });
    (address, count)
}

fn load(address: SocketAddr) -> Load {
    Load {
        address,
        pid: std::process::id(),
        connections: 3,
        warm_up: Duration::from_millis(100),
        duration: Duration::from_millis(600),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_agree_with_what_the_server_saw() {
    let (address, count) = server().await;
    let requests = Arc::new(vec![request("POST", "/", Some("t"), "{}"), request("GET", "/x", None, "")]);
    let figures = tokio::task::spawn_blocking(move || run_requests(&load(address), &requests)).await.unwrap();
    let seen = count.load(Ordering::Relaxed);
    assert!(figures.failed == 0 && figures.done > 100 && figures.done < seen, "{figures:?} of {seen}");
    assert!(figures.elapsed >= Duration::from_millis(600));
    assert!(figures.p50 > Duration::ZERO && figures.p50 <= figures.p99, "{figures:?}");
    assert!(figures.cpu > Duration::ZERO && figures.cpu_micros() < 1e6 / figures.per_second() * 8.0, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_a_failure() {
    let (address, _) = server().await;
    let requests = Arc::new(vec![request("GET", "/busy", None, "")]);
    let figures = tokio::task::spawn_blocking(move || run_requests(&load(address), &requests)).await.unwrap();
    assert!(figures.done == 0 && figures.failed > 10, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_of_work_may_be_several_requests() {
    let (address, count) = server().await;
    let figures = tokio::task::spawn_blocking(move || {
        run(&load(address), |i| {
            move |connection: &mut Connection| {
                let body = i.to_string();
                let first = connection.exchange(&request("POST", "/", None, &body))?.body.to_vec();
                let second = connection.exchange(&request("POST", "/last", None, &body))?;
                Ok(first == body.as_bytes() && second == Reply { status: 200, body: body.as_bytes() })
            }
        })
    });
    let figures = figures.await.unwrap();
    assert!(figures.failed == 0 && figures.done > 20, "{figures:?}");
    assert!(count.load(Ordering::Relaxed) > 2 * figures.done);
}

#[test]
fn percentiles_are_of_the_nearest_rank() {
    let times: Vec<_> = (1..=200).map(Duration::from_millis).collect();
    assert_eq!(percentile(&times, 50), Duration::from_millis(100));
    assert_eq!(percentile(&times, 99), Duration::from_millis(198));
    assert_eq!(percentile(&times[..1], 99), Duration::from_millis(1));
    assert_eq!(percentile(&[], 50), Duration::ZERO);
}
