//! `https://<host>/.well-known/matrix/server`: the delegation of a server, with a cache.
//! <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>
//!
//! Invariant: an invalid or unreachable file counts as absent, and its absence is cached for at most an hour. An earlier good
//! file stays in force for up to two days after it was fetched, the longest lifetime in the specification.

use std::time::Duration;

use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, HeaderMap, LOCATION};
use hyper::{Request, StatusCode};
use moka::future::Cache;
use moka::policy::EvictionPolicy;
use serde_json::Value;
use shared::clock::{Clock, Timestamp};
use shared::outbound::backoff::Backoff;
use shared::outbound::client::{Client, Reply};
use url::Url;

use crate::domain::server_name::ServerName;

const MAX_REDIRECTS: usize = 5;
const MAX_BODY: usize = 50 * 1024;
const MAX_ENTRIES: u64 = 10_000;

const HOUR: Duration = Duration::from_secs(3600);
const DEFAULT_LIFETIME: Duration = HOUR.saturating_mul(24);
const MAX_LIFETIME: Duration = HOUR.saturating_mul(48);
/// How long a failed fetch is cached.
const FAILURE_LIFETIME: Backoff = Backoff::new(Duration::from_secs(60), HOUR);

/// Fetches well-known files and caches the results.
pub(super) struct WellKnown {
    client: Client,
    cache: Cache<String, Entry>,
    clock: Clock,
    port: u16,
    timeout: Duration,
}

#[derive(Clone)]
struct Entry {
    delegated: Option<ServerName>,
    /// Later than now if the clock was set back since; the entry is fetched again then.
    fetched_at: Timestamp,
    until: Timestamp,
    failures: u32,
    /// Until when `delegated` may be served although it cannot be fetched again.
    good_until: Timestamp,
}

impl WellKnown {
    /// Fetches files from `port` within `timeout`, redirects included.
    pub(super) fn new(client: Client, clock: Clock, port: u16, timeout: Duration) -> Self {
        let cache = Cache::builder().max_capacity(MAX_ENTRIES).eviction_policy(EvictionPolicy::lru()).build();
        Self { client, cache, clock, port, timeout }
    }

    /// The name to which `host` delegates.
    pub(super) async fn find(&self, host: &str) -> Option<ServerName> {
        let known = self.cache.get(host).await;
        let now = self.clock.now();
        if let Some(entry) = known.as_ref().filter(|entry| entry.fetched_at <= now && now < entry.until) {
            return entry.delegated.clone();
        }
        let found = self.fetch(host).await;
        let found = found.inspect_err(|reason| tracing::debug!(host, reason, "no well-known file")).ok();
        let now = self.clock.now();
        let (delegated, lifetime, failures, good_until) = match found {
            Some((server, lifetime)) => (Some(server), lifetime, 0, now.plus(MAX_LIFETIME)),
            None => {
                let failures = known.as_ref().map_or(0, |entry| entry.failures).saturating_add(1);
                // A server that does not serve its file for a moment has not moved.
                let good = known.filter(|entry| now < entry.good_until);
                let good_until = good.as_ref().map_or(now, |entry| entry.good_until);
                let delegated = good.and_then(|entry| entry.delegated);
                (delegated, FAILURE_LIFETIME.after(failures), failures, good_until)
            }
        };
        if lifetime.is_zero() {
            self.cache.invalidate(host).await;
        } else {
            let entry = Entry {
                delegated: delegated.clone(),
                fetched_at: now,
                until: now.plus(lifetime),
                failures,
                good_until,
            };
            self.cache.insert(host.to_owned(), entry).await;
        }
        delegated
    }

    /// The name to which the file of `host` delegates, without the cache, and how long that holds.
    ///
    /// # Errors
    /// The reason why there is none, with the URL.
    pub(super) async fn fetch(&self, host: &str) -> Result<(ServerName, Duration), String> {
        let fetched = tokio::time::timeout(self.timeout, self.fetch_in_time(host)).await;
        fetched.unwrap_or_else(|_| Err(format!("https://{host}:{} did not respond in time", self.port)))
    }

    async fn fetch_in_time(&self, host: &str) -> Result<(ServerName, Duration), String> {
        let start = format!("https://{host}:{}/.well-known/matrix/server", self.port);
        let mut url = Url::parse(&start).map_err(|_| format!("{start} is no URL"))?;
        for _ in 0..=MAX_REDIRECTS {
            let request = Request::get(url.as_str()).body(Full::default()).map_err(|_| format!("{url} is no URL"))?;
            let reply = self.client.fetch(request, MAX_BODY).await.map_err(|failure| format!("{url}: {failure}"))?;
            match reply.status {
                StatusCode::OK => {
                    return read(&reply).ok_or_else(|| format!("{url} has no m.server with a server name"));
                }
                status if is_redirect(status) => {
                    let bad = || format!("{url} redirects to no https URL");
                    url = next(&url, &reply.headers).ok_or_else(bad)?;
                }
                status => return Err(format!("{url} answers {}", status.as_u16())),
            }
        }
        Err(format!("{start} redirects more than {MAX_REDIRECTS} times"))
    }
}

fn read(reply: &Reply) -> Option<(ServerName, Duration)> {
    // A struct would also accept an array.
    let file: Value = serde_json::from_slice(&reply.body).ok()?;
    let server = file.get("m.server")?.as_str()?;
    Some((ServerName::parse(server).ok()?, lifetime(&reply.headers)))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The target of a redirect. `None` unless it is an `https` URL without user information.
fn next(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let to = from.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    (to.scheme() == "https" && to.username().is_empty() && to.password().is_none()).then_some(to)
}

/// How long a valid file is cached: as `Cache-Control` specifies, at most two days; a day by default.
fn lifetime(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = lines.flat_map(|line| line.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let mut lifetime = DEFAULT_LIFETIME;
    for directive in directives {
        if directive == "no-store" || directive == "no-cache" {
            return Duration::ZERO;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=").and_then(|text| text.trim_matches('"').parse().ok()) {
            lifetime = Duration::from_secs(seconds).min(MAX_LIFETIME);
        }
    }
    lifetime
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderValue, LOCATION};
    use shared::outbound::client::Reply;
    use url::Url;

    use super::{HOUR, lifetime, next, read};

    #[test]
    fn only_an_object_with_a_valid_server_name_delegates() {
        let delegated = |body: &str| {
            let reply = Reply { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() };
            read(&reply).map(|(server, _)| server.as_str().to_owned())
        };
        assert_eq!(delegated(r#"{"m.server":"HS.test:1","x":[]}"#).as_deref(), Some("hs.test:1"));
        for body in [r#"["hs.test"]"#, r#""hs.test""#, "{}", r#"{"m.server":["hs.test"]}"#, r#"{"m.server":"a/b"}"#, ""]
        {
            assert_eq!(delegated(body), None, "{body}");
        }
    }

    #[test]
    fn cache_control_is_honoured_up_to_two_days() {
        for (lines, hours) in [
            (&[][..], 24),
            (&["public"], 24),
            (&["max-age=3600"], 1),
            (&["public, Max-Age=\"7200\""], 2),
            (&["max-age=99999999"], 48),
            (&["max-age=99999999999999999999"], 24),
            (&["max-age=0"], 0),
            (&["max-age=3600", "no-store"], 0),
            (&["no-cache"], 0),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
            }
            assert_eq!(lifetime(&headers), HOUR * hours, "{lines:?}");
        }
    }

    #[test]
    fn redirects_to_other_schemes_or_with_user_information_are_rejected() {
        let from = Url::parse("https://hs.example/.well-known/matrix/server").unwrap();
        let to = |location: &'static str| {
            let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(location))]);
            next(&from, &headers).map(String::from)
        };
        assert_eq!(to("/x").as_deref(), Some("https://hs.example/x"));
        assert_eq!(to("//other.example/x").as_deref(), Some("https://other.example/x"));
        for refused in
            ["http://hs.example/", "https://u@hs.example/", "https://:p@hs.example/", "file:///x", "https://["]
        {
            assert_eq!(to(refused), None, "{refused}");
        }
        assert_eq!(next(&from, &HeaderMap::new()), None);
    }
}
