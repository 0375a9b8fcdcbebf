//! The admin listener's routes for people and machines that look after a service: `/health`, `/ready`,
//! `/version`, `/metrics`.
//!
//! Invariant: `/health` asks nobody; it says only that the process answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{HttpResponse, Responder, web};
use serde_json::json;

use super::endpoint::endpoint;
use super::observe::Activity;
use crate::telemetry::Recorder;

type Check = dyn Fn() -> Pin<Box<dyn Future<Output = Result<Notes, String>> + Send>> + Send + Sync;

/// What should be known of a service that is ready, a sentence each: a key that is about to expire, an open breaker.
pub type Notes = Vec<String>;

type Gauges = dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// What the admin routes need to know of a service.
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
    /// `ready` says whether requests can be served, or in one sentence why not; it is asked at each call of `/ready`,
    /// and before each `/metrics`, so that it may also bring gauges up to date.
    ///
    /// `name` and `version` are what `/version` tells.
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

    /// The same with what brings costly gauges up to date, before each `/metrics` and not for every probe.
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
            .service(endpoint("/metrics").get(render))
            .default_service(web::to(super::endpoint::not_found));
    }
}

/// `GET /health`: also for a main listener.
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

async fn version(operations: Data<Operations>) -> impl Responder {
    HttpResponse::Ok().json(json!({ "name": operations.name, "version": operations.version }))
}

async fn render(operations: Data<Operations>) -> impl Responder {
    // A service that is not ready still has metrics to show.
    let _ = (operations.ready)().await;
    if let Some(gauges) = &operations.gauges {
        gauges().await;
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(operations.metrics.render())
}
