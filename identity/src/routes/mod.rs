//! The endpoints, one file for each group of the specification, named after the path's segments.
//!
//! Invariant: a route parses the request into a struct, calls one flow and writes the response. It makes no decision.

pub mod account;
mod auth;
pub mod block;
mod browser;
mod current_state;
mod input;
pub mod invitation;
pub mod legacy_v1;
pub mod link;
pub mod lookup;
pub mod pubkey;
mod slashes;
pub mod status;
pub mod terms;
pub mod three_pid;
pub mod validate;

use actix_web::guard;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use shared::http::endpoint::{endpoint, not_found};

use crate::config::Config;

/// Whether a body at this path may have the size of `[http] max_body`: a look-up has ten thousand hashes, every other body
/// a few fields.
pub fn may_be_large(path: &str) -> bool {
    path.ends_with("/lookup") || path.ends_with("/bulk_lookup")
}

/// Registers every endpoint, and those of the removed v1 API that the operator's profile has. Slashes in a row are one.
pub fn configure(config: &mut ServiceConfig, settings: &Config) {
    let endpoints = web::scope("").wrap(from_fn(slashes::merge_slashes)).wrap(from_fn(current_state::take_state));
    config.service(endpoints.configure(|config| configure_endpoints(config, settings)));
}

fn configure_endpoints(config: &mut ServiceConfig, settings: &Config) {
    const V2: &str = "/_matrix/identity/v2";
    let v2 = |path: &str| endpoint(&format!("{V2}{path}"));
    let signs_without_account =
        guard::fn_guard(|context| current_state::has(context, |state| state.config.signs_without_account()));
    config
        .service(endpoint("/_matrix/identity/versions").get(status::versions))
        .service(v2("").get(status::ping))
        .service(v2("/").get(status::ping))
        .service(v2("/account").get(account::account))
        .service(v2("/account/register").post(account::register))
        .service(v2("/account/logout").post(account::logout))
        .service(v2("/terms").get(terms::terms).post(terms::accept))
        .service(v2("/hash_details").get(lookup::hash_details))
        .service(v2("/lookup").post(lookup::lookup))
        .service(v2("/validate/email/requestToken").post(validate::request_email_token))
        .service(v2("/validate/email/submitToken").get(link::follow_email_link).post(validate::submit_email_token))
        .service(v2("/validate/msisdn/requestToken").post(validate::request_msisdn_token))
        .service(v2("/validate/msisdn/submitToken").get(link::follow_msisdn_link).post(validate::submit_msisdn_token))
        .service(v2("/3pid/getValidated3pid").get(three_pid::get_validated_3pid))
        .service(v2("/3pid/bind").post(three_pid::bind))
        .service(v2("/3pid/unbind").post(three_pid::unbind))
        .service(v2("/store-invite").post(invitation::store_invite))
        .service(v2("/sign-ed25519").guard(signs_without_account).post(invitation::sign_ed25519_without_account))
        .service(v2("/sign-ed25519").post(invitation::sign_ed25519))
        .service(v2("/pubkey/isvalid").get(pubkey::is_valid))
        .service(v2("/pubkey/ephemeral/isvalid").get(pubkey::is_ephemeral_valid))
        .service(v2("/pubkey/{keyId}").get(pubkey::pubkey))
        .service(endpoint("/_identity/v1/bindings").get(account::bindings))
        .service(endpoint("/_identity/v1/invites/block").get(block::show).post(block::block))
        .default_service(web::to(not_found));
    legacy_v1::configure(config, settings.legacy_v1.profile);
}
