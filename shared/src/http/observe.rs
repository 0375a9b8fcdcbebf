//! What is told of every request: one log line, two metrics, and that it is being answered.
//!
//! Invariant: neither path nor query is told anywhere, only the route's pattern: both may hold tokens and addresses.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage};
use metrics::{Counter, Histogram};
use tracing::{Instrument, info_span};

use super::client_address::client_address;
use super::envelope::{Headers, envelop, request_id};

/// What a service wants told of its requests.
#[derive(Debug)]
pub struct Observer {
    /// The name of the counter of requests.
    pub requests_total: &'static str,
    /// The name of the histogram of their durations, in seconds.
    pub duration_seconds: &'static str,
    /// What the two tell apart.
    pub labels: Labels,
    /// Headers for every answer, those of refusals included (cross-origin rules).
    pub headers: Headers,
    /// How much work is going on and whether more is welcome.
    pub activity: Arc<Activity>,
    /// What has been counted before.
    pub known: KnownSeries,
}

/// The series of requests that have been counted before, so that not every request looks them up by their names and
/// labels.
#[derive(Debug, Default)]
pub struct KnownSeries(RwLock<HashMap<Series, (Counter, Histogram)>>);

/// What tells series apart; empty where a service does not.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Series {
    route: String,
    method: &'static str,
    code: u16,
}

/// What the metrics of requests tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// The counter `route`, `method`, `code`; the histogram `route`.
    Route,
    /// Both `code` alone: for a service with one endpoint. Probes of `/health` are not counted, they would drown it.
    Code,
}

/// Put among the extensions of a request: its handler has told of it in the log, and more than can be told here.
#[derive(Clone, Copy, Debug)]
pub struct Told;

/// The work in flight, for a stop that loses none of it.
#[derive(Debug, Default)]
pub struct Activity {
    in_flight: AtomicUsize,
    draining: OnceLock<()>,
}

impl Activity {
    /// How many requests are being answered, and other pieces of work done.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    /// From now on every answer closes its connection.
    pub fn drain(&self) {
        // Setting it twice changes nothing.
        let _ = self.draining.set(());
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }
}

/// One piece of work that a stop waits for, as long as this lives: a request, or what goes on behind one whose client
/// has hung up.
#[derive(Debug)]
pub struct InFlight(Arc<Activity>);

impl InFlight {
    /// Begins it.
    pub fn enter(activity: &Arc<Activity>) -> Self {
        activity.in_flight.fetch_add(1, Ordering::SeqCst);
        Self(activity.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// For logs: milliseconds, with the microseconds behind the point.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000_000.0).round() / 1000.0
}

/// The middleware; install it with `actix_web::middleware::from_fn`. Needs `Data<Observer>`.
///
/// # Errors
/// Those of an inner middleware; a handler's error is an answer by the time it comes here.
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
    let method = known_method(request.method());
    let span = info_span!("request", id = %request_id);

    let mut response = envelop(request, next, observer.headers, &request_id).instrument(span.clone()).await?;
    if observer.activity.is_draining() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    let route = response.request().match_pattern().unwrap_or_else(|| "unmatched".to_owned());
    let code = response.status().as_u16();
    let elapsed = started.elapsed();
    observer.count(&route, method, code, elapsed);
    let ms = milliseconds(elapsed);
    let is_told = response.request().extensions().contains::<Told>();
    span.in_scope(|| {
        if is_told {
            tracing::debug!(method, route, code, ms, %client, "answered");
        } else {
            tracing::info!(method, route, code, ms, %client, "answered");
        }
    });
    Ok(response)
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

/// Methods come from outside: a label must not grow with them.
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
