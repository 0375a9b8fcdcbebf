//! The cost of hostile bodies: the gateway's CPU time for bodies of 128 and 512 KiB.
//!
//! Invariant: the smallest of several measurements counts, because a busy machine only adds time. A quadratic cost
//! grows 16 times for four times the size.

use harness::world::push::{NOTIFY, World, android_app, ids, ios_app, message, with};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

const IOS: &str = "org.example.ios";
const ANDROID: &str = "org.example.android";
const DART: &str = "org.example.dart";

/// Sizes of bodies in bytes, the largest just below the limit.
const SIZES: [usize; 2] = [128 * 1000, 512 * 1000];

/// Measurements of each body.
const TIMES: usize = 2;

/// The maximum ratio of the costs of the largest and the smallest body: four is linear, sixteen is quadratic.
const MOST: f64 = 8.0;

/// Smaller costs are noise.
const NOISE: Duration = Duration::from_millis(1);

/// A shape: its name, and a function that builds a notification of about this number of bytes.
type Shape = (&'static str, fn(&World, usize) -> String);

const SHAPES: [Shape; 30] = [
    ("content: many keys", |g, n| content(g, ANDROID, &format!("{{{}}}", keys(n, "k", "\"v\"")))),
    ("content: many keys, scalars, dart", |g, n| content(g, DART, &format!("{{{}}}", keys(n, "k", "1")))),
    ("content: one key again and again", |g, n| {
        content(g, ANDROID, &format!("{{{}\"a\":1}}", "\"a\":1,".repeat(n / 6)))
    }),
    ("content: names that need unescaping", |g, n| {
        content(g, ANDROID, &format!("{{{}}}", keys(n, "\\u0041\\n", "\"\"")))
    }),
    ("content: lone surrogates", |g, n| content(g, ANDROID, &format!("{{{}}}", keys(n, "k", "\"\\ud800\"")))),
    ("content: a long list", |g, n| content(g, ANDROID, &format!("{{\"a\":[{}1]}}", "1,".repeat(n / 2)))),
    ("content: nested without end", |g, n| content(g, IOS, &format!("{}{}", "[".repeat(n / 2), "]".repeat(n / 2)))),
    ("content: nested objects", |g, n| content(g, IOS, &format!("{}0{}", "{\"a\":".repeat(n / 6), "}".repeat(n / 6)))),
    ("body: four bytes a letter, Apple", |g, n| text(g, IOS, &"🪨".repeat(n / 4))),
    ("body: four bytes a letter, Google", |g, n| text(g, ANDROID, &"🪨".repeat(n / 4))),
    ("body: escapes, Apple", |g, n| text(g, IOS, &r"\u0001".repeat(n / 6))),
    ("body: escapes, Google", |g, n| text(g, ANDROID, &r"\n".repeat(n / 2))),
    ("room and sender without end", |g, n| {
        let names = json!({ "room_name": "é".repeat(n / 4), "sender_display_name": "x".repeat(n / 2) });
        request_with(g, IOS, &with(message(), names), "")
    }),
    ("default_payload: many keys, Apple", |g, n| defaults(g, IOS, &format!("{{{}}}", keys(n, "k", "\"v\"")))),
    ("default_payload: many keys, Google", |g, n| defaults(g, ANDROID, &format!("{{{}}}", keys(n, "k", "\"v\"")))),
    ("default_payload: many keys, dart", |g, n| defaults(g, DART, &format!("{{{}}}", keys(n, "k", "\"v\"")))),
    ("default_payload: many keys of ours", |g, n| defaults(g, ANDROID, &format!("{{{}}}", keys(n, "google.", "{}")))),
    ("default_payload: many keys in aps", |g, n| {
        defaults(g, IOS, &format!("{{\"aps\":{{\"alert\":{{{}}},{}}}}}", keys(n / 2, "k", "0"), keys(n / 2, "l", "[]")))
    }),
    ("default_payload: a thousand long texts", |g, n| {
        let args = format!("\"{}\",", "x".repeat(n / 1000)).repeat(1000);
        defaults(g, IOS, &format!("{{\"aps\":{{\"alert\":{{\"loc-args\":[{args}0]}}}}}}"))
    }),
    ("default_payload: texts of one letter", |g, n| {
        defaults(g, IOS, &format!("{{\"aps\":{{\"alert\":{{\"loc-args\":[{}0]}}}}}}", "\"x\",".repeat(n / 4)))
    }),
    ("unknown members of the notification", |g, n| {
        request_with(g, IOS, &message(), &format!(",{}", keys(n, "k", "[]")))
    }),
    ("unknown members of the body, again and again", |g, n| {
        let text = request_with(g, IOS, &message(), "");
        format!("{{{}{}", "\"x\":0,".repeat(n / 6), &text[1..])
    }),
    ("unknown members of the device", |g, n| own(g, ANDROID, &keys(n, "k", "null"))),
    ("tweaks and data: many keys, dart", |g, n| {
        own(g, DART, &format!("\"tweaks\":{{{}}},\"data\":{{{}}}", keys(n / 2, "k", "0"), keys(n / 2, "k", "0")))
    }),
    ("a pushkey without end", |_, n| {
        format!("{{\"notification\":{{\"devices\":[{{\"app_id\":\"{IOS}\",\"pushkey\":\"{}\"}}]}}}}", "a".repeat(n))
    }),
    ("500 devices, the defaults share the size", |g, n| {
        many(g, n, |device, bytes| {
            with(device, json!({ "data": { "default_payload": { "cs": "x".repeat(bytes), "n": 1 } } }))
        })
    }),
    ("500 devices, the text takes half of the size", |g, n| {
        crowd(g, IOS, &json!({ "msgtype": "m.text", "body": "x".repeat(n / 2) }).to_string())
    }),
    ("500 devices, keys of content take half, Google", |g, n| {
        crowd(g, ANDROID, &format!("{{{}}}", keys(n / 2, "k", "1")))
    }),
    ("500 devices, texts of content take half, Google", |g, n| {
        crowd(g, ANDROID, &format!("{{{}}}", keys(n / 2, "k", "\"v\"")))
    }),
    ("500 devices, keys of content take half, dart", |g, n| crowd(g, DART, &format!("{{{}}}", keys(n / 2, "k", "1")))),
];

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "the figures are worth reading")]
async fn no_shape_costs_more_than_its_size() {
    let tables = "[rejection_breaker]\nenabled = false\n[limits]\nper_pushkey = \"\"\n";
    let apps = [ios_app(IOS, ""), android_app(ANDROID, ""), android_app(DART, "data_layout = \"json\"")];
    let gateway = World::serving("", tables, &apps).await;
    // The first push of each kind includes the cost of connections, keys and tokens.
    for device in [gateway.iphone(IOS), gateway.phone(ANDROID), gateway.phone(DART)] {
        gateway.deliver(ids(), &device).await;
    }
    let mut too_dear = Vec::new();
    println!("{:50} {:>9} {:>9}   growth", "CPU time in ms for a body of", "128 KB", "512 KB");
    for (name, make) in SHAPES {
        let mut costs = [Duration::ZERO; SIZES.len()];
        for (size, cost) in SIZES.into_iter().zip(&mut costs) {
            *cost = Duration::MAX;
            for _ in 0..TIMES {
                let body = make(&gateway, size - 2_000);
                assert!((size / 4..=524_288).contains(&body.len()), "{name}: {}", body.len());
                let before = cpu_time(gateway.server.pid());
                let answer = gateway.api.request(Method::POST, NOTIFY).body(body).send().await;
                assert_eq!(answer.code(), 200, "{name}: {}", answer.text());
                *cost = (*cost).min(cpu_time(gateway.server.pid()).saturating_sub(before));
            }
        }
        let [small, large] = costs.map(|cost| cost.as_secs_f64() * 1000.0);
        let growth = costs[1].as_secs_f64() / costs[0].max(NOISE).as_secs_f64();
        println!("{name:50} {small:9.2} {large:9.2}   {growth:6.1}");
        if growth > MOST {
            too_dear.push(name);
        }
    }
    assert!(too_dear.is_empty(), "more than linear: {too_dear:?}");
}

/// This number of members, in about this number of bytes, whose names have a common start.
fn keys(bytes: usize, name: &str, value: &str) -> String {
    let each = name.len() + 6 + 4 + value.len();
    (0..bytes / each).map(|number| format!("\"{name}{number:06}\":{value}")).collect::<Vec<_>>().join(",")
}

fn device(gateway: &World, app: &str) -> Value {
    if app == IOS { gateway.iphone(app) } else { gateway.phone(app) }
}

/// A request with `notification` for a device of `app`, and further members as text.
fn request_with(gateway: &World, app: &str, notification: &Value, members: &str) -> String {
    let text = with(notification.clone(), json!({ "devices": [device(gateway, app)] })).to_string();
    format!("{{\"notification\":{}{members}}}}}", &text[..text.len() - 1])
}

fn content(gateway: &World, app: &str, content: &str) -> String {
    request_with(gateway, app, &message(), &format!(",\"content\":{content}"))
}

fn text(gateway: &World, app: &str, body: &str) -> String {
    content(gateway, app, &format!("{{\"msgtype\":\"m.text\",\"body\":\"{body}\"}}"))
}

/// A request for a device of `app` with its own further members.
fn own(gateway: &World, app: &str, members: &str) -> String {
    let device = device(gateway, app).to_string();
    let event = message().to_string();
    format!(
        "{{\"notification\":{},\"devices\":[{},{members}}}]}}}}",
        &event[..event.len() - 1],
        &device[..device.len() - 1]
    )
}

fn defaults(gateway: &World, app: &str, defaults: &str) -> String {
    own(gateway, app, &format!("\"data\":{{\"default_payload\":{defaults}}}"))
}

/// A request for 500 devices that share about this number of bytes.
fn many(gateway: &World, bytes: usize, fill: fn(Value, usize) -> Value) -> String {
    let share = (bytes / 500).saturating_sub(220);
    let devices: Vec<Value> =
        (0..500).map(|number| device(gateway, [IOS, ANDROID][number % 2])).map(|device| fill(device, share)).collect();
    json!({ "notification": with(message(), json!({ "devices": devices })) }).to_string()
}

/// A request for 500 devices of `app` that all get the same `content`.
fn crowd(gateway: &World, app: &str, content: &str) -> String {
    let short = |device: Value| json!({ "app_id": app, "pushkey": device["pushkey"] });
    let devices: Vec<Value> = (0..500).map(|_| short(device(gateway, app))).collect();
    let text = with(message(), json!({ "devices": devices })).to_string();
    format!("{{\"notification\":{},\"content\":{content}}}}}", &text[..text.len() - 1])
}

/// The CPU time of all threads, in nanoseconds: the first field of `/proc/PID/task/*/schedstat` (Linux,
/// `Documentation/scheduler/sched-stats.rst`).
fn cpu_time(pid: u32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let times = threads.filter_map(|thread| {
        // A thread may end while it is read.
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(times.sum())
}
