//! The admin listener's routes for operators and monitoring: `/health`, `/ready`,
//! `/version`, `/metrics`.
//!
//! Invariant: `/health` depends on nothing; it reports only that the process responds.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpResponse, Responder, ResponseError, web};
use serde_json::json;

use super::endpoint::endpoint;
use super::error::MatrixError;
use super::observe::Activity;
use crate::telemetry::Recorder;

type Check = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Notes, String>> + Send>> + Send + Sync;

/// Warnings of a ready service, one sentence each: a key that expires soon, an open circuit breaker.
pub type Notes = Vec<String>;

type Gauges = dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// The input of the admin routes.
#[derive(Clone)]
pub struct Operations {
    name: &'static str,
    version: &'static str,
    ready: Arc<Check>,
    gauges: Option<Arc<Gauges>>,
    metrics: Recorder,
    activity: Arc<Activity>,
}

impl Operations {
    /// `ready` returns whether the service can handle requests, or the reason in one sentence. It runs at each call of
    /// `/ready` and before each `/metrics`, so that it may also update gauges.
    ///
    /// `/version` returns `name` and `version`.
    pub fn new<F>(
        (name, version): (&'static str, &'static str),
        ready: impl Fn() -> F + Send + Sync + 'static,
        metrics: Recorder,
        activity: Arc<Activity>,
    ) -> Self
    where
        F: Future<Output = Result<Notes, String>> + Send + 'static,
    {
        Self { name, version, ready: Arc::new(move || Box::pin(ready())), gauges: None, metrics, activity }
    }

    /// Adds a function that updates expensive gauges before each `/metrics`, but not for probes.
    #[must_use]
    pub fn with_gauges<F>(mut self, gauges: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.gauges = Some(Arc::new(move || Box::pin(gauges())));
        self
    }

    /// Registers the routes.
    pub fn configure(&self, config: &mut ServiceConfig) {
        config
            .app_data(Data::new(self.clone()))
            .service(endpoint("/health").get(health))
            .service(endpoint("/ready").get(ready))
            .service(endpoint("/version").get(version))
            .service(endpoint("/doctor/{id}").get(seen))
            .service(endpoint("/metrics").get(render))
            .default_service(web::to(super::endpoint::not_found));
    }
}

/// `GET /health`, also for a main listener.
pub async fn health() -> impl Responder {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

async fn ready(operations: Data<Operations>) -> impl Responder {
    let state = if operations.activity.is_draining() {
        Err("the process is stopping".to_owned())
    } else {
        (operations.ready)().await
    };
    match state {
        Ok(notes) if notes.is_empty() => HttpResponse::Ok().json(json!({ "status": "ready" })),
        Ok(notes) => HttpResponse::Ok().json(json!({ "status": "ready", "notes": notes })),
        Err(reason) => HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
            .json(json!({ "status": "not ready", "reason": reason })),
    }
}

/// `GET /doctor/{id}`: how the request of `doctor` with this request id arrived at the main listener.
async fn seen(operations: Data<Operations>, id: web::Path<String>) -> HttpResponse {
    match operations.activity.seen(&id) {
        Some(seen) => HttpResponse::Ok().json(json!({
            "peer": seen.peer.map(|peer| peer.to_string()),
            "client": seen.client.to_string(),
            "is_forwarded": seen.is_forwarded,
            "names_address": seen.names_address,
            "is_trusted": seen.is_trusted,
        })),
        None => MatrixError::unrecognized().error_response(),
    }
}

async fn version(operations: Data<Operations>) -> impl Responder {
    HttpResponse::Ok().json(json!({ "name": operations.name, "version": operations.version }))
}

async fn render(operations: Data<Operations>) -> impl Responder {
    // A service that is not ready still exports metrics.
    let _ = (operations.ready)().await;
    if let Some(gauges) = &operations.gauges {
        gauges().await;
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(operations.metrics.render())
}
