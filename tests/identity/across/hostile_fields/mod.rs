//! Thousands of hostile requests on both databases: each gets a valid response, and the server keeps running.
//!
//! Invariant: a failure shows the seed; `GATEHOUSE_SEED=<seed>` in the environment repeats the same requests.

mod requests;
mod values;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use harness::dns::Dns;
use harness::generator::{Generator, seed};
use harness::options::scale;
use harness::raw::{NoResponse, Raw, Response};
use serde_json::json;
use tokio::task::JoinSet;

use crate::identity::legacy_v1::{self, FULL};
use harness::world::identity::{DEADLINE, Settings, World, v2};
use requests::{Insider, Version};
use wire::Hostile;

/// The number of generated requests, besides the systematic ones.
const MIXED: (usize, usize) = (800, 4_000);
/// The number of requests that are not valid HTTP.
const MANGLED: (usize, usize) = (200, 500);
/// The number of concurrent connections.
const CONNECTIONS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_is_our_fault_on_sqlite() {
    survives("", Version::V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_sends_is_our_fault_on_postgresql() {
    let Some(url) = harness::database::postgresql().await else { return };
    survives(&format!("[database]\nurl = {url:?}\n"), Version::V2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_of_the_removed_api_sends_is_our_fault_on_sqlite() {
    survives("", Version::V1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_client_of_the_removed_api_sends_is_our_fault_on_postgresql() {
    let Some(url) = harness::database::postgresql().await else { return };
    survives(&format!("[database]\nurl = {url:?}\n"), Version::V1).await;
}

async fn survives(database: &str, version: Version) {
    let seed = seed();
    // Without other homeservers, so that no request leaves the machine. The removed API has no accounts, and so no list
    // of servers whose users may register.
    let dns = Dns::start().await;
    let (others, federation, outbound) = match version {
        Version::V1 => {
            let outbound = "deny_cidrs = [\"0.0.0.0/0\", \"::/0\"]\n";
            (FULL, format!("dns_servers = [\"{}\"]\n", dns.address()), outbound)
        }
        Version::V2 => ("[registration]\nallow_servers = [\"hs.example\"]\n", String::new(), ""),
    };
    // Without limits, so that the server checks every request.
    let tables = format!(
        "{database}{others}[limits]\nenabled = false\n[sessions]\nemail_max_wrong = 1000000\n\
         [lookup]\nalgorithms = [\"sha256\", \"none\"]\n\
         [auth]\nmax_tokens_per_user = 1000000\n[account]\nlist_own_bindings = true\n\
         [sms]\nrules.44 = \"allow\"\nmax_per_day = 1000000\nmax_per_day_per_country = 1000000\n\
         [terms.policies.tos]\nversion = \"1\"\nrequired = false\nen = {{ name = \"T\", url = \"https://example.org/t\" }}\n"
    );
    let settings = Settings { tables: &tables, federation: &federation, outbound, ..Settings::default() };
    let world = World::with(settings).await;
    let insider = insider(&world, version).await;
    let mut generator = Generator(seed);
    let all = requests::all(version, &insider, &mut generator, scale(MIXED.0, MIXED.1));
    let number = all.len();
    assert!(number > scale(MIXED.0, MIXED.1), "{number}");
    let mangled = mangled(&all, &mut generator);

    let all = Arc::new(all);
    let mut tasks = JoinSet::new();
    for first in 0..CONNECTIONS {
        let (all, address) = (Arc::clone(&all), world.server.address());
        tasks.spawn(async move { send_every(&all, first, address, seed).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
    for bytes in mangled {
        let mut connection = Raw::connect(world.server.address()).await;
        connection.send(&bytes).await;
        connection.finish().await;
        match connection.response(DEADLINE).await {
            Ok(response) => assert!(response.status < 500, "seed {seed}: {}\n{}", show(&bytes), response.head),
            Err(NoResponse::Closed(_)) => {}
            Err(NoResponse::Late(_)) => panic!("seed {seed}: no end of\n{}", show(&bytes)),
        }
    }

    assert_eq!(world.api.get(&v2("/account")).bearer(&insider.token).send().await.code(), 200, "seed {seed}");
    let token = world.register("@after:hs.example").await;
    world.bind(&token, "@after:hs.example", "after@example.com").await;
    assert_eq!(world.look_up(&token, "after@example.com", "email").await.as_deref(), Some("@after:hs.example"));
    let logs = world.server.logs();
    for bad in ["panicked", "internal error"] {
        assert!(
            !logs.contains(bad),
            "seed {seed}:\n{}",
            logs.lines().find(|line| line.contains(bad)).unwrap_or_default()
        );
    }
}

/// The tokens and sessions of an account, so that requests pass the first checks.
async fn insider(world: &World, version: Version) -> Insider {
    let token = world.register("@insider:hs.example").await;
    let session = match version {
        Version::V1 => legacy_v1::validate(world, "insider@example.com").await,
        Version::V2 => world.validate(&token, "insider@example.com").await,
    };
    let details = world.api.get(&v2("/hash_details")).bearer(&token).send().await.expect(200);
    let open_id = world.homeserver.open_id_token("@guest:hs.example");
    Insider {
        spare_token: world.register("@insider:hs.example").await,
        pepper: details["lookup_pepper"].as_str().expect("a pepper").to_owned(),
        open_id_token: open_id["access_token"].as_str().expect("a token").to_owned(),
        token,
        session,
    }
}

/// Sends each request of this worker on one connection, and opens a new one whenever the server closes it.
async fn send_every(all: &[Hostile], first: usize, address: SocketAddr, seed: u64) {
    let mut connection = Raw::connect(address).await;
    for hostile in all.iter().skip(first).step_by(CONNECTIONS) {
        connection.send(&hostile.bytes).await;
        let response = match hostile.method.as_str() {
            "HEAD" => connection.response_to_head(DEADLINE).await,
            _ => connection.response(DEADLINE).await,
        };
        let response = response.unwrap_or_else(|error| panic!("seed {seed}: {error:?} for\n{}", show(&hostile.bytes)));
        if let Err(fault) = judge(hostile, &response) {
            let body = String::from_utf8_lossy(&response.body);
            panic!("seed {seed}: {fault}:\n{}\n{}{body}", show(&hostile.bytes), response.head);
        }
        if response.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            connection = Raw::connect(address).await;
        }
    }
}

/// Whether this is a valid response.
fn judge(hostile: &Hostile, response: &Response) -> Result<(), String> {
    if !(200..500).contains(&response.status) {
        return Err(format!("status {}", response.status));
    }
    if response.header("access-control-allow-origin") != Some("*") || response.header("x-request-id").is_none() {
        return Err("an answer without our headers".to_owned());
    }
    let is_html = response.header("content-type") == Some("text/html; charset=utf-8");
    if matches!(hostile.method.as_str(), "HEAD" | "OPTIONS") || is_html && hostile.may_be_html {
        return Ok(());
    }
    let body: serde_json::Value = serde_json::from_slice(&response.body).map_err(|_| "not JSON".to_owned())?;
    if response.status >= 400 && !(body["errcode"].is_string() && body["error"].is_string()) {
        return Err("not a Matrix error".to_owned());
    }
    match hostile.errcode {
        Some(errcode) if body["errcode"] != json!(errcode) => Err(format!("{errcode} expected")),
        _ => Ok(()),
    }
}

/// Requests with some bytes changed, cut off or doubled.
fn mangled(all: &[Hostile], generator: &mut Generator) -> Vec<Vec<u8>> {
    let short: Vec<&Hostile> = all.iter().filter(|hostile| hostile.bytes.len() < 2_000).collect();
    (0..scale(MANGLED.0, MANGLED.1))
        .map(|_| {
            let mut bytes = short[generator.below(short.len())].bytes.clone();
            for _ in 0..=generator.below(4) {
                let at = generator.below(bytes.len());
                match generator.below(3) {
                    0 => bytes[at] = generator.bytes(1)[0],
                    1 => bytes.truncate(at + 1),
                    _ => bytes.insert(at, bytes[at]),
                }
            }
            bytes
        })
        .collect()
}

/// The start of a request, for the message of a failure.
fn show(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(1_000)];
    format!("{} ({} bytes)", start.escape_ascii(), bytes.len())
}
