//! The endpoints, one file for each group of the specification; names are those of the path's segments.
//!
//! Invariant: a route parses texts into types, asks one flow, and writes the answer; it decides nothing.

pub mod account;
mod auth;
mod input;
pub mod invitation;
pub mod lookup;
pub mod pubkey;
pub mod status;
pub mod terms;
pub mod three_pid;
pub mod validate;

use actix_web::guard;
use actix_web::web::{self, ServiceConfig};
use shared::http::endpoint::{endpoint, not_found};

use crate::config::invites::Profile;

/// Registers every endpoint, and those of the removed v1 API that `legacy` asks for.
pub fn configure(config: &mut ServiceConfig, legacy: Profile) {
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
    match legacy {
        Profile::Off => {}
        Profile::Invites => configure_v1_for_invites(config),
    }
}

/// What stands in mails and rooms, and what is called without having been asked: the rest of v1 is not there.
fn configure_v1_for_invites(config: &mut ServiceConfig) {
    const V1: &str = "/_matrix/identity/api/v1";
    let v1 = |path: &str| endpoint(&format!("{V1}{path}"));
    config
        .service(v1("").get(status::ping))
        .service(v1("/").get(status::ping))
        .service(v1("/sign-ed25519").post(invitation::sign_ed25519_by_v1))
        .service(v1("/pubkey/isvalid").get(pubkey::is_valid))
        .service(v1("/pubkey/ephemeral/isvalid").get(pubkey::is_ephemeral_valid))
        .service(v1("/pubkey/{keyId}").get(pubkey::pubkey))
        // Clients' POST to these paths is among what is not there, as if there were no such path.
        .service(
            web::scope("")
                .guard(guard::Not(guard::Post()))
                .service(v1("/validate/email/submitToken").get(validate::follow_old_email_link))
                .service(v1("/validate/msisdn/submitToken").get(validate::follow_old_msisdn_link)),
        );
}
