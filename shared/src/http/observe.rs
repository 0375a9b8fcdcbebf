//! Logs and counts every request, and counts the requests in flight.
//!
//! Invariant: logs and metrics contain the route's pattern, never the path or query, which may contain tokens and addresses.
//! Of a path without a route the log has the parts that can be neither.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage, HttpRequest};
use metrics::{Counter, Histogram};
use tracing::{Instrument, info_span};

use super::client_address::{client_address, is_trusted};
use super::envelope::{Headers, envelop, request_id};
use super::error::Reason;

/// The names and labels of a service's request metrics.
#[derive(Debug)]
pub struct Observer {
    /// The name of the counter of requests.
    pub requests_total: &'static str,
    /// The name of the histogram of durations in seconds.
    pub duration_seconds: &'static str,
    /// The labels of both.
    pub labels: Labels,
    /// Headers for every response, errors included (cross-origin rules).
    pub headers: Headers,
    /// Whether a body at this path may be as large as `[http] max_body`; otherwise its limit is 64 KiB.
    pub may_be_large: fn(&str) -> bool,
    /// The requests in flight, and whether the process is stopping.
    pub activity: Arc<Activity>,
    /// The series that already exist.
    pub known: KnownSeries,
}

/// The existing series, so that a request does not look them up by names and
/// labels.
#[derive(Debug, Default)]
pub struct KnownSeries(RwLock<HashMap<Series, (Counter, Histogram)>>);

/// The labels of a series; empty where a service has none.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    route: String,
    method: &'static str,
    code: u16,
}

/// The labels of the request metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The counter `route`, `method`, `code`; the histogram `route`.
    Route,
    /// Both `code` only, for a service with one endpoint. Excludes `/health`, whose probes would dominate the counts.
    Code,
}

/// An extension of a request whose handler has logged it in more detail.
#[derive(Clone, Copy, Debug)]
pub struct AlreadyLogged;

/// The prefix of the request ids of `doctor`, whose client addresses are kept for the admin listener.
pub const DOCTOR_REQUEST_ID: &str = "doctor-";

/// How many requests of `doctor` are kept.
const MAX_SEEN: usize = 16;

/// A request of `doctor`, as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    id: String,
    /// The address of the connection.
    pub(super) peer: Option<IpAddr>,
    /// The address that limits count.
    pub(super) client: IpAddr,
    /// Whether it has `X-Forwarded-For`.
    pub(super) is_forwarded: bool,
    /// Whether it has an address there.
    pub(super) names_address: bool,
    /// Whether `[http] trusted_proxies` lists the peer.
    pub(super) is_trusted: bool,
}

/// The requests in flight, for a shutdown that loses none of them.
#[derive(Debug, Default)]
pub struct Activity {
    in_flight: AtomicUsize,
    outlasting: AtomicUsize,
    draining: OnceLock<()>,
    /// The last requests of `doctor`, the oldest first.
    seen: Mutex<VecDeque<Seen>>,
}

impl Activity {
    /// The number of requests in flight and of background tasks.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// Whether nothing runs that a shutdown waits for.
    pub fn is_idle(&self) -> bool {
        self.in_flight() == 0 && self.outlasting.load(Ordering::SeqCst) == 0
    }

    /// Keeps how a request of `doctor` arrived.
    fn note_seen(&self, id: &str, request: &HttpRequest, client: IpAddr) {
        if !id.starts_with(DOCTOR_REQUEST_ID) {
            return;
        }
        let peer = request.peer_addr().map(|peer| peer.ip().to_canonical());
        let forwarded = request.headers().get_all("x-forwarded-for").filter_map(|value| value.to_str().ok());
        let mut entries = forwarded.flat_map(|value| value.split(',')).map(str::trim);
        let seen = Seen {
            id: id.to_owned(),
            peer,
            client,
            is_forwarded: request.headers().contains_key("x-forwarded-for"),
            names_address: entries.any(|entry| entry.parse::<IpAddr>().is_ok() || entry.parse::<SocketAddr>().is_ok()),
            is_trusted: peer.is_some_and(|peer| is_trusted(request, peer)),
        };
        let mut kept = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == MAX_SEEN {
            kept.pop_front();
        }
        kept.push_back(seen);
    }

    /// How the request of `doctor` with this id arrived.
    pub(super) fn seen(&self, id: &str) -> Option<Seen> {
        let kept = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|seen| seen.id == id).cloned()
    }

    /// Closes the connection after every response from now on.
    pub fn drain(&self) {
        // Idempotent.
        let _ = self.draining.set(());
    }

    /// Whether the process is stopping.
    pub fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }
}

/// One unit of work that a shutdown waits for until this is dropped.
#[derive(Debug)]
pub struct InFlight {
    activity: Arc<Activity>,
    counter: fn(&Activity) -> &AtomicUsize,
}

impl InFlight {
    /// Starts a request, or a background task whose client has disconnected.
    pub fn enter(activity: &Arc<Activity>) -> Self {
        Self::start(activity, |activity| &activity.in_flight)
    }

    /// Starts work that may outlast the request that began it, such as a delivery; it counts as no request.
    pub fn enter_outlasting(activity: &Arc<Activity>) -> Self {
        Self::start(activity, |activity| &activity.outlasting)
    }

    fn start(activity: &Arc<Activity>, counter: fn(&Activity) -> &AtomicUsize) -> Self {
        counter(activity).fetch_add(1, Ordering::SeqCst);
        Self { activity: activity.clone(), counter }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        (self.counter)(&self.activity).fetch_sub(1, Ordering::SeqCst);
    }
}

/// Milliseconds with microseconds after the point, for logs.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// The middleware; install it with `actix_web::middleware::from_fn`. Requires `Data<Observer>`.
///
/// # Errors
/// Those of an inner middleware; a handler's error is already a response.
pub async fn observe(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(observer) = request.app_data::<Data<Observer>>().cloned() else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let _in_flight = InFlight::enter(&observer.activity);
    let started = Instant::now();
    let request_id = request_id(request.headers());
    let client = client_address(request.request());
    observer.activity.note_seen(&request_id, request.request(), client);
    let method = known_method(request.method());
    let span = info_span!("request", id = %request_id);

    let mut response = envelop(request, next, observer.headers, &request_id).instrument(span.clone()).await?;
    if observer.activity.is_draining() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let route = response.request().match_pattern();
    let path = route.is_none().then(|| shown(response.request().path()));
    let route = route.unwrap_or_else(|| "unmatched".to_owned());
    let code = response.status().as_u16();
    let elapsed = started.elapsed();
    observer.count(&route, method, code, elapsed);
    let ms = milliseconds(elapsed);
    let reason = response.response().extensions().get::<Reason>().map(|Reason(text)| text.clone());
    let is_logged = response.request().extensions().contains::<AlreadyLogged>();
    span.in_scope(|| {
        if is_logged {
            tracing::debug!(method, route, code, ms, %client, "answered");
        } else {
            tracing::info!(method, route, path, code, reason, ms, %client, "answered");
        }
    });
    Ok(response)
}

/// A path for the log: without parts that could be a token or an address, and at most eight parts.
fn shown(path: &str) -> String {
    /// Longer than the parts of our paths, shorter than any token.
    const LONGEST: usize = 16;
    let is_harmless = |part: &str| {
        part.len() <= LONGEST && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let part = |part| if is_harmless(part) { part } else { "…" };
    path.split('/').take(9).map(part).collect::<Vec<_>>().join("/")
}

impl Observer {
    fn count(&self, route: &str, method: &'static str, code: u16, elapsed: Duration) {
        let series = match self.labels {
            Labels::Route => Series { route: route.to_owned(), method, code },
            Labels::Code if route.ends_with("/health") => return,
            Labels::Code => Series { route: String::new(), method: "", code },
        };
        let count = |(requests, duration): &(Counter, Histogram)| {
            requests.increment(1);
            duration.record(elapsed.as_secs_f64());
        };
        let known = self.known.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&series) {
            return count(known);
        }
        drop(known);
        let mut known = self.known.0.write().unwrap_or_else(PoisonError::into_inner);
        let new = self.look_up(&series);
        count(known.entry(series).or_insert(new));
    }

    fn look_up(&self, Series { route, method, code }: &Series) -> (Counter, Histogram) {
        let (route, method, code) = (|| route.clone(), *method, || code.to_string());
        match self.labels {
            Labels::Route => (
                metrics::counter!(self.requests_total, "route" => route(), "method" => method, "code" => code()),
                metrics::histogram!(self.duration_seconds, "route" => route()),
            ),
            Labels::Code => (
                metrics::counter!(self.requests_total, "code" => code()),
                metrics::histogram!(self.duration_seconds, "code" => code()),
            ),
        }
    }
}

/// Clients choose methods: a label must not grow with them.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_path_is_shown_without_parts_that_may_be_secret() {
        for (path, expected) in [
            ("/identity/_matrix/identity/v2/account", "/identity/_matrix/identity/v2/account"),
            ("/", "/"),
            ("/bob@x.org/+447700900001/%41", "/…/…/…"),
            ("/syt_Ym9i_abcdefghijklmnop/x", "/…/x"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h"),
        ] {
            assert_eq!(shown(path), expected);
        }
    }
}
