//! The endpoints, one file for each group of the specification; names are those of the path's segments.
//!
//! Invariant: a route parses texts into types, asks one flow, and writes the answer; it decides nothing.

pub mod account;
mod auth;
mod input;
pub mod invitation;
pub mod legacy_v1;
pub mod lookup;
pub mod pubkey;
pub mod status;
pub mod terms;
pub mod three_pid;
pub mod validate;

use actix_web::web::{self, ServiceConfig};
use shared::http::endpoint::{endpoint, not_found};

use crate::config::legacy_v1::LegacyV1;

/// Registers every endpoint, and those of the removed v1 API that `legacy` asks for.
pub fn configure(config: &mut ServiceConfig, legacy: &LegacyV1) {
    const V2: &str = "/_matrix/identity/v2";
    let v2 = |path: &str| endpoint(&format!("{V2}{path}"));
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
        .service(v2("/validate/email/submitToken").get(validate::follow_email_link).post(validate::submit_email_token))
        .service(v2("/validate/msisdn/requestToken").post(validate::request_msisdn_token))
        .service(
            v2("/validate/msisdn/submitToken").get(validate::follow_msisdn_link).post(validate::submit_msisdn_token),
        )
        .service(v2("/3pid/getValidated3pid").get(three_pid::get_validated_3pid))
        .service(v2("/3pid/bind").post(three_pid::bind))
        .service(v2("/3pid/unbind").post(three_pid::unbind))
        .service(v2("/store-invite").post(invitation::store_invite))
        .service(v2("/sign-ed25519").post(invitation::sign_ed25519))
        .service(v2("/pubkey/isvalid").get(pubkey::is_valid))
        .service(v2("/pubkey/ephemeral/isvalid").get(pubkey::is_ephemeral_valid))
        .service(v2("/pubkey/{keyId}").get(pubkey::pubkey))
        .service(endpoint("/_identity/v1/bindings").get(account::bindings))
        .default_service(web::to(not_found));
    legacy_v1::configure(config, legacy);
}
