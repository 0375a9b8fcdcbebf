//! `GET` and `POST /_identity/v1/invites/block`: the link in an invitation that stops further ones.
//!
//! Invariant: a GET changes nothing, because scanners of mail open every link; only the form's POST does.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use shared::http::body::Body;

use super::{browser, input};
use crate::domain::invite_block::Scope;
use crate::flows::block_invites::{block_invites, read_link};
use crate::json::Object;
use crate::notify::templates::page::{InviteLink, Page};
use crate::state::State;

/// `GET /_identity/v1/invites/block`: what can be blocked.
pub async fn show(request: HttpRequest, state: Data<State>) -> HttpResponse {
    let query = input::block_query(&request).unwrap_or_default();
    let audience = browser::audience(&request, &query);
    let token = query.string("token").unwrap_or_default();
    let Some(linked) = read_link(&state, token) else {
        return browser::page(&state, StatusCode::BAD_REQUEST, &Page::BlockInvalid, &audience);
    };
    let invite = InviteLink { masked_address: &linked.masked_address, sender: &linked.sender };
    browser::page(&state, StatusCode::OK, &Page::Block { invite, token }, &audience)
}

/// `POST /_identity/v1/invites/block`: blocks the sender or all.
pub async fn block(request: HttpRequest, state: Data<State>, body: Body) -> HttpResponse {
    let received = body.read().await;
    let fields: Object<'_> = input::object_or_form(&received).unwrap_or_default();
    let audience = browser::audience(&request, &fields);
    let scope = fields.string("scope").ok().and_then(Scope::parse);
    let linked = fields.string("token").ok().and_then(|token| read_link(&state, token));
    let (Some(scope), Some(linked)) = (scope, linked) else {
        return browser::page(&state, StatusCode::BAD_REQUEST, &Page::BlockInvalid, &audience);
    };
    match block_invites(&state, &linked, scope).await {
        Ok(()) => {
            let invite = InviteLink { masked_address: &linked.masked_address, sender: &linked.sender };
            let page = Page::Blocked { invite, is_all: scope == Scope::All };
            browser::page(&state, StatusCode::OK, &page, &audience)
        }
        Err(error) => browser::failure(&state, &error, &Page::BlockInvalid, &audience),
    }
}
