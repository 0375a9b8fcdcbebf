//! The admin listener's routes for people and machines that look after a service: `/health`, `/ready`, `/metrics`.
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

type Check = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

/// What the admin routes need to know of a service.
#[derive(Clone)]
pub struct Operations {
    ready: Arc<Check>,
    metrics: Recorder,
    activity: Arc<Activity>,
}

impl Operations {
    /// `ready` says whether requests can be served, or in one sentence why not; it is asked at each call of `/ready`,
    /// and before each `/metrics`, so that it may also bring gauges up to date.
    pub fn new<F>(ready: impl Fn() -> F + Send + Sync + 'static, metrics: Recorder, activity: Arc<Activity>) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { ready: Arc::new(move || Box::pin(ready())), metrics, activity }
    }

    /// Registers the routes.
    pub fn configure(&self, config: &mut ServiceConfig) {
        config
            .app_data(Data::new(self.clone()))
            .service(endpoint("/health").get(health))
            .service(endpoint("/ready").get(ready))
            .service(endpoint("/metrics").get(render))
            .default_service(web::to(super::endpoint::not_found));
    }
}

async fn health() -> impl Responder {
    HttpResponse::Ok().json(json!({ "status": "ok" }))
}

async fn ready(operations: Data<Operations>) -> impl Responder {
    let state = if operations.activity.is_draining() {
        Err("the process is stopping".to_owned())
    } else {
        (operations.ready)().await
    };
    match state {
        Ok(()) => HttpResponse::Ok().json(json!({ "status": "ready" })),
        Err(reason) => HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
            .json(json!({ "status": "not ready", "reason": reason })),
    }
}

async fn render(operations: Data<Operations>) -> impl Responder {
    // A service that is not ready still has metrics to show.
    let _ = (operations.ready)().await;
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(operations.metrics.render())
}
