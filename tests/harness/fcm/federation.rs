//! Workload identity federation: a pool that trusts another issuer, Google's token service (RFC 8693), the impersonation of
//! a service account (*generateAccessToken*), and the server that hands out the tokens of the other issuer.
//!
//! Invariant: a token of the other issuer counts until it is replaced; an access token of the pool is no token of the service
//! account, and impersonation takes no other token.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use shared::random::Random;

use super::fault::{self, Fault};
use super::state::{Target, World};
use super::{Google, Request};

/// Where the token service is.
pub(super) const EXCHANGE_PATH: &str = "/v1/token";

/// Where the service account is impersonated.
pub(super) const IMPERSONATION_PATH: &str =
    "/v1/projects/-/serviceAccounts/push@demo-project.iam.gserviceaccount.com:generateAccessToken";

/// Where the token of the other issuer is.
pub(super) const SUBJECT_PATH: &str = "/issuer/token";

/// The pool's provider.
pub(super) const AUDIENCE: &str =
    "//iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/p/providers/k8s";

const MESSAGING: &str = "https://www.googleapis.com/auth/firebase.messaging";
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

/// The client of a pool that wants one.
pub(super) const CLIENT: (&str, &str) = ("client-1", "client-secret-1");

/// A step from an identity outside Google to an access token, for a fault.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The token of the other issuer.
    Subject,
    /// The token exchange.
    Exchange,
    /// The impersonation of the service account.
    Impersonation,
}

impl Google {
    /// Google's credential file for an identity outside Google, with the token of the other issuer in `token_file`.
    pub fn external_account(&self, token_file: &Path) -> Value {
        let base = self.base_url();
        json!({
            "universe_domain": "googleapis.com",
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": format!("{base}{}", EXCHANGE_PATH),
            "service_account_impersonation_url": format!("{base}{}", IMPERSONATION_PATH),
            "credential_source": { "file": token_file },
        })
    }

    /// The `credential_source` of a server that hands out the token of the other issuer.
    pub fn subject_server(&self) -> Value {
        json!({
            "url": format!("{}{}", self.base_url(), SUBJECT_PATH),
            "headers": { "X-Issuer": "gatehouse" },
            "format": { "type": "json", "subject_token_field_name": "id_token" },
        })
    }

    /// The client that the token service accepts, and from now on asks for.
    pub fn ask_for_client(&self) -> (&'static str, &'static str) {
        self.world.state().wants_client = true;
        CLIENT
    }

    /// The valid token of the other issuer.
    pub fn subject_token(&self) -> String {
        self.world.state().subject_token.clone()
    }

    /// Replaces the token of the other issuer; the former one becomes invalid.
    pub fn renew_subject_token(&self) -> String {
        let token = new_subject_token();
        self.world.state().subject_token.clone_from(&token);
        token
    }

    /// Answers every request of this step by `fault`.
    pub fn step_fault(&self, step: Step, fault: Fault) {
        let target = match step {
            Step::Subject => Target::Subject,
            Step::Exchange => Target::Exchange,
            Step::Impersonation => Target::Impersonation,
        };
        self.add_fault(target, fault, None);
    }

    /// The requests for identities outside Google so far, oldest first.
    pub fn steps(&self) -> Vec<Request> {
        let paths = [SUBJECT_PATH, EXCHANGE_PATH, IMPERSONATION_PATH];
        self.server.core.requests_if(|request| paths.contains(&request.path()))
    }
}

/// A token of the other issuer, in the form of a JWT.
pub(super) fn new_subject_token() -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{}.{}", Random.base62(60), Random.base62(80))
}

/// Hands out the token of the other issuer, to those who know its header field.
pub(super) fn subject(world: &World, request: &Request) -> Fault {
    if request.header("x-issuer") != Some("gatehouse") {
        return Fault::reply(403, "who is asking?");
    }
    Fault::json(200, json!({ "id_token": world.state().subject_token }))
}

/// Exchanges a token of the other issuer.
pub(super) fn exchange(world: &World, request: &Request) -> Fault {
    let refuse = |error: &str, text: &str| Fault::json(400, json!({ "error": error, "error_description": text }));
    if request.header("content-type") != Some("application/x-www-form-urlencoded") {
        return refuse("invalid_request", "Unsupported content type.");
    }
    let form: Vec<(String, String)> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    let field = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if field("grant_type") != Some("urn:ietf:params:oauth:grant-type:token-exchange") {
        return refuse("unsupported_grant_type", "Invalid value for \"grant_type\".");
    }
    if field("requested_token_type") != Some("urn:ietf:params:oauth:token-type:access_token") {
        return refuse("invalid_request", "Invalid value for \"requested_token_type\".");
    }
    if field("audience") != Some(AUDIENCE) {
        return refuse("invalid_target", "The target service indicated by the \"audience\" parameters is invalid.");
    }
    let scope = field("scope").unwrap_or_default();
    if ![MESSAGING, CLOUD_PLATFORM].contains(&scope) {
        return refuse("invalid_scope", "Some requested scopes were invalid.");
    }
    if field("subject_token_type") != Some("urn:ietf:params:oauth:token-type:jwt") {
        return refuse("invalid_request", "Invalid value for \"subject_token_type\".");
    }
    let client = request.header("authorization").map(str::to_owned);
    let mut state = world.state();
    if state.wants_client && client.as_deref() != Some(&basic()) {
        return Fault::json(401, json!({ "error": "invalid_client", "error_description": "The client is unknown." }));
    }
    let given = field("subject_token").unwrap_or_default();
    if given != state.subject_token {
        let text = format!("The given credential is rejected: Invalid ID Token {given}");
        return refuse("invalid_grant", &text);
    }
    let token = format!("ya29.d.{}", Random.base62(120));
    let (end, lifetime) = (world.clock.now().plus(state.token_lifetime), state.token_lifetime.as_secs());
    state.federated.insert(token.clone(), end);
    if scope == MESSAGING {
        state.tokens.insert(token.clone(), end);
    }
    Fault::json(
        200,
        json!({
            "access_token": token, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
            "token_type": "Bearer", "expires_in": lifetime.to_string(),
        }),
    )
}

fn basic() -> String {
    let pair = format!("{}:{}", CLIENT.0, CLIENT.1);
    format!("Basic {}", STANDARD.encode(pair))
}

/// Gives a token of the service account for one of the pool.
pub(super) fn impersonate(world: &World, request: &Request) -> Fault {
    let error = |code: u16, status: &str, text: &str| Fault::json(code, fault::error(code, status, text, &[]));
    let mut state = world.state();
    let token = request.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let end = token.and_then(|token| state.federated.get(token)).copied();
    if end.is_none_or(|end| end <= world.clock.now()) {
        return Fault::unauthenticated();
    }
    if token.is_some_and(|token| state.tokens.contains_key(token)) {
        return error(403, "PERMISSION_DENIED", "Request had insufficient authentication scopes.");
    }
    if !request.header("content-type").is_some_and(|value| value.starts_with("application/json")) {
        return error(400, "INVALID_ARGUMENT", "Invalid JSON payload received.");
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    if body["scope"] != json!([MESSAGING]) {
        return error(400, "INVALID_ARGUMENT", "The scope must be supplied.");
    }
    let lifetime = body["lifetime"].as_str().and_then(|text| text.strip_suffix('s')?.parse::<u64>().ok());
    let Some(lifetime) = lifetime.filter(|seconds| (1..=3600).contains(seconds)) else {
        return error(400, "INVALID_ARGUMENT", "The access token lifetime cannot exceed 3600s.");
    };
    let token = format!("ya29.c.{}", Random.base62(120));
    let end = world.clock.now().plus(std::time::Duration::from_secs(lifetime));
    state.tokens.insert(token.clone(), end);
    let expire_time = jiff::Timestamp::from_millisecond(end.as_millis()).expect("a time of this century");
    Fault::json(200, json!({ "accessToken": token, "expireTime": expire_time.to_string() }))
}
