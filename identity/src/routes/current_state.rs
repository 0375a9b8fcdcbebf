//! Gives each request the state at its beginning.
//!
//! Invariant: every part of a request sees one configuration, even if a reload happens meanwhile.

use std::rc::Rc;

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::guard::GuardContext;
use actix_web::middleware::Next;
use actix_web::web::Data;

use crate::state::{CurrentState, State};

/// The middleware; install it with `actix_web::middleware::from_fn`. Handlers extract `Data<State>`.
pub(super) async fn take_state<B: MessageBody>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if let Some(current) = request.app_data::<Data<CurrentState>>() {
        let mut data = Extensions::new();
        data.insert(Data::from(current.load()));
        request.add_data_container(Rc::new(data));
    }
    next.call(request).await
}

/// Whether the state of the request has a property, for guards of routes.
pub(super) fn has(context: &GuardContext<'_>, property: impl FnOnce(&State) -> bool) -> bool {
    context.app_data::<Data<State>>().is_some_and(|state| property(state))
}
