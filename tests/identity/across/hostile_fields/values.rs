//! Hostile values in place of valid ones.
//!
//! Invariant: the same seed gives the same requests.

use harness::generator::Generator;

/// Values that are valid JSON.
pub(super) const PLAIN: [&str; 43] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-1",
    "1.5",
    "1e3",
    "1e-400",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    r#""""#,
    r#"" ""#,
    r#""\u0000""#,
    r#""a\u0000b""#,
    r#""a@b\u0000""#,
    r#""@a\u0000:hs.example""#,
    r#""https://app.example/\u0000""#,
    r#""\r\nBcc: b@c""#,
    r#""\uffff\ufffe""#,
    r#""\u202e\u2066""#,
    r#""\ud83d\udca9""#,
    r#""1""#,
    r#""-1""#,
    r#""999999999999999999""#,
    r#""9999999999999999999999""#,
    r#""'; drop table sessions; --""#,
    r#""%00%s%n{{7*7}}%(x)s${x}""#,
    r#""../../../etc/passwd""#,
    r#""a@b""#,
    r#""@a:hs.example""#,
    r#""email""#,
    r#""msisdn""#,
    "[]",
    "[null]",
    r#"["\u0000"]"#,
    r#"["a","b",1]"#,
    "[[[[[[[[]]]]]]]]",
    "{}",
    r#"{"medium":"email","address":"a\u0000@b"}"#,
    r#"{"\u0000":{"":[]}}"#,
];

/// Values that make the whole body invalid JSON.
pub(super) const BROKEN: [&str; 17] = [
    "1e400",
    "-1e999999999",
    "NaN",
    "Infinity",
    "0x10",
    "01",
    "+1",
    ".5",
    "",
    "'x'",
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\x00""#,
    "\"\n\"",
    "\"\0\"",
    r#"{"a":1,"a":2}"#,
    "[1,]",
];

/// Values of a query parameter, as in the request line.
pub(super) const IN_QUERY: [&str; 18] = [
    "",
    "%00",
    "a%00b",
    "%ff",
    "%ed%a0%80",
    "%c0%80",
    "%",
    "%zz",
    "+",
    "%F0%9F%92%A9",
    "a&a",
    "=",
    "&&;&",
    "%2F..%2F",
    "%0d%0aX:%20y",
    "[]",
    "%7B%22a%22:1%7D",
    "%EF%BF%BD",
];

/// Contents of an Authorization header.
pub(super) const AUTHORIZATION: [&[u8]; 16] = [
    b"",
    b"Bearer",
    b"Bearer \xff\xfe",
    b"Bearer a b",
    b"Bearer \t x",
    b"Basic eDp5",
    b"X-Matrix",
    b"X-Matrix =",
    b"X-Matrix origin=,key=,sig=",
    b"X-Matrix origin=\"\\",
    b"X-Matrix origin=\"hs.example\",key=\"ed25519:a_1\",sig=\"AAAA\"",
    b"X-Matrix origin=\"hs.example\",key=\"ed25519:a_1\",sig=\"\xff\"",
    b"X-Matrix origin=\"hs.example\",origin=\"hs.example\",key=\"x\",sig=\"x\",destination=\"x\"",
    b"X-Matrix origin=\"127.0.0.1\",key=\"ed25519:a\",sig=\"AAAA\"",
    b"X-Matrix ,,,,====\"\"\"\"",
    b"\"Bearer\" x",
];

/// Other headers, as whole lines.
pub(super) const HEADERS: [&[u8]; 14] = [
    b"X-Forwarded-For: \xff, ::, 999.1.1.1, [, ]",
    b"X-Request-Id: \xff{}",
    b"Accept-Language: \xff;q=x, *;q=1e400, de;;;",
    b"Accept-Encoding: gzip, br, \xff",
    b"Content-Encoding: gzip",
    b"Content-Type: \xff/\xff; charset=\xff",
    b"Content-Type: application/x-www-form-urlencoded",
    b"Content-Type: application/json; charset=utf-16",
    b"Expect: nothing",
    b"Upgrade: h2c",
    b"Range: bytes=0-18446744073709551616",
    b"If-None-Match: *",
    b"Origin: null",
    b"Cookie: \"\"=;;;",
];

/// Characters that are valid in a request line.
pub(super) fn path(generator: &mut Generator) -> String {
    const PARTS: [&str; 16] = [
        "/",
        "/_matrix",
        "/identity",
        "/v2",
        "/v1",
        "/account",
        "/pubkey",
        "/3pid",
        "/%00",
        "/%ff",
        "/%2e%2e",
        "/..",
        "/%7Bx%7D",
        "/:",
        "/*",
        "/validate/email/",
    ];
    let start = if generator.below(2) == 0 { "/_matrix/identity/v2" } else { "" };
    let parts: String = (0..=generator.below(4)).map(|_| generator.pick(&PARTS)).collect();
    format!("{start}{parts}")
}
