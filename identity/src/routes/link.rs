//! `GET /_matrix/identity/v2/validate/{email,msisdn}/submitToken`, and the same under `/_matrix/identity/api/v1`: the link
//! in a validation message, opened by a browser without an account.
//! <https://spec.matrix.org/v1.19/identity-service-api/#get_matrixidentityv2validateemailsubmittoken>
//!
//! Invariant: every failure of the link shows the same page. A failure of this server shows that the link stays good.

use actix_web::http::{Method, StatusCode};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::{browser, input};
use crate::domain::next_link::{NextLink, NextLinkRule};
use crate::domain::threepid::Medium;
use crate::flows::follow_link::{Concerned, FollowedLink, NextPage, RawSubmission, follow_link};
use crate::json::Object;
use crate::notify::templates::page::{Form, Page, Subject};
use crate::state::State;

/// `GET /validate/email/submitToken`: the link of a mail.
pub async fn follow_email_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Email, |_| None).await
}

/// `GET /validate/msisdn/submitToken`: the link of an SMS.
pub async fn follow_msisdn_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Msisdn, |_| None).await
}

/// `GET /_matrix/identity/api/v1/validate/email/submitToken`: the link of an old mail, which has a `nextLink`.
pub async fn follow_old_email_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Email, |query| old_next_link(&state, query)).await
}

/// `GET /_matrix/identity/api/v1/validate/msisdn/submitToken`: the link of an old SMS.
pub async fn follow_old_msisdn_link(request: HttpRequest, state: Data<State>) -> HttpResponse {
    follow(&request, &state, Medium::Msisdn, |query| old_next_link(&state, query)).await
}

/// Anyone can write the `nextLink` of a link, so it counts only with a list of hosts.
fn old_next_link(state: &State, query: &Object<'_>) -> Option<NextLink> {
    Some(state.config.next_link_rule())
        .filter(NextLinkRule::redirects)?
        .check(query.string("nextLink").ok()?)
        .ok()
        .flatten()
}

async fn follow(
    request: &HttpRequest,
    state: &State,
    medium: Medium,
    next_link: impl Fn(&Object<'_>) -> Option<NextLink>,
) -> HttpResponse {
    let query = input::link_query(request).unwrap_or_default();
    let text = |name: &'static str| query.string(name).ok();
    let raw = match (text("sid"), text("client_secret"), text("token")) {
        (Some(sid), Some(client_secret), Some(token)) => Some(RawSubmission { sid, client_secret, token }),
        _ => None,
    };
    let link = FollowedLink {
        medium,
        is_head: request.method() == Method::HEAD,
        is_confirmed: text("confirm") == Some("1"),
        raw,
        submitted: input::submission(medium, &query),
        next_link: next_link(&query),
    };
    let audience = browser::audience(request, &query);
    let page = |page: &Page<'_>| browser::page(state, StatusCode::OK, page, &audience);
    match follow_link(state, link).await {
        Ok(NextPage::Verified(concerned, button)) => {
            let subject = concerned.as_ref().map(subject);
            let continue_to = button.as_ref().map(|button| (button.host.as_str(), button.target.as_str()));
            page(&Page::Confirmed { subject, continue_to })
        }
        Ok(NextPage::Confirm(asked)) => {
            let RawSubmission { sid, client_secret, token } = asked.raw;
            let next_link = asked.next_link.as_ref().map(NextLink::as_str);
            let form = Form { sid, client_secret, token, next_link };
            page(&Page::Confirm { subject: subject(&asked.concerned), expires_in: asked.expires_in, form })
        }
        Ok(NextPage::Redirect(target)) => browser::redirect(&target),
        Err(error) => {
            let expired = Page::Expired { lifetime: state.config.sessions.lifetime.get() };
            browser::failure(state, &error, &expired, &audience)
        }
    }
}

fn subject(concerned: &Concerned) -> Subject<'_> {
    Subject { masked_address: &concerned.masked_address, mxid: &concerned.mxid }
}
