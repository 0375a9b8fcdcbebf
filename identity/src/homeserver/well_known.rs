//! `https://<host>/.well-known/matrix/server`: to which name a server delegates, remembered for a while.
//! <https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver>
//!
//! Invariant: any flaw of the file or on the way to it is the same as no file at all, and is remembered at most an hour.

use std::time::Duration;

use moka::future::Cache;
use moka::policy::EvictionPolicy;
use reqwest::header::{CACHE_CONTROL, HeaderMap, LOCATION};
use reqwest::{Method, Request, StatusCode, Url};
use serde_json::Value;
use shared::clock::{Clock, Timestamp};
use shared::outbound::client::{Client, Reply};

use crate::domain::server_name::ServerName;

const MAX_REDIRECTS: usize = 5;
const MAX_BODY: usize = 50 * 1024;
const MAX_ENTRIES: u64 = 10_000;

const HOUR: Duration = Duration::from_secs(3600);
const USUAL_LIFE: Duration = HOUR.saturating_mul(24);
const LONGEST_LIFE: Duration = HOUR.saturating_mul(48);
/// After the first failure; it doubles with each further one, up to an hour.
const FIRST_FAILURE_LIFE: Duration = Duration::from_secs(60);

/// Fetches well-known files and remembers what they said.
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
    until: Timestamp,
    failures: u32,
}

impl WellKnown {
    /// Files are fetched from `port` within `timeout`, redirects included.
    pub(super) fn new(client: Client, clock: Clock, port: u16, timeout: Duration) -> Self {
        let cache = Cache::builder().max_capacity(MAX_ENTRIES).eviction_policy(EvictionPolicy::lru()).build();
        Self { client, cache, clock, port, timeout }
    }

    /// The name to which `host` delegates, if it does.
    pub(super) async fn find(&self, host: &str) -> Option<ServerName> {
        let known = self.cache.get(host).await;
        if let Some(entry) = known.as_ref().filter(|entry| entry.until > self.clock.now()) {
            return entry.delegated.clone();
        }
        let found = tokio::time::timeout(self.timeout, self.fetch(host)).await.ok().flatten();
        let (delegated, life, failures) = match found {
            Some((server, life)) => (Some(server), life, 0),
            None => {
                let failures = known.map_or(0, |entry| entry.failures).saturating_add(1);
                (None, failure_life(failures), failures)
            }
        };
        if life.is_zero() {
            self.cache.invalidate(host).await;
        } else {
            let until = self.clock.now().plus(life);
            self.cache.insert(host.to_owned(), Entry { delegated: delegated.clone(), until, failures }).await;
        }
        delegated
    }

    async fn fetch(&self, host: &str) -> Option<(ServerName, Duration)> {
        let mut url = Url::parse(&format!("https://{host}:{}/.well-known/matrix/server", self.port)).ok()?;
        for _ in 0..=MAX_REDIRECTS {
            let reply = match self.client.send(Request::new(Method::GET, url.clone()), MAX_BODY).await {
                Ok(reply) => reply,
                Err(failure) => {
                    tracing::debug!(host, "no well-known file: {failure}");
                    return None;
                }
            };
            match reply.status {
                StatusCode::OK => return read(&reply),
                status if is_redirect(status) => url = next(&url, &reply.headers)?,
                status => {
                    tracing::debug!(host, status = status.as_u16(), "no well-known file");
                    return None;
                }
            }
        }
        None
    }
}

fn read(reply: &Reply) -> Option<(ServerName, Duration)> {
    // Not into a struct: serde would take one from an array as well.
    let file: Value = serde_json::from_slice(&reply.body).ok()?;
    let server = file.get("m.server")?.as_str()?;
    Some((ServerName::parse(server).ok()?, life(&reply.headers)))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Where a redirect leads; nowhere if that is not https or has user information in it.
fn next(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let to = from.join(headers.get(LOCATION)?.to_str().ok()?).ok()?;
    (to.scheme() == "https" && to.username().is_empty() && to.password().is_none()).then_some(to)
}

/// How long a good file is remembered: as `Cache-Control` says, up to two days; a day if it says nothing.
fn life(headers: &HeaderMap) -> Duration {
    let lines = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = lines.flat_map(|line| line.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let mut life = USUAL_LIFE;
    for directive in directives {
        if directive == "no-store" || directive == "no-cache" {
            return Duration::ZERO;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=").and_then(|text| text.trim_matches('"').parse().ok()) {
            life = Duration::from_secs(seconds).min(LONGEST_LIFE);
        }
    }
    life
}

fn failure_life(failures: u32) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_FAILURE_LIFE.saturating_mul(doubled).min(HOUR)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{CACHE_CONTROL, HeaderMap, HeaderValue, LOCATION};
    use reqwest::{StatusCode, Url};
    use shared::outbound::client::Reply;

    use super::{HOUR, failure_life, life, next, read};

    #[test]
    fn only_an_object_with_a_server_name_delegates() {
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
    fn cache_control_is_obeyed_up_to_two_days() {
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
            assert_eq!(life(&headers), HOUR * hours, "{lines:?}");
        }
    }

    #[test]
    fn failures_are_remembered_longer_each_time_but_never_over_an_hour() {
        let minutes = [1, 2, 3, 6, 7, 8, 40, u32::MAX].map(|failures| failure_life(failures).as_secs() / 60);
        assert_eq!(minutes, [1, 2, 4, 32, 60, 60, 60, 60]);
        assert!(failure_life(0) <= Duration::from_secs(60));
    }

    #[test]
    fn a_redirect_stays_on_https_and_carries_no_user() {
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
