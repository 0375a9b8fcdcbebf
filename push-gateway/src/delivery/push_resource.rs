//! The URLs of push resources: one device for one application server.
//!
//! Invariant: a URL is made only for a device token that the app's push service could know.

use std::time::Duration;

use super::keys::Keys;
use super::relay::Relay;
use super::state::{Setup, State};
use crate::apps::registry::{App, Apps};
use crate::notification::Device;
use crate::relay::seal::{self, ANY_KEY, Kind, Sealed};
use crate::relay::vapid::parse_key;

/// The longest `app_id` and `chid` in bytes.
const MAX_ID: usize = 64;

/// A request for a URL.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription<'a> {
    pub(crate) app_id: &'a str,
    /// The device token.
    pub(crate) token: &'a str,
    /// The application server's key.
    pub(crate) vapid: Option<&'a str>,
    /// The client's own name for the account; may be empty.
    pub(crate) chid: &'a str,
}

/// Why there is no URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoUrl {
    #[error("app: no app with this app_id has relay = true")]
    UnknownApp,
    #[error("token: expected a device token of the app's push service")]
    Token,
    #[error("vapid: expected the application server's key, 65 bytes of P-256 in base64url")]
    Vapid,
    #[error("chid: expected at most 64 characters of A-Z a-z 0-9 . _ -")]
    Chid,
}

/// Whether this can be an `app_id` in a path.
pub(crate) fn is_app_id(text: &str) -> bool {
    !text.is_empty() && is_id(text)
}

fn is_id(text: &str) -> bool {
    text.len() <= MAX_ID && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Makes the URL of a push resource.
///
/// # Errors
/// [`NoUrl`].
pub(crate) fn url(state: &State, relay: &Relay, apps: &Apps, subscription: Subscription<'_>) -> Result<String, NoUrl> {
    let Subscription { app_id, token, vapid, chid } = subscription;
    let app = apps.find(app_id).filter(|app| app.has_relay() && is_app_id(app_id)).ok_or(NoUrl::UnknownApp)?;
    let (kind, device_token) = device_token(app, app_id, token).ok_or(NoUrl::Token)?;
    let digest = match vapid {
        Some(key) => seal::digest(&parse_key(key).ok_or(NoUrl::Vapid)?),
        None if relay.settings.require_vapid => return Err(NoUrl::Vapid),
        None => ANY_KEY,
    };
    if !is_id(chid) {
        return Err(NoUrl::Chid);
    }
    let created = created(state, app, app_id, &device_token);
    let sealed = Sealed { kind, digest, created, chid: chid.to_owned(), device_token };
    let token = relay.keys.seal(app_id, &sealed, state.random.bytes());
    Ok(format!("{}/wp/{app_id}/{token}", relay.public_url()))
}

/// The device token that a client names, as it is sealed.
pub(crate) fn device_token(app: &App, app_id: &str, token: &str) -> Option<(Kind, Vec<u8>)> {
    let kind = Kind::of_type(app.own.type_name)?;
    let bytes = app.own.provider.device_token(token).filter(|bytes| kind.lengths().contains(&bytes.len()))?;
    let device = device(app, app_id, &bytes, None)?;
    // A URL of UnifiedPush is no token of Google.
    app.sender(&device).ok().filter(|sender| std::ptr::eq(*sender, &app.own))?;
    Some((kind, bytes))
}

/// The minute of a URL that is made now; the next one if the device was rejected within this minute, so that the URL does not
/// seem to be older than the rejection.
fn created(state: &State, app: &App, app_id: &str, device_token: &[u8]) -> u32 {
    let minute = u32::try_from(state.clock.now().as_millis() / 60_000).unwrap_or_default();
    let is_rejected = device(app, app_id, device_token, Some(minute)).is_some_and(|device| {
        let pushkey = app.own.provider.canonical_pushkey(&device);
        let key = state.device_keys.device(&app.scope(), &pushkey);
        state.rejected_pushkeys.find(key, device.pushkey_ts).is_some()
    });
    minute.saturating_add(u32::from(is_rejected))
}

/// The device with a sealed token. `created`: when the token was sealed, in minutes since the Unix epoch.
pub(crate) fn device(app: &App, app_id: &str, device_token: &[u8], created: Option<u32>) -> Option<Device> {
    let pushkey = app.own.provider.pushkey(device_token)?;
    Some(Device::relayed(app_id, pushkey, created.map(|minutes| i64::from(minutes) * 60)))
}

/// Whether the device with this token had a delivery since the gateway started.
pub(crate) fn is_proven(state: &State, setup: &Setup, app_id: &str, device_token: &[u8]) -> bool {
    let app = setup.apps.find(app_id);
    let found = app.and_then(|app| Some((app, device(app, app_id, device_token, None)?)));
    found.is_some_and(|(app, device)| state.proven_pushkeys.contains(keys(state, app, &device).pushkey))
}

/// Checks the rate limit of the device, which its delivery charges.
///
/// # Errors
/// The time until the next push is allowed.
pub(crate) fn check_rate(state: &State, setup: &Setup, app: &App, device: &Device) -> Result<(), Duration> {
    let keys = keys(state, app, device);
    let is_proven = state.proven_pushkeys.contains(keys.pushkey);
    let buckets = if is_proven { &setup.per_pushkey } else { &setup.per_unproven_pushkey };
    buckets.check(|| keys.limited, state.clock.now())
}

fn keys(state: &State, app: &App, device: &Device) -> Keys {
    let pushkey = app.own.provider.canonical_pushkey(device);
    let installation = app.own.provider.installation(&pushkey);
    Keys::new(&state.device_keys, &[&app.pattern, &app.config_generation], &pushkey, installation)
}
