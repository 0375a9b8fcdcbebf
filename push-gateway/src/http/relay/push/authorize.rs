//! Which application server sends a push (VAPID, RFC 8292).
//!
//! Invariant: a signature is verified only for the key that the URL names.

use actix_web::http::header::{AUTHORIZATION, HOST};
use shared::http::client_address::client_address;

use super::super::refusal::{AFTER_MISTAKE, Refusal};
use super::Exchange;
use crate::http::network::{NETWORK, network};
use crate::relay::seal::{Sealed, digest};
use crate::relay::vapid::{self, Credentials};

impl Exchange<'_> {
    /// Checks that the push comes from the application server of the URL; returns the digest of its key. `None`: the URL is for
    /// every application server, and this one does not identify itself.
    pub(super) fn authorize(&self, sealed: &Sealed) -> Result<Option<[u8; 32]>, Refusal> {
        let (result, label) = self.identify(sealed);
        metrics::counter!("push_relay_vapid_total", "result" => label).increment(1);
        result
    }

    fn identify(&self, sealed: &Sealed) -> (Result<Option<[u8; 32]>, Refusal>, &'static str) {
        let Self { state, relay, request, .. } = self;
        let (keys, now) = (&state.device_keys, state.clock.now());
        let is_open = sealed.is_for_any_key() && !relay.settings.require_vapid;
        let mut values = request.headers().get_all(AUTHORIZATION);
        let (value, second) = (values.next(), values.next());
        if value.is_none() && is_open {
            return (Ok(None), "none");
        }
        let missing =
            || (Err(Refusal::Unauthorized("Authorization: expected vapid with t and k (RFC 8292)")), "missing");
        let text = value.filter(|_| second.is_none()).and_then(|value| value.to_str().ok());
        let Some(credentials) = text.and_then(Credentials::parse) else { return missing() };
        let is_verified = relay.is_verified(&credentials, keys, now);
        if !is_verified && !credentials.has_point() {
            return missing();
        }
        let own = digest(&credentials.key);
        if !is_open && !sealed.allows(&own) {
            return (Err(Refusal::OtherKey), "other_key");
        }
        if is_verified {
            return (Ok(Some(own)), "known");
        }
        // Anyone can get a URL for a key of his own, and a signature costs most of all checks. The address alone would let a
        // homeserver with a wrong token block the others behind it.
        let digits: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        let caller = keys.client(&format!("{} {digits}", network(client_address(request), NETWORK)));
        if let Err(wait) = state.failed_opens.check(caller, now) {
            return (Err(Refusal::Limited(wait)), "limited");
        }
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        match relay.verify(&credentials, keys, host, now) {
            Ok(()) => (Ok(Some(own)), "valid"),
            Err(vapid::Refusal::Invalid) => {
                state.failed_opens.record(caller, now);
                let text = "Authorization: the token is invalid, has expired, or is for another push service";
                (Err(Refusal::Unauthorized(text)), "invalid")
            }
            Err(vapid::Refusal::WrongPublicUrl) => {
                if relay.public_url_log.allow(now) {
                    tracing::error!(
                        "VAPID tokens are for the host of the request, which is not that of [relay] public_url: correct it, or \
                         add the origin to extra_origins"
                    );
                }
                (Err(Refusal::Unavailable("The gateway does not know its own URL", AFTER_MISTAKE)), "wrong_public_url")
            }
        }
    }
}
