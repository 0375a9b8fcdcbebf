//! One path with its methods: GET serves HEAD too, OPTIONS lists the methods, and every other method is 405 with
//! `Allow`.
//!
//! Invariant: GET needs no body, but rejects one that is too large or too slow like every other method.

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{AppService, HttpServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::guard::{self, Guard};
use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, FromRequest, Handler, HttpResponse, Resource, Responder, ResponseError, web};

use super::body::Body;
use super::error::MatrixError;

/// A path under construction; pass it to `ServiceConfig::service`.
pub struct Endpoint {
    resource: Resource,
    allow: String,
}

/// The endpoint at `path` (actix's pattern syntax).
pub fn endpoint(path: &str) -> Endpoint {
    Endpoint { resource: web::resource(path), allow: "OPTIONS".to_owned() }
}

impl Endpoint {
    /// Restricts the endpoint to requests that `guard` accepts. For other requests the path does not exist, unless it is
    /// registered again.
    #[must_use]
    pub fn guard(mut self, guard: impl Guard + 'static) -> Self {
        self.resource = self.resource.guard(guard);
        self
    }

    /// Serves GET, and HEAD with the same header and no body.
    #[must_use]
    pub fn get<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let get_or_head = guard::Any(guard::Get()).or(guard::Head());
        let route = web::route().guard(get_or_head).to(handler).wrap(from_fn(refuse_bad_body));
        self.resource = self.resource.route(route);
        self.allow.push_str(", GET, HEAD");
        self
    }

    /// Serves POST.
    #[must_use]
    pub fn post<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.resource = self.resource.route(web::method(Method::POST).to(handler));
        self.allow.push_str(", POST");
        self
    }
}

impl HttpServiceFactory for Endpoint {
    fn register(self, config: &mut AppService) {
        let allow = self.allow;
        let other_method = move |method: Method| {
            let answer = match method {
                Method::OPTIONS => options(&allow),
                _ => MatrixError::method_not_allowed(allow.clone()).error_response(),
            };
            async move { answer }
        };
        self.resource.default_service(web::to(other_method)).register(config);
    }
}

async fn refuse_bad_body(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let refusal = Body::of(request.request().clone()).read().await.bytes().err().map(MatrixError::from);
    match refusal {
        Some(refusal) => Ok(request.into_response(refusal.error_response())),
        None => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
    }
}

/// The response for an unknown path. It accepts cross-origin preflight requests, too.
pub async fn not_found(method: Method) -> HttpResponse {
    match method {
        Method::OPTIONS => options("OPTIONS"),
        _ => MatrixError::unrecognized().error_response(),
    }
}

fn options(allow: &str) -> HttpResponse {
    HttpResponse::Ok().insert_header((ALLOW, allow)).finish()
}
