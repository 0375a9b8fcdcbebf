//! Hostile values in place of valid ones, as text in a body.
//!
//! Invariant: each is one value by the syntax of JSON, except [`BROKEN`].

/// Values of every kind: right and wrong ones, foreign IDs and keys, huge numbers.
pub(super) const VALUES: [&str; 52] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "-5",
    "1.5",
    "-1.5e3",
    "1e400",
    "-1e999999999",
    "1e-400",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551616",
    "1180591620717411303424",
    r#""""#,
    r#"" ""#,
    r#""\u0000""#,
    r#""\r\napns-topic: evil""#,
    r#""\u001b[31m\n2026-01-01T00:00:00Z ERROR forged""#,
    r#""\uffff\ufffe\u202e""#,
    r#""\ud83d\udca9""#,
    r#""\ud800""#,
    r#""a\udc00\ud800b""#,
    r#""../../x?y=1""#,
    r#""%00%s%n{{7*7}}${x}""#,
    r#""low""#,
    r#""m.room.message""#,
    r#""m.room.member""#,
    r#""m.call.invite""#,
    r#""$THIS_IS_A_FAKE_EVENT_ID""#,
    r#""default""#,
    "[]",
    "[null]",
    "[[]]",
    r#"["\ud800",1e400]"#,
    r#"["a","b",1]"#,
    "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
    "{}",
    r#"{"":null}"#,
    r#"{"\u0000":{"":[]}}"#,
    r#"{"\ud800":1}"#,
    r#"{"a":1,"a":2}"#,
    r#"{"aps":"x"}"#,
    r#"{"aps":{"alert":"x"}}"#,
    r#"{"aps":{"alert":{"loc-args":[1,null,"x",{}],"body":5},"badge":"x","content-available":1}}"#,
    r#"{"event_id":"evil","room_id":[],"type":1,"prio":{},"unread":"x"}"#,
    r#"{"from":"x","gcm":1,"google.x":{},"message_type":null}"#,
    r#"{"default_payload":{"aps":{"alert":5}},"disable_badge_count":1}"#,
    r#"{"msgtype":"m.text","body":"b","membership":"invite","offer":{"sdp":"m=video"}}"#,
    r#"{"unread":1e400,"missed_calls":-99999999999999999999}"#,
];

/// Texts that are not values.
pub(super) const BROKEN: [&str; 10] =
    ["", "NaN", "Infinity", "01", "+1", "'x'", "\"\n\"", r#""\x00""#, "[1,]", r#"{"a"}"#];

/// Values that are large or deep. The gateway accepts more than 64 levels only inside `content`.
pub(super) fn huge() -> Vec<String> {
    let nested = |open: &str, close: &str, levels: usize| format!("{}0{}", open.repeat(levels), close.repeat(levels));
    vec![
        format!("\"{}\"", "x".repeat(400_000)),
        format!("\"{}\"", "🪨".repeat(100_000)),
        format!("\"{}\"", r#"\u0001\n\\\""#.repeat(20_000)),
        format!("[{}1]", "1,".repeat(100_000)),
        format!("{{{}\"a\":1}}", "\"a\":1,".repeat(50_000)),
        format!("{{{}}}", (0..20_000).map(|n| format!("\"k{n}\":\"{n}\"")).collect::<Vec<_>>().join(",")),
        nested("[", "]", 50),
        nested("{\"a\":", "}", 50),
        nested("[", "]", 50_000),
        nested("{\"a\":", "}", 50_000),
        "[".repeat(50_000),
    ]
}
