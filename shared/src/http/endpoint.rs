//! One path with its methods: GET answers HEAD too, OPTIONS says which there are, and any other method is 405 with
//! `Allow`.
//!
//! Invariant: the body of a refused request is read before the answer, like any other.

use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::http::Method;
use actix_web::http::header::ALLOW;
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, ResponseError, guard, web};

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
    /// Answers GET, and HEAD with the same header and no body.
    #[must_use]
    pub fn get<F, Args>(mut self, handler: F) -> Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        let get_or_head = guard::Any(guard::Get()).or(guard::Head());
        self.resource = self.resource.route(web::route().guard(get_or_head).to(handler));
        self.allow.push_str(", GET, HEAD");
        self
    }

    /// Answers POST.
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
        let other_method = move |method: Method, _: Body| {
            let answer = match method {
                Method::OPTIONS => options(&allow),
                _ => MatrixError::method_not_allowed(allow.clone()).error_response(),
            };
            async move { answer }
        };
        self.resource.default_service(web::to(other_method)).register(config);
    }
}

/// The answer to a path that nobody serves. Cross-origin preflight gets a yes there too.
pub async fn not_found(method: Method, _: Body) -> HttpResponse {
    match method {
        Method::OPTIONS => options("OPTIONS"),
        _ => MatrixError::unrecognized().error_response(),
    }
}

fn options(allow: &str) -> HttpResponse {
    HttpResponse::Ok().insert_header((ALLOW, allow)).finish()
}
