//! `POST /wp/{app}/{token}`: relays one encrypted push to the device in the URL.
//! <https://www.rfc-editor.org/rfc/rfc8030#section-5>
//!
//! Invariant: the checks are in their order, and the first one that fails answers. A signature is verified only for a URL that
//! the gateway has made, and for the key that it names.

mod authorize;

use std::sync::Arc;
use std::time::Instant;

use actix_web::http::header::{HeaderName, LOCATION, ORIGIN};
use actix_web::web::Bytes;
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use shared::http::body::Body;
use shared::http::client_address::client_address;
use shared::http::observe::{AlreadyLogged, milliseconds};

use super::refusal::{AFTER_MISTAKE, Refusal, check};
use super::seen::Seen;
use super::{BODY_TIMEOUT, UNKNOWN, content_length};
use crate::apps::registry::App;
use crate::delivery::push_resource::{check_rate, device, device_token, is_app_id, is_proven};
use crate::delivery::relay::Relay;
use crate::delivery::state::{Setup, State};
use crate::delivery::{Caller, deliver};
use crate::http::network::{NETWORK, SITE, network};
use crate::notification::Device;
use crate::notification::relayed::TOO_LARGE;
use crate::providers::outcome::{Failure, Outcome};
use crate::relay::app::AppRelay;
use crate::relay::body::{LARGEST, is_message};
use crate::relay::headers::{InvalidField, PushFields};
use crate::relay::seal::{ANY_KEY, NotOpened, Sealed};
use crate::relay::vapid;

/// The longest token in a URL.
const MAX_TOKEN: usize = 1024;

/// One push on its way through the checks.
struct Exchange<'a> {
    state: &'a Arc<State>,
    setup: &'a Arc<Setup>,
    relay: &'a Relay,
    request: &'a HttpRequest,
    app_id: &'a str,
    token: &'a str,
    /// For the log and the metrics, as far as known.
    seen: Seen,
}

/// A push that was accepted.
struct Receipt {
    /// How long the push service stores it, in seconds.
    ttl: u32,
}

/// `POST /wp/{app}/{token}`
pub(super) async fn push(
    state: &Arc<State>,
    setup: &Arc<Setup>,
    relay: &Relay,
    request: &HttpRequest,
    body: Body,
    app_id: &str,
    token: &str,
) -> HttpResponse {
    let began = Instant::now();
    let app = setup.apps.find(app_id).map_or(UNKNOWN, |app| app.pattern.as_str());
    let seen = Seen { app: app.to_owned(), ..Seen::default() };
    let mut exchange = Exchange { state, setup, relay, request, app_id, token, seen };
    let response = match exchange.accept(body).await {
        Ok(Receipt { ttl }) => HttpResponse::Created()
            .insert_header((LOCATION, relay.message_url(state.random)))
            .insert_header((HeaderName::from_static("ttl"), ttl))
            .finish(),
        Err(refusal) => refusal.response(),
    };
    let Seen { app, device, key, outcome, reason } = exchange.seen;
    let code = response.status().as_u16();
    metrics::counter!("push_relay_requests_total", "app" => app.clone(), "code" => code.to_string()).increment(1);
    let (client, ms) = (client_address(request), milliseconds(began.elapsed()));
    tracing::info!(app, device, key, outcome, reason, code, ms, %client, "relayed");
    request.extensions_mut().insert(AlreadyLogged);
    response
}

impl Exchange<'_> {
    async fn accept(&mut self, body: Body) -> Result<Receipt, Refusal> {
        let (state, setup, request) = (self.state, self.setup, self.request);
        if request.headers().contains_key(ORIGIN) {
            return Err(Refusal::Browser);
        }
        if state.activity.is_draining() {
            return Err(Failure::overloaded().into());
        }
        let client = client_address(request);
        let site = state.device_keys.client(&network(client, SITE));
        let mut permit = setup.in_flight.enter(site)?;
        if !is_app_id(self.app_id) || !self.is_token() {
            return Err(Refusal::NotFound("The URL is no push resource"));
        }
        let length = content_length(request);
        if length.is_some_and(|length| length > LARGEST as u64) {
            return Err(Refusal::TooLarge);
        }
        let values = |name: &str| request.headers().get_all(name).map(|value| value.as_bytes()).collect();
        let fields = PushFields::read(length.is_some_and(|length| length > 0), values)?;
        let sealed = self.open()?;
        let Some(app) = setup.apps.find(self.app_id) else {
            // The guard against mass rejections decides whether the homeserver deletes the pusher.
            permit.add_devices(1, 0)?;
            let pushkey = sealed.device_token.iter().map(|byte| format!("{byte:02x}")).collect();
            let device = Device::relayed(self.app_id, pushkey, None);
            let caller = Caller { site, peer: state.device_keys.application_server(&sealed.digest) };
            let notification = AppRelay::default().notification(&fields, sealed, Bytes::new());
            let outcome = deliver(state, setup, notification, vec![device], caller, permit).await.into_only();
            self.see(&outcome);
            return Err(check(outcome).err().unwrap_or(Refusal::NotFound("No app with this app_id is known")));
        };
        let device = self.device(app, &sealed)?;
        self.seen.device = state.device_keys.log_name(&device.pushkey);
        self.check_age(&sealed)?;
        let homeserver = self.authorize(&sealed)?;
        if let Some(digest) = &homeserver {
            self.see_key(digest);
        }
        // A homeserver that does not identify itself counts by its address.
        let peer = homeserver.map_or(site, |digest| state.device_keys.application_server(&digest));
        let (caller, now) = (Caller { site, peer }, state.clock.now());
        setup.per_ip.charge(|| state.device_keys.client(&network(client, NETWORK)), now).map_err(Refusal::Limited)?;
        self.relay.per_key.charge(|| peer, now).map_err(Refusal::Limited)?;
        check_rate(state, setup, app, &device).map_err(Refusal::Limited)?;
        let received = body.read_within(LARGEST, BODY_TIMEOUT).await;
        let body = received.bytes()?.clone();
        if !fields.is_encrypted && !body.is_empty() {
            return Err(InvalidField::ContentEncoding.into());
        }
        if !is_message(&body) {
            return Err(Refusal::NoMessage);
        }
        permit.add_devices(1, body.len())?;
        let ttl = sealed.kind.ttl(fields.ttl);
        let notification = app.relay().notification(&fields, sealed, body);
        let outcome = deliver(state, setup, notification, vec![device], caller, permit).await.into_only();
        self.see(&outcome);
        if let Outcome::Dropped(reason) = outcome
            && reason != TOO_LARGE
            && self.relay.undeliverable_log.allow(now)
        {
            tracing::error!(app = app.pattern, reason, "a relayed push is undeliverable, also without its body");
        }
        check(outcome).map(|()| Receipt { ttl })
    }

    /// Whether the last part of the path can be a token. The tokens of Google have a colon.
    fn is_token(&self) -> bool {
        let is_valid = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"-_".contains(&byte) || byte == b':' && self.clear_digest().is_some()
        };
        // A token has one spelling: nothing in it is percent-encoded.
        let is_plain = self.request.uri().path().ends_with(self.token) || self.clear_digest().is_some();
        is_plain && (1..=MAX_TOKEN).contains(&self.token.len()) && self.token.bytes().all(is_valid)
    }

    /// Opens the URL.
    fn open(&mut self) -> Result<Sealed, Refusal> {
        let (state, now) = (self.state, self.state.clock.now());
        let client = state.device_keys.client(&network(client_address(self.request), NETWORK));
        let sealed = match self.clear_digest() {
            Some(digest) => self.clear(digest).ok_or(NotOpened::Invalid),
            None => self.relay.keys.open(self.app_id, self.token),
        };
        if let Err(wait) = state.failed_opens.check(client, now) {
            // Users of a homeserver register wrong URLs too, and must not stop the pushes to others. Its answer does not show
            // whether another URL opens.
            let is_known = |sealed: &Sealed| is_proven(state, self.setup, self.app_id, &sealed.device_token);
            return sealed.ok().filter(is_known).ok_or(Refusal::Limited(wait));
        }
        match sealed {
            Ok(sealed) => {
                self.see_key(&sealed.digest);
                Ok(sealed)
            }
            Err(NotOpened::Invalid) => {
                state.failed_opens.record(client, now);
                // Its own limit counts the attempt too.
                let _ = self.setup.per_ip.charge(|| client, now);
                Err(Refusal::NotFound("The URL is no push resource"))
            }
            Err(NotOpened::Retired) => Err(Refusal::Gone("The URL was made with a key that is retired")),
            Err(NotOpened::UnknownKey) => {
                if self.relay.missing_key_log.allow(now) {
                    tracing::error!(
                        "a URL of a push resource was made with a key that is missing: restore [relay] seal_keys, or add its \
                         number to retired_seal_keys"
                    );
                }
                Err(Refusal::Unavailable("The key of this URL is missing", AFTER_MISTAKE))
            }
        }
    }

    /// The digest in the query of a URL with a device token in the clear, if these are allowed.
    fn clear_digest(&self) -> Option<[u8; 32]> {
        if !self.relay.settings.allow_clear_tokens {
            return None;
        }
        let value = self.request.query_string().split('&').find_map(|pair| pair.strip_prefix("k="))?;
        if value.is_empty() && !self.relay.settings.require_vapid {
            return Some(ANY_KEY);
        }
        vapid::read_digest(value)
    }

    fn clear(&self, digest: [u8; 32]) -> Option<Sealed> {
        let app = self.setup.apps.find(self.app_id).filter(|app| app.has_relay())?;
        let (kind, device_token) = device_token(app, self.app_id, self.token)?;
        let minutes = self.state.clock.now().as_millis() / 60_000;
        let created = u32::try_from(minutes).unwrap_or_default();
        Some(Sealed { kind, digest, created, chid: String::new(), device_token })
    }

    /// The device, if the app still has the type and the relay that it had when the URL was made.
    fn device(&self, app: &App, sealed: &Sealed) -> Result<Device, Refusal> {
        let created = (self.clear_digest().is_none()).then_some(sealed.created);
        let is_served = app.has_relay() && app.own.type_name == sealed.kind.type_name();
        let device = is_served.then(|| device(app, self.app_id, &sealed.device_token, created)).flatten();
        device.ok_or_else(|| {
            let (app_name, reason) = (app.pattern.clone(), "relay_removed");
            metrics::counter!("push_config_error_total", "app" => app_name, "reason" => reason).increment(1);
            if app.config_error_log.allow(self.state.clock.now()) {
                let (app, expected) = (&app.pattern, sealed.kind.type_name());
                tracing::error!(
                    app,
                    reason,
                    expected,
                    "a push resource of this app is in use: give the app its type and relay = true again"
                );
            }
            Refusal::Unavailable("The app of this URL is not relayed at present", AFTER_MISTAKE)
        })
    }

    fn check_age(&self, sealed: &Sealed) -> Result<(), Refusal> {
        let Some(max_age) = self.relay.settings.max_age else { return Ok(()) };
        let created = shared::clock::Timestamp::from_millis(i64::from(sealed.created) * 60_000);
        let is_expired = created.plus(max_age.get()) < self.state.clock.now();
        if is_expired { Err(Refusal::Gone("The URL has expired: the app must ask for a new one")) } else { Ok(()) }
    }

    fn see_key(&mut self, digest: &[u8; 32]) {
        self.seen.key = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    }

    fn see(&mut self, outcome: &Outcome) {
        (self.seen.outcome, self.seen.reason) = outcome.labels();
    }
}
