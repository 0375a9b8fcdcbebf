//! The hostile requests: every field of every endpoint, every query parameter, whole bodies, and mixtures.
//!
//! Invariant: each of them is well-formed HTTP, so that the endpoint's rules have to reject it.

use harness::generator::Generator;

use super::values::{AUTHORIZATION, BROKEN, HEADERS, IN_QUERY, PLAIN, path};
use super::wire::{Hostile, bytes, request_to};
use crate::identity::legacy_v1::v1;
use harness::world::identity::{Session, v2};

/// The data of an authorised client.
pub(super) struct Insider {
    pub(super) token: String,
    /// A token that may be logged out.
    pub(super) spare_token: String,
    pub(super) session: Session,
    pub(super) pepper: String,
    /// An OpenID token that the homeserver knows.
    pub(super) open_id_token: String,
}

/// The API of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The removed API, which has no accounts.
    V1,
    V2,
}

/// A `POST` endpoint and valid texts for its fields.
struct Endpoint {
    version: Version,
    path: &'static str,
    fields: Vec<(&'static str, String)>,
}

impl Endpoint {
    fn target(&self) -> String {
        match self.version {
            Version::V1 => v1(self.path),
            Version::V2 => v2(self.path),
        }
    }

    /// Whether a client without a token gets no error about the body.
    fn needs_token(&self) -> bool {
        self.version == Version::V2 && !matches!(self.path, "/account/register" | "/3pid/unbind")
    }

    /// The content type of a JSON body: v1 requires it, v2 accepts any.
    fn json(&self) -> Option<&'static [u8]> {
        (self.version == Version::V1).then_some(b"Content-Type: application/json")
    }
}

const GET_V1: [(&str, &[&str]); 8] = [
    ("/_matrix/identity/versions", &[]),
    ("/_matrix/identity/api/v1", &[]),
    ("/_matrix/identity/api/v1/lookup", &["medium", "address"]),
    ("/_matrix/identity/api/v1/3pid/getValidated3pid", &["sid", "client_secret"]),
    ("/_matrix/identity/api/v1/pubkey/isvalid", &["public_key"]),
    ("/_matrix/identity/api/v1/pubkey/ephemeral/isvalid", &["public_key"]),
    (
        "/_matrix/identity/api/v1/validate/email/submitToken",
        &["sid", "client_secret", "token", "confirm", "nextLink", "brand", "lang"],
    ),
    (
        "/_matrix/identity/api/v1/validate/msisdn/submitToken",
        &["sid", "client_secret", "token", "confirm", "nextLink", "brand", "lang"],
    ),
];

const GET_V2: [(&str, &[&str]); 13] = [
    ("/_matrix/identity/versions", &[]),
    ("/_matrix/identity/v2", &[]),
    ("/_matrix/identity/v2/terms", &[]),
    ("/_matrix/identity/v2/account", &["access_token"]),
    ("/_matrix/identity/v2/hash_details", &["access_token"]),
    ("/_matrix/identity/v2/pubkey/isvalid", &["public_key"]),
    ("/_matrix/identity/v2/pubkey/ephemeral/isvalid", &["public_key"]),
    ("/_matrix/identity/api/v1/pubkey/ephemeral/isvalid", &["public_key"]),
    (
        "/_matrix/identity/api/v1/validate/email/submitToken",
        &["sid", "client_secret", "token", "confirm", "nextLink", "brand", "lang"],
    ),
    ("/_matrix/identity/v2/3pid/getValidated3pid", &["sid", "client_secret"]),
    (
        "/_matrix/identity/v2/validate/email/submitToken",
        &["sid", "client_secret", "token", "confirm", "nextLink", "brand", "lang"],
    ),
    ("/_matrix/identity/v2/validate/msisdn/submitToken", &["sid", "client_secret", "token", "brand", "lang"]),
    ("/_identity/v1/bindings", &["access_token"]),
];

fn gets(version: Version) -> &'static [(&'static str, &'static [&'static str])] {
    match version {
        Version::V1 => &GET_V1,
        Version::V2 => &GET_V2,
    }
}

fn endpoints(version: Version, insider: &Insider) -> Vec<Endpoint> {
    let text = |value: &str| format!("\"{value}\"");
    let (sid, secret) = (text(&insider.session.sid), text(&insider.session.client_secret));
    let list = [
        (
            "/account/register",
            vec![
                ("access_token", text(&insider.open_id_token)),
                ("matrix_server_name", text("hs.example")),
                ("token_type", text("Bearer")),
                ("expires_in", "3600".to_owned()),
            ],
        ),
        ("/account/logout", vec![("x", "1".to_owned())]),
        ("/terms", vec![("user_accepts", "[\"https://example.org/t\"]".to_owned())]),
        (
            "/lookup",
            vec![("addresses", "[\"x\"]".to_owned()), ("algorithm", text("none")), ("pepper", text(&insider.pepper))],
        ),
        (
            "/validate/email/requestToken",
            vec![
                ("client_secret", text("s")),
                ("email", text("hostile@example.com")),
                ("send_attempt", "1".to_owned()),
                ("next_link", text("https://app.example/")),
            ],
        ),
        (
            "/validate/email/submitToken",
            vec![("sid", sid.clone()), ("client_secret", secret.clone()), ("token", text("wrong"))],
        ),
        (
            "/validate/msisdn/requestToken",
            vec![
                ("client_secret", text("s")),
                ("phone_number", text("07700900001")),
                ("country", text("GB")),
                ("send_attempt", "1".to_owned()),
                ("next_link", text("https://app.example/")),
            ],
        ),
        (
            "/validate/msisdn/submitToken",
            vec![("sid", sid.clone()), ("client_secret", secret.clone()), ("token", text("wrong"))],
        ),
        (
            "/3pid/bind",
            vec![("sid", sid.clone()), ("client_secret", secret.clone()), ("mxid", text("@insider:hs.example"))],
        ),
        (
            "/store-invite",
            vec![
                ("medium", text("email")),
                ("address", text("invited@example.com")),
                ("room_id", text("!r:hs.example")),
                ("sender", text("@insider:hs.example")),
                ("room_name", text("A room")),
                ("sender_display_name", text("An insider")),
                ("org.matrix.web_client_location", text("https://app.example")),
            ],
        ),
        (
            "/sign-ed25519",
            vec![
                ("mxid", text("@insider:hs.example")),
                ("token", text("unknown")),
                ("private_key", text("tQOpPxbsuKiwNk_2d_9BtdQVWOmwYlqiFLiB-h1Er30")),
            ],
        ),
        (
            "/3pid/unbind",
            vec![
                ("mxid", text("@insider:hs.example")),
                ("threepid", r#"{"medium":"email","address":"insider@example.com"}"#.to_owned()),
                ("sid", sid),
                ("client_secret", secret),
            ],
        ),
    ];
    let bulk_lookup = ("/bulk_lookup", vec![("threepids", r#"[["email","insider@example.com"]]"#.to_owned())]);
    let msisdn = vec![("sid", text("x")), ("client_secret", text("s")), ("token", text("123456"))];
    let list = list.into_iter().chain([bulk_lookup, ("/validate/msisdn/submitToken", msisdn)]);
    let is_of = |path: &str| match version {
        Version::V1 => !matches!(path, "/account/register" | "/account/logout" | "/terms" | "/lookup"),
        Version::V2 => !matches!(path, "/bulk_lookup" | "/validate/msisdn/submitToken"),
    };
    list.filter(|(path, _)| is_of(path)).map(|(path, fields)| Endpoint { version, path, fields }).collect()
}

/// All requests: the systematic ones, and `mixed` generated ones.
pub(super) fn all(version: Version, insider: &Insider, generator: &mut Generator, mixed: usize) -> Vec<Hostile> {
    let endpoints = endpoints(version, insider);
    let mut requests = Vec::new();
    for endpoint in &endpoints {
        fields(endpoint, insider, &mut requests);
        bodies(endpoint, insider, generator, &mut requests);
    }
    queries(version, &endpoints, insider, &mut requests);
    authorizations(version, &endpoints, &mut requests);
    requests.extend((0..mixed).map(|_| mixture(&endpoints, insider, generator)));
    requests
}

/// Every value in every field, with all other fields valid; with and without authorisation.
fn fields(endpoint: &Endpoint, insider: &Insider, requests: &mut Vec<Hostile>) {
    let huge = [format!("\"{}\"", "x".repeat(100_000)), format!("[{}1]", "1,".repeat(20_000))];
    let deep = [nested("[", "]", 60), nested("{\"a\":", "}", 60)];
    let too_deep = ["[".repeat(100_000), "{\"a\":".repeat(20_000), nested("[", "]", 70)];
    let fine = PLAIN.into_iter().chain(huge.iter().chain(&deep).map(String::as_str)).map(|value| (value, false));
    let broken = BROKEN.into_iter().chain(too_deep.iter().map(String::as_str)).map(|value| (value, true));
    for (value, is_broken) in fine.chain(broken) {
        for (index, (name, _)) in endpoint.fields.iter().enumerate() {
            let body = object(&endpoint.fields, index, value);
            requests.push(post(endpoint, insider, &body, is_broken.then_some("M_BAD_JSON")));
            if *name == "threepid" {
                for threepid in [
                    format!("{{\"medium\":{value},\"address\":\"a@b\"}}"),
                    format!("{{\"medium\":\"email\",\"address\":{value}}}"),
                ] {
                    let body = object(&endpoint.fields, index, &threepid);
                    requests.push(post(endpoint, insider, &body, is_broken.then_some("M_BAD_JSON")));
                }
            }
            // Without authorisation the response does not depend on the value, except where no token is needed.
            if index == 0 {
                let errcode = endpoint.needs_token().then_some("M_UNAUTHORIZED");
                requests.push(request_to("POST", &endpoint.target(), &[], &body, errcode));
            }
        }
    }
}

/// Bodies that are hostile as a whole, as JSON and as forms.
fn bodies(endpoint: &Endpoint, insider: &Insider, generator: &mut Generator, requests: &mut Vec<Hostile>) {
    let members: Vec<String> = (0..2_000).map(|n| format!("\"k{n}\":{n}")).collect();
    let mut wholes: Vec<Vec<u8>> = [
        "",
        " ",
        "[]",
        "null",
        "\"x\"",
        "5",
        "{",
        "}",
        "{}{}",
        "{\"a\"",
        "\u{feff}{}",
        "\0",
        "a=b",
        "=&=&&",
        "%",
        "sid=%00",
        "sid=%ff&client_secret=x&token=x",
        "sid=a&sid=a",
        "email=a%00@b&client_secret=s&send_attempt=1",
    ]
    .iter()
    .map(|body| body.as_bytes().to_vec())
    .collect();
    wholes.push(format!("{{{}}}", members.join(",")).into_bytes());
    wholes.push(format!("{{{},\"k7\":1}}", members.join(",")).into_bytes());
    wholes.push("{}".encode_utf16().flat_map(u16::to_le_bytes).collect());
    wholes.push(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff".to_vec());
    for length in [1, 10, 100, 1000, 10_000] {
        wholes.push(generator.bytes(length));
    }
    for body in wholes {
        for content_type in ["application/json", "application/x-www-form-urlencoded"] {
            let token = format!("Authorization: Bearer {}", token_for(endpoint.path, insider));
            let content_type = format!("Content-Type: {content_type}");
            let headers = [token.as_bytes(), content_type.as_bytes()];
            requests.push(request_to("POST", &endpoint.target(), &headers, &body, None));
        }
    }
}

fn queries(version: Version, endpoints: &[Endpoint], insider: &Insider, requests: &mut Vec<Hostile>) {
    let long = "x".repeat(20_000);
    let bearer = format!("Authorization: Bearer {}", insider.token);
    for value in IN_QUERY.into_iter().chain([long.as_str()]) {
        for (path, names) in gets(version) {
            for name in names.iter().chain(&["x"]) {
                let others: String =
                    names.iter().filter(|other| *other != name).map(|other| format!("&{other}=x")).collect();
                let target = format!("{path}?{name}={value}{others}");
                requests.push(Hostile {
                    bytes: bytes("GET", &target, &[bearer.as_bytes()], b""),
                    method: "GET".to_owned(),
                    errcode: None,
                    may_be_html: path.ends_with("submitToken"),
                });
            }
        }
        let key = match version {
            Version::V1 => v1(&format!("/pubkey/{value}")),
            Version::V2 => v2(&format!("/pubkey/{value}")),
        };
        requests.push(request_to("GET", &key, &[], b"", None));
        for endpoint in endpoints {
            let target = endpoint.target();
            let of_mail = format!("{target}?brand={value}&lang={value}");
            let bearer = format!("Authorization: Bearer {}", token_for(endpoint.path, insider));
            requests.push(request_to("POST", &of_mail, &[bearer.as_bytes()], b"{}", None));
            // Only v1 takes arguments from the query.
            for (name, _) in endpoint.fields.iter().filter(|_| version == Version::V1) {
                requests.push(request_to("POST", &format!("{target}?{name}={value}"), &[], b"", None));
                requests.push(request_to("POST", &target, &[], format!("{name}={value}").as_bytes(), None));
            }
        }
    }
}

fn authorizations(version: Version, endpoints: &[Endpoint], requests: &mut Vec<Hostile>) {
    let long = [b"Bearer ".as_slice(), &[b'x'; 20_000]].concat();
    for value in AUTHORIZATION.into_iter().chain([long.as_slice()]) {
        let header = [b"Authorization: ", value].concat();
        for (path, _) in gets(version) {
            requests.push(request_to("GET", path, &[&header], b"", None));
            if let Some(last) = requests.last_mut() {
                last.may_be_html = path.ends_with("submitToken");
            }
        }
        for endpoint in endpoints {
            let named: Vec<_> =
                endpoint.fields.iter().filter(|(name, _)| !matches!(*name, "sid" | "client_secret")).collect();
            let members: Vec<String> = named.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            let body = format!("{{{}}}", members.join(","));
            let headers: Vec<&[u8]> = [header.as_slice()].into_iter().chain(endpoint.json()).collect();
            requests.push(request_to("POST", &endpoint.target(), &headers, body.as_bytes(), None));
        }
    }
}

/// A request in which every part may be hostile.
fn mixture(endpoints: &[Endpoint], insider: &Insider, generator: &mut Generator) -> Hostile {
    const METHODS: [&str; 10] = ["POST", "POST", "POST", "POST", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "X-FILES"];
    let endpoint = &endpoints[generator.below(endpoints.len())];
    let method = generator.pick(&METHODS).to_owned();
    let mut target = if generator.below(4) == 0 { path(generator) } else { endpoint.target() };
    if generator.below(3) == 0 {
        let (name, value) = (generator.pick(&["sid", "access_token", "brand", "a", ""]), generator.pick(&IN_QUERY));
        target = format!("{target}?{name}={value}");
    }
    let members: Vec<String> = endpoint
        .fields
        .iter()
        .filter_map(|(name, right)| match generator.below(8) {
            0 => None,
            1 | 2 => Some(format!("\"{name}\":{}", generator.pick(&PLAIN))),
            3 => Some(format!("\"{name}\":{}", generator.pick(&BROKEN))),
            _ => Some(format!("\"{name}\":{right}")),
        })
        .collect();
    let mut body = format!("{{{}}}", members.join(",")).into_bytes();
    if generator.below(5) == 0 && !body.is_empty() {
        let at = generator.below(body.len());
        body[at] = generator.bytes(1)[0];
    }
    let authorization = match generator.below(4) {
        0 => [b"Authorization: ".as_slice(), generator.pick(&AUTHORIZATION)].concat(),
        _ => format!("Authorization: Bearer {}", token_for(endpoint.path, insider)).into_bytes(),
    };
    let json = endpoint.json().filter(|_| generator.below(2) == 0);
    let headers: Vec<&[u8]> =
        [authorization.as_slice()].into_iter().chain(json).chain([generator.pick(&HEADERS)]).collect();
    Hostile {
        bytes: bytes(&method, &target, &headers, &body),
        may_be_html: target.contains("submitToken") && method != "POST",
        method,
        errcode: None,
    }
}

fn token_for<'a>(path: &str, insider: &'a Insider) -> &'a str {
    if path == "/account/logout" { &insider.spare_token } else { &insider.token }
}

fn post(endpoint: &Endpoint, insider: &Insider, body: &[u8], errcode: Option<&'static str>) -> Hostile {
    let bearer = format!("Authorization: Bearer {}", token_for(endpoint.path, insider));
    // The spare token may be logged out already; then the body is not checked.
    let errcode = errcode.filter(|_| endpoint.path != "/account/logout");
    let headers: Vec<&[u8]> = [bearer.as_bytes()].into_iter().chain(endpoint.json()).collect();
    request_to("POST", &endpoint.target(), &headers, body, errcode)
}

/// The object of all fields, with `value` in the field at `index`.
fn object(fields: &[(&str, String)], index: usize, value: &str) -> Vec<u8> {
    let members: Vec<String> = fields
        .iter()
        .enumerate()
        .map(|(at, (name, right))| format!("\"{name}\":{}", if at == index { value } else { right }))
        .collect();
    format!("{{{}}}", members.join(",")).into_bytes()
}

fn nested(open: &str, close: &str, levels: usize) -> String {
    format!("{}1{}", open.repeat(levels), close.repeat(levels))
}
