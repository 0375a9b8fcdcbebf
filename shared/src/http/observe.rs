//! What is told of every request: one log line, two metrics, and that it is being answered.
//!
//! Invariant: neither path nor query is told anywhere, only the route's pattern: both may hold tokens and addresses.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::web::Data;
use tracing::{Instrument, info_span};

use super::client_address::client_address;
use super::envelope::{Headers, envelop, request_id};

/// What a service wants told of its requests.
#[derive(Debug)]
pub struct Observer {
    /// The counter's name, with labels `route`, `method`, `code`.
    pub requests_total: &'static str,
    /// The histogram's name in seconds, with label `route` and, if so wanted, `code`.
    pub duration_seconds: &'static str,
    /// Whether the histogram has the label `code`.
    pub duration_by_code: bool,
    /// Headers for every answer, those of refusals included (cross-origin rules).
    pub headers: Headers,
    /// How much work is going on and whether more is welcome.
    pub activity: Arc<Activity>,
}

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
    metrics::counter!(observer.requests_total, "route" => route.clone(), "method" => method, "code" => code.to_string())
        .increment(1);
    let duration = if observer.duration_by_code {
        metrics::histogram!(observer.duration_seconds, "route" => route.clone(), "code" => code.to_string())
    } else {
        metrics::histogram!(observer.duration_seconds, "route" => route.clone())
    };
    duration.record(elapsed.as_secs_f64());
    span.in_scope(|| {
        tracing::info!(method, route, code, ms = elapsed.as_secs_f64() * 1000.0, %client, "answered");
    });
    Ok(response)
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
