//! The service account of the tests, and what a token endpoint asks of a request (RFC 7523 §3; *OAuth 2.0 for Server to
//! Server Applications*).
//!
//! Invariant: an assertion counts only if it was signed with the account's key, for this endpoint, for an hour at most.

use std::sync::OnceLock;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use shared::clock::Clock;

use super::Request;

/// `private_key_id`
pub(super) const KEY_ID: &str = "4f6c0d2b9e8a71536c0f1e2d3c4b5a6978869504";

/// `client_email`
pub(super) const CLIENT_EMAIL: &str = "push@demo-project.iam.gserviceaccount.com";

const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// By how much clocks may differ, in seconds.
const LEEWAY: i64 = 60;

/// Made once in a process: large keys take their time.
fn key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).expect("the system has randomness"))
}

/// The account's private key, PKCS#8 in PEM.
pub(super) fn private_key_pem() -> String {
    let der = key().as_der().expect("a key that was made here");
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

/// What is wrong with a request for a token: the error's name, and words for people.
pub(super) fn check(clock: &Clock, audience: &str, request: &Request) -> Result<(), (&'static str, String)> {
    let wrong = |name, text: &str| Err((name, text.to_owned()));
    if request.header("content-type") != Some("application/x-www-form-urlencoded") {
        return wrong("invalid_request", "expected a form");
    }
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if field("grant_type") != Some(GRANT_TYPE) {
        return wrong("unsupported_grant_type", "Invalid grant_type.");
    }
    let Some(assertion) = field("assertion") else { return wrong("invalid_request", "Missing assertion.") };
    let mut validation = Validation::new(Algorithm::RS256);
    // Claims are looked at below, by the clock of the test.
    (validation.validate_exp, validation.validate_aud) = (false, false);
    validation.required_spec_claims.clear();
    let public = DecodingKey::from_rsa_der(key().public_key().as_ref());
    let Ok(token) = jsonwebtoken::decode::<Value>(assertion, &public, &validation) else {
        return wrong("invalid_grant", "Invalid JWT Signature.");
    };
    if token.header.kid.as_deref() != Some(KEY_ID) {
        return wrong("invalid_grant", "Invalid JWT: unknown kid.");
    }
    let text = |name: &str| token.claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(CLIENT_EMAIL) {
        return wrong("invalid_grant", "Invalid grant: account not found");
    }
    if text("aud") != Some(audience) {
        return wrong("invalid_grant", "Invalid JWT: aud is not this endpoint.");
    }
    if text("scope") != Some(SCOPE) {
        return wrong("invalid_scope", "Invalid OAuth scope or ID token audience provided.");
    }
    let number = |name: &str| token.claims.get(name).and_then(Value::as_i64);
    let (Some(iat), Some(exp)) = (number("iat"), number("exp")) else {
        return wrong("invalid_grant", "Invalid JWT: iat or exp is missing.");
    };
    let now = clock.now().as_millis() / 1000;
    if exp - iat > 3600 || exp <= iat || iat > now + LEEWAY || exp < now - LEEWAY {
        return wrong("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes).");
    }
    Ok(())
}

/// What is wrong with a request to the metadata server.
pub(super) fn check_metadata(request: &Request) -> Result<(), (&'static str, String)> {
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let scopes = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "scopes");
    if request.header("metadata-flavor") != Some("Google") {
        return Err(("forbidden", String::from("Missing Metadata-Flavor:Google header.")));
    }
    if scopes.is_none_or(|(_, value)| value != SCOPE) {
        return Err(("invalid_scope", String::from("expected the scope of messages")));
    }
    Ok(())
}
