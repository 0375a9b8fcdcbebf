//! The faults of each push service, and their frequency.
//!
//! Invariant: every kind has a minimum frequency, so none of the table is unused.

use std::time::Duration;

use harness::{apns, fcm, push_service};

/// One fault of an attempt.
pub(super) struct Kind<F> {
    /// The name in the report.
    pub(super) name: &'static str,
    /// How many attempts in a thousand get it by chance.
    pub(super) per_mille: u64,
    /// How many first attempts get it for certain.
    pub(super) times: usize,
    /// The same in a long run.
    pub(super) times_in_a_long_run: usize,
    /// The fault, from a random number.
    pub(super) fault: fn(u64) -> F,
}

/// A kind that is common by chance; only its first times are certain.
const fn common<F>(name: &'static str, per_mille: u64, fault: fn(u64) -> F) -> Kind<F> {
    Kind { name, per_mille, times: 2, times_in_a_long_run: 2, fault }
}

/// A kind that costs the whole push service, or one device, some seconds, or whose second time in a row ends the
/// delivery permanently.
const fn rare<F>(name: &'static str, times: usize, times_in_a_long_run: usize, fault: fn(u64) -> F) -> Kind<F> {
    Kind { name, per_mille: 0, times, times_in_a_long_run, fault }
}

/// The faults of APNs.
pub(super) const APPLE: &[Kind<apns::Fault>] = &[
    common("delay", 30, |draw| apns::Fault::Delay(short(draw))),
    common("503", 15, |_| apns::Fault::error(503, "ServiceUnavailable")),
    common("503 Retry-After", 3, |_| apns::Fault::error(503, "ServiceUnavailable").with_header("retry-after", "1")),
    common("503 Shutdown", 3, |_| apns::Fault::error(503, "Shutdown")),
    common("500 HTML", 5, |_| apns::Fault::text(500, "<html>")),
    common("reset", 15, |draw| apns::Fault::Reset([2, 8, 11][index(draw, 3)])),
    common("refused", 10, |_| apns::Fault::Reset(7)),
    common("accepted, then reset", 20, |draw| apns::Fault::Lose(apns::Loss::Reset([2, 8][index(draw, 2)]))),
    common("accepted, no apns-id", 5, |_| apns::Fault::text(200, "").without_id()),
    common("accepted, body broken", 5, |_| apns::Fault::text(200, "x").broken()),
    common("accepted, body endless", 2, |_| apns::Fault::text(200, "x").endless()),
    common("400 IdleTimeout", 1, |_| apns::Fault::error(400, "IdleTimeout")),
    common("403 ExpiredProviderToken", 2, |_| apns::Fault::error(403, "ExpiredProviderToken")),
    common("403 InvalidProviderToken", 2, |_| apns::Fault::error(403, "InvalidProviderToken")),
    common("429 tokens", 1, |_| apns::Fault::error(429, "TooManyProviderTokenUpdates")),
    common("GOAWAY", 2, |draw| apns::Fault::GoAway { reason: "Shutdown", two_phase: draw.is_multiple_of(2) }),
    rare("413", 4, 20, |_| apns::Fault::error(413, "PayloadTooLarge")),
    rare("silence", 2, 4, |_| apns::Fault::Silence),
    rare("accepted, then silence", 2, 4, |_| apns::Fault::Lose(apns::Loss::Silence)),
    rare("cut", 1, 2, |_| apns::Fault::Cut),
    rare("accepted, then cut", 1, 2, |_| apns::Fault::Lose(apns::Loss::Cut)),
    rare("429", 0, 4, |_| apns::Fault::error(429, "TooManyRequests")),
];

/// The faults of FCM.
pub(super) const GOOGLE: &[Kind<fcm::Fault>] = &[
    common("delay", 30, |draw| fcm::Fault::Delay(short(draw))),
    common("503", 15, |_| fcm::Fault::unavailable()),
    common("503 Retry-After", 3, |_| fcm::Fault::unavailable().with_header("retry-after", "1")),
    common("502 HTML", 5, |_| fcm::Fault::html(502)),
    common("500", 5, |_| fcm::Fault::internal()),
    common("reset", 15, |_| fcm::Fault::Reset(2)),
    common("accepted, then reset", 20, |_| fcm::Fault::Lose(fcm::Loss::Reset(2))),
    common("accepted, body broken", 5, |_| fcm::Fault::reply(200, "{\"na").cut_off()),
    common("accepted, HTML", 5, |_| fcm::Fault::html(200)),
    common("401", 2, |_| fcm::Fault::unauthenticated()),
    common("403", 2, |_| fcm::Fault::error(403, "PERMISSION_DENIED")),
    common("404 HTML", 2, |_| fcm::Fault::html(404)),
    common("GOAWAY", 2, |_| fcm::Fault::GoAway),
    rare("400 payload", 4, 20, |_| fcm::Fault::invalid_argument("message.data[0].value")),
    rare("silence", 2, 4, |_| fcm::Fault::Silence),
    rare("accepted, then silence", 2, 4, |_| fcm::Fault::Lose(fcm::Loss::Silence)),
    rare("cut", 1, 2, |_| fcm::Fault::Close),
    rare("accepted, then cut", 1, 2, |_| fcm::Fault::Lose(fcm::Loss::Cut)),
    rare("429 Retry-After", 4, 12, |_| fcm::Fault::quota_exceeded().with_header("retry-after", "1")),
];

/// The faults of a push service whose endpoints users bring. Three endpoints of one host with 429 would pause the host.
pub(super) const ENDPOINTS: &[Kind<push_service::Fault>] = &[
    common("delay", 30, |draw| push_service::Fault::Delay(short(draw))),
    common("503", 15, |_| push_service::Fault::reply(503, "")),
    common("503 Retry-After", 3, |_| push_service::Fault::reply(503, "").with_header("retry-after", "1")),
    common("502 HTML", 5, |_| push_service::Fault::reply(502, "<html>")),
    common("507", 3, |_| push_service::Fault::reply(507, "{\"code\":50701}")),
    common("reset", 15, |_| push_service::Fault::Reset(2)),
    common("refused", 10, |_| push_service::Fault::Reset(7)),
    common("accepted, then reset", 20, |_| push_service::Fault::Lose(push_service::Loss::Reset(2))),
    common("accepted, body broken", 5, |_| push_service::Fault::reply(201, "x").cut_off()),
    common("accepted, HTML", 5, |_| push_service::Fault::reply(200, "<html>")),
    common("401", 2, |_| push_service::Fault::reply(401, "{\"errno\":109}")),
    common("403", 2, |_| push_service::Fault::reply(403, "{\"reason\":\"BadJwtToken\"}")),
    common("redirect", 2, |_| push_service::Fault::reply(307, "").with_header("location", "https://127.0.0.1:1/")),
    common("GOAWAY", 2, |_| push_service::Fault::GoAway),
    rare("413", 4, 20, |_| push_service::Fault::reply(413, "")),
    rare("silence", 2, 4, |_| push_service::Fault::Silence),
    rare("accepted, then silence", 2, 4, |_| push_service::Fault::Lose(push_service::Loss::Silence)),
    rare("cut", 1, 2, |_| push_service::Fault::Close),
    rare("accepted, then cut", 1, 2, |_| push_service::Fault::Lose(push_service::Loss::Cut)),
    rare("429 Retry-After", 1, 1, |_| push_service::Fault::reply(429, "").with_header("retry-after", "1")),
];

/// APNs is down.
pub(super) const APPLE_OUTAGE: fn() -> apns::Fault = || apns::Fault::error(503, "ServiceUnavailable");

/// FCM is down.
pub(super) const GOOGLE_OUTAGE: fn() -> fcm::Fault = || fcm::Fault::html(503);

/// The push service of the endpoints is down.
pub(super) const ENDPOINTS_OUTAGE: fn() -> push_service::Fault = || push_service::Fault::reply(503, "");

/// The responses of APNs about an expired device.
pub(super) fn dead_iphone(number: usize) -> apns::Fault {
    match number % 4 {
        0 => apns::Fault::gone("Unregistered", 1_700_000_000_000),
        // Before the pushkey was registered: the second response is final.
        1 => apns::Fault::gone("ExpiredToken", 1_000),
        2 => apns::Fault::text(410, "<html>"),
        _ => apns::Fault::error(400, "BadDeviceToken"),
    }
}

/// The response of FCM about an expired device.
pub(super) fn dead_android(number: usize) -> fcm::Fault {
    match number % 3 {
        0 => fcm::Fault::unregistered(),
        1 => fcm::Fault::sender_id_mismatch(),
        _ => fcm::Fault::invalid_argument("message.token"),
    }
}

/// The responses of a push service about an expired endpoint.
pub(super) fn dead_endpoint(number: usize) -> push_service::Fault {
    push_service::Fault::reply([410, 404][number % 2], "")
}

fn short(draw: u64) -> Duration {
    Duration::from_millis(10 + draw % 500)
}

fn index(draw: u64, length: u64) -> usize {
    usize::try_from(draw % length).expect("a small number")
}
