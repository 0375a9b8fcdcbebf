//! Thousands of hostile bodies through the whole gateway: no response is an internal error, no push is one that a push
//! service would reject, and a valid request is delivered afterwards.
//!
//! Invariant: each request has its own devices, so that no outcome comes from a cache.

use harness::world::push::{App, DEADLINE, NOTIFY, World, android_app, ids, ios_app, message, with};
use std::sync::Arc;
use std::time::Instant;

use harness::generator::{Generator, seed};
use harness::options::scale;
use harness::raw::{NoResponse, Raw, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::requests::Tree;
use super::values::{BROKEN, VALUES, huge};

/// The number of generated requests, besides the systematic ones.
const MIXED: (usize, usize) = (800, 4_000);
/// The number of requests with changed bytes.
const MANGLED: (usize, usize) = (200, 1_000);
/// The number of concurrent connections.
const CONNECTIONS: usize = 4;

/// The fields that room members, push rules and users set: they never cause an error for the homeserver.
const STRANGERS: [&[&str]; 34] = [
    &["sender"],
    &["sender_display_name"],
    &["room_name"],
    &["room_alias"],
    &["membership"],
    &["user_is_target"],
    &["prio"],
    &["content"],
    &["content", "body"],
    &["content", "msgtype"],
    &["content", "ciphertext"],
    &["content", "membership"],
    &["content", "offer"],
    &["content", "offer", "sdp"],
    &["content", "x"],
    &["ciphertext"],
    &["ephemeral"],
    &["mac"],
    &["id"],
    &["x"],
    &["devices", "0", "tweaks"],
    &["devices", "0", "tweaks", "sound"],
    &["devices", "0", "tweaks", "highlight"],
    &["devices", "0", "x"],
    &["devices", "0", "data", "format"],
    &["devices", "0", "data", "url"],
    &["devices", "0", "data", "disable_badge_count"],
    &["devices", "0", "data", "default_payload"],
    &["devices", "0", "data", "default_payload", "x"],
    &["devices", "0", "data", "default_payload", "event_id"],
    &["devices", "0", "data", "default_payload", "aps"],
    &["devices", "0", "data", "default_payload", "aps", "x"],
    &["devices", "0", "data", "default_payload", "aps", "alert"],
    &["devices", "0", "data", "default_payload", "aps", "alert", "loc-args"],
];

/// The fields that the homeserver must send correctly.
const HOMESERVERS: [&[&str]; 14] = [
    &["event_id"],
    &["room_id"],
    &["type"],
    &["counts"],
    &["counts", "unread"],
    &["counts", "missed_calls"],
    &["counts", "x"],
    &["devices"],
    &["devices", "0"],
    &["devices", "0", "app_id"],
    &["devices", "0", "pushkey"],
    &["devices", "0", "pushkey_ts"],
    &["devices", "0", "data"],
    &[],
];

/// A request, and whether 200 is the only valid status.
struct Hostile {
    body: Vec<u8>,
    must_pass: bool,
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures are worth reading")]
async fn nothing_that_is_sent_is_our_fault_or_keeps_a_good_notification_back() {
    let seed = seed();
    let apps = apps();
    // Without the mass-rejection guard and rate limits, so that every request is checked.
    let tables = "[rejection_breaker]\nenabled = false\n[limits]\nper_pushkey = \"\"\n";
    let gateway = World::serving("", tables, &apps).await;
    let mut generator = Generator(seed);
    let all = Arc::new(requests(&gateway, &mut generator));
    assert!(all.len() > 5_000 + scale(MIXED.0, MIXED.1), "{}", all.len());

    let mut tasks = JoinSet::new();
    for first in 0..CONNECTIONS {
        let (all, address) = (Arc::clone(&all), gateway.server.address());
        tasks.spawn(async move {
            let mut connection = Raw::connect(address).await;
            let mut taken = 0;
            for hostile in all.iter().skip(first).step_by(CONNECTIONS) {
                let deadline = Instant::now() + DEADLINE;
                let response = loop {
                    connection.send(&request(&hostile.body)).await;
                    let response = connection.response(DEADLINE).await;
                    let response =
                        response.unwrap_or_else(|error| panic!("seed {seed}: {error:?} for\n{}", show(&hostile.body)));
                    // There may be no room beside the bodies of the other connections. The rest of the body was not read
                    // then, so the gateway closes the connection.
                    let is_busy = response.status == 503 && response.body.windows(8).any(|part| part == b"Too busy");
                    if !is_busy || Instant::now() > deadline {
                        break response;
                    }
                    connection = Raw::connect(address).await;
                };
                if let Err(fault) = judge(hostile, &response) {
                    let answer = String::from_utf8_lossy(&response.body);
                    panic!("seed {seed}: {fault}:\n{}\n{}{answer}", show(&hostile.body), response.head);
                }
                taken += usize::from(response.status == 200);
            }
            taken
        });
    }
    let mut taken = 0;
    while let Some(ended) = tasks.join_next().await {
        taken += ended.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
    let pushes = (gateway.apple.requests().len(), gateway.google.messages().len());
    println!("seed {seed}: {taken} of {} requests were taken, {pushes:?} pushes made", all.len());
    assert!(taken > 3_000 && pushes.0 > 1_000 && pushes.1 > 1_000, "too little gets through to test anything");
    mangled(&gateway, &all, &mut generator, seed).await;

    for push in gateway.apple.requests() {
        assert_eq!(push.status, Some(200), "seed {seed}: {} {:?}\n{}", push.target, push.headers, show(&push.body));
    }
    let logs = gateway.server.logs();
    // A level is the second word, also of a forged line; an app_id may contain the word.
    let is_error = |line: &&str| line.split_whitespace().nth(1) == Some("ERROR");
    assert_eq!(logs.lines().find(is_error), None, "seed {seed}");
    for bad in ["panicked", "through our own fault", "\u{1b}[31m"] {
        let line = logs.lines().find(|line| line.contains(bad));
        assert_eq!(line, None, "seed {seed}");
    }
    for app in ["ios", "ios.voip"] {
        let device = gateway.iphone(app);
        gateway.deliver(with(message(), json!({ "type": "m.call.invite" })), &device).await;
        gateway.push(&device);
    }
    for app in ["android", "android.json"] {
        let device = gateway.phone(app);
        gateway.deliver(message(), &device).await;
        gateway.message(&device);
    }
}

fn apps() -> Vec<App<'static>> {
    vec![
        ios_app(
            "ios",
            "highlight_level = \"passive\"\nthread_id = true\nevent_id_only_badge = true\ncollapse = \"room\"",
        ),
        ios_app(
            "ios.voip",
            "push_type = \"voip\"\nvoip_events = \"all\"\npayload = { aps = { category = \"c\" }, a = 1 }",
        ),
        android_app(
            "android",
            "flatten = \"scalars\"\ncollapse = \"room\"\nfcm_options = { notification = { title = \"t\" } }",
        ),
        android_app("android.json", "data_layout = \"json\""),
    ]
}

/// A valid notification with a new device.
fn good(gateway: &World, kind: usize) -> Value {
    let own = json!({
        "tweaks": { "sound": "default", "highlight": true },
        "data": { "format": "full", "default_payload": { "cs": "s", "aps": { "alert": { "loc-args": ["x"] } } } },
    });
    let device = match kind % 4 {
        0 => gateway.iphone("ios"),
        1 => gateway.phone("android"),
        2 => gateway.iphone("ios.voip"),
        _ => gateway.phone("android.json"),
    };
    let said = match kind / 4 % 4 {
        0 | 1 => with(message(), json!({ "membership": "invite", "user_is_target": true })),
        2 => ids(),
        _ => json!({}),
    };
    with(said, json!({ "counts": { "unread": 1, "missed_calls": 0 }, "devices": [with(device, own)] }))
}

/// The body with that notification.
fn body(notification: &str) -> Vec<u8> {
    format!("{{\"notification\":{notification}}}").into_bytes()
}

fn requests(gateway: &World, generator: &mut Generator) -> Vec<Hostile> {
    let mut all = Vec::new();
    let huge = huge();
    for (place, path) in STRANGERS.into_iter().chain(HOMESERVERS).enumerate() {
        let is_strangers = place < STRANGERS.len();
        for value in VALUES {
            for kind in 0..2 {
                let mut tree = Tree::from(&good(gateway, kind));
                tree.put(path, value);
                all.push(Hostile { body: body(&tree.write()), must_pass: is_strangers });
            }
        }
        for (number, value) in huge.iter().map(String::as_str).chain(BROKEN).enumerate() {
            let mut tree = Tree::from(&good(gateway, number));
            tree.put(path, value);
            // Every other field may have 64 levels, and must be JSON.
            let must_pass = is_strangers && number < 8;
            all.push(Hostile { body: body(&tree.write()), must_pass });
        }
    }
    let names: Vec<&str> = STRANGERS.into_iter().chain(HOMESERVERS).flatten().copied().collect();
    for number in 0..scale(MIXED.0, MIXED.1) {
        let mut tree = Tree::from(&good(gateway, number));
        for _ in 0..=generator.below(5) {
            tree.mutate(generator, &names);
        }
        all.push(Hostile { body: body(&tree.write()), must_pass: false });
    }
    all
}

fn request(body: &[u8]) -> Vec<u8> {
    let head = format!("POST {NOTIFY} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// Whether this is a valid response.
fn judge(hostile: &Hostile, response: &Response) -> Result<(), String> {
    let body: Value = serde_json::from_slice(&response.body).map_err(|_| "not JSON".to_owned())?;
    match response.status {
        200 => {
            let rejected = body["rejected"].as_array().ok_or("no list of rejected pushkeys")?;
            let is_exact = body.as_object().is_some_and(|members| members.len() == 1);
            let text = String::from_utf8_lossy(&hostile.body);
            let is_ours = |key: &Value| {
                let key = key.as_str()?;
                let escapes = !key.is_ascii() || key.chars().any(|c| c.is_control() || c == '"' || c == '\\');
                Some(escapes || text.contains(key))
            };
            match rejected.iter().all(|key| is_ours(key) == Some(true)) && is_exact {
                true if hostile.must_pass && !rejected.is_empty() => Err("a good pushkey is rejected".to_owned()),
                true => Ok(()),
                false => Err("something else than the pushkeys".to_owned()),
            }
        }
        400 if hostile.must_pass => Err("refused for what a stranger wrote".to_owned()),
        400 if ["M_NOT_JSON", "M_BAD_JSON"].iter().any(|errcode| body["errcode"] == **errcode) => Ok(()),
        status => Err(format!("status {status}")),
    }
}

/// Whole requests with some bytes changed, cut off or doubled.
async fn mangled(gateway: &World, all: &[Hostile], generator: &mut Generator, seed: u64) {
    let short: Vec<&Hostile> = all.iter().filter(|hostile| hostile.body.len() < 2_000).collect();
    for _ in 0..scale(MANGLED.0, MANGLED.1) {
        let mut bytes = request(&short[generator.below(short.len())].body);
        for _ in 0..=generator.below(4) {
            let at = generator.below(bytes.len());
            match generator.below(3) {
                0 => bytes[at] = generator.bytes(1)[0],
                1 => bytes.truncate(at + 1),
                _ => bytes.insert(at, bytes[at]),
            }
        }
        let mut connection = Raw::connect(gateway.server.address()).await;
        connection.send(&bytes).await;
        connection.finish().await;
        match connection.response(DEADLINE).await {
            Ok(response) => assert!(response.status < 500, "seed {seed}: {}\n{}", show(&bytes), response.head),
            Err(NoResponse::Closed(_)) => {}
            Err(NoResponse::Late(_)) => panic!("seed {seed}: no end of\n{}", show(&bytes)),
        }
    }
}

/// The start of a body, for the message of a failure.
fn show(bytes: &[u8]) -> String {
    let start = &bytes[..bytes.len().min(1_500)];
    format!("{} ({} bytes)", start.escape_ascii(), bytes.len())
}
