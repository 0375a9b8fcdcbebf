//! The public URL of a service, as a client from outside reaches it: name, address, TLS, reverse proxy, path, cross-origin
//! headers, and the client address that the service sees.
//!
//! Invariant: a check sends nothing that changes the service.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, LOCATION, ORIGIN};
use hyper::{Method, StatusCode};
use url::Url;

use super::prober::{Prober, json_of};
use super::{Report, milliseconds, proxy_lines};
use crate::certificate_chain::Validity;
use crate::clock::Timestamp;
use crate::http::observe::DOCTOR_REQUEST_ID;
use crate::outbound::client::Reply;
use crate::outbound::failure::{ConnectError, Failure};
use crate::random::Random;

/// A certificate that expires within this time is a note: what renews it should have done so.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// The subjects of the findings.
const CONNECTION: &str = "public URL";
const PATH: &str = "reverse proxy";
const CORS: &str = "cross-origin headers";
const CLIENT: &str = "client address";

/// A part of a service that an incomplete reverse proxy would not pass on.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// A path of it.
    pub path: &'static str,
    /// Whether a response to GET is the service's.
    pub is_answer: fn(&Reply) -> bool,
    /// What leads there, for the operator.
    pub purpose: &'static str,
}

/// A public URL and what lies behind it.
#[derive(Clone, Debug)]
pub struct PublicUrl<'a> {
    /// The URL without a final slash.
    pub base: &'a Url,
    /// The key of the setting, or the argument, that the URL comes from.
    pub source: &'a str,
    /// A path below the URL.
    pub path: &'a str,
    /// Whether a response to GET is the service's.
    pub is_answer: fn(&Reply) -> bool,
    /// Other parts of the service.
    pub parts: &'a [Part],
    /// The beginnings of all paths that the reverse proxy has to pass on.
    pub passed_on: &'a [&'a str],
    /// The name of the service, for the operator.
    pub service: &'a str,
    /// The name of its program.
    pub program: &'a str,
    /// The first address that the service listens on.
    pub listens_on: SocketAddr,
    /// Whether browsers of every origin must be able to read the responses.
    pub is_for_browsers: bool,
    /// Whether the service terminates TLS itself.
    pub has_own_tls: bool,
    /// The URL of the admin listener, if it is TCP.
    pub admin: Option<Url>,
}

impl PublicUrl<'_> {
    fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }
}

/// Walks from the name to the service. False if requests do not reach it.
pub async fn check(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>, now: Timestamp) -> bool {
    let started = std::time::Instant::now();
    let stream = match prober.connect(public.base).await {
        Ok(stream) => stream,
        Err(error) => {
            report.failed(CONNECTION, format!("{}: {error}", public.base), connection_advice(&error, public));
            return false;
        }
    };
    let tls = if public.base.scheme() == "https" { "with a valid certificate " } else { "" };
    report.good(CONNECTION, format!("{} accepts connections {tls}({})", public.base, milliseconds(started.elapsed())));
    let validity = stream.peer_certificate().and_then(Validity::of);
    if let Some(problem) = validity.and_then(|validity| validity.problem(now, EXPIRY_NOTICE)) {
        report.note(CONNECTION, format!("the certificate {problem}; check that its renewal works"));
    }
    if !reaches_service(report, prober, public).await {
        return false;
    }
    for part in public.parts {
        reaches_part(report, prober, public, part).await;
    }
    if public.is_for_browsers {
        cross_origin(report, prober, public).await;
    }
    client_address(report, prober, public).await;
    true
}

fn connection_advice(error: &ConnectError, public: &PublicUrl<'_>) -> String {
    let source = public.source;
    match error.failure {
        Failure::Dns => format!("create a DNS record for the host, or correct {source}"),
        // What rustls says of an answer that is no TLS at all.
        Failure::Tls if error.to_string().contains("InvalidContentType") => {
            format!("nothing speaks TLS on this port: let the reverse proxy do it (listen … ssl), or correct {source}")
        }
        Failure::Tls => {
            "renew the certificate, or let the reverse proxy send the whole chain for this name; homeservers and clients refuse \
             it too"
                .to_owned()
        }
        Failure::Connect | Failure::ConnectTimeout => {
            format!("start the reverse proxy on this port, open the port in the firewall, or correct {source}")
        }
        Failure::Blocked | Failure::Timeout | Failure::TooLarge | Failure::Other => format!("correct {source}"),
    }
}

async fn reaches_service(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>) -> bool {
    let url = public.url_of(public.path);
    let reply = match prober.get(&url).await {
        Ok(reply) => reply,
        Err(failure) => {
            report.failed(PATH, format!("GET {url}: {failure}"), "read the log of the reverse proxy");
            return false;
        }
    };
    if (public.is_answer)(&reply) {
        report.good(PATH, format!("GET {url} is answered by {}", public.service));
        return true;
    }
    let Wrong { cause, next_step, is_path } = Wrong::of(&reply, public);
    report.failed(PATH, format!("GET {url}: {cause}"), next_step);
    if is_path {
        proxy_lines::suggest(report, public);
    }
    false
}

async fn reaches_part(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>, part: &Part) {
    let url = public.url_of(part.path);
    let found = match prober.get(&url).await {
        Ok(reply) if (part.is_answer)(&reply) => {
            return report.good(PATH, format!("GET {url} is answered by {}", public.service));
        }
        Ok(reply) => format!("{} of another program", reply.status.as_u16()),
        Err(failure) => failure.to_string(),
    };
    report.failed(
        PATH,
        format!("GET {url}: {found}; {}", part.purpose),
        format!("pass requests below {} on too", public.passed_on.join(", ")),
    );
    proxy_lines::suggest(report, public);
}

/// Why a response is not the service's.
struct Wrong {
    cause: String,
    next_step: String,
    /// Whether the paths that the reverse proxy passes on are at fault.
    is_path: bool,
}

impl Wrong {
    fn of(reply: &Reply, public: &PublicUrl<'_>) -> Self {
        let (status, service, upstream) = (reply.status.as_u16(), public.service, public.listens_on);
        let paths = public.passed_on.join(", ");
        let body = json_of(reply);
        let errcode = body["errcode"].as_str();
        let wrong = |cause: String, next_step: String| Self { cause, next_step, is_path: true };
        match (status, errcode) {
            (301 | 302 | 303 | 307 | 308, _) => {
                let to = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("another URL");
                wrong(format!("redirects to {to}; clients do not follow redirects"), format!("correct {}", public.source))
            }
            (502..=504, _) => Self {
                is_path: false,
                ..wrong(
                    format!("{status}: the reverse proxy does not reach {service}"),
                    format!("start {service}, and let the reverse proxy pass requests on to http://{upstream}"),
                )
            },
            (404, Some(errcode)) => wrong(
                format!("404 {errcode}: {service} gets another path than this one, or another Matrix server answers"),
                format!(
                    "let the reverse proxy pass requests below {paths} on to http://{upstream} with the path unchanged, or set \
                     [http] base_path to the prefix that it adds"
                ),
            ),
            (401 | 403, _) => wrong(
                format!("{status}: the reverse proxy asks for a login"),
                format!("let requests below {paths} through without one"),
            ),
            (200, _) => wrong(
                "200, but another program answers".to_owned(),
                format!("pass requests below {paths} on to http://{upstream}"),
            ),
            _ => wrong(
                format!("{status}: another program answers"),
                format!("pass requests below {paths} on to http://{upstream}"),
            ),
        }
    }
}

async fn cross_origin(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>) {
    let url = public.url_of(public.path);
    let origin = [(ORIGIN.as_str(), "https://app.example.org")];
    let preflight = [origin[0], ("access-control-request-method", "POST")];
    for (method, headers) in [(Method::OPTIONS, &preflight[..]), (Method::GET, &origin)] {
        let found = match prober.request(method.clone(), &url, headers).await {
            Ok(reply) => {
                let values = reply.headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN);
                values.iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect::<Vec<_>>()
            }
            Err(failure) => {
                report.failed(CORS, format!("{method} {url}: {failure}"), "let the reverse proxy pass every method on");
                return;
            }
        };
        let (cause, next_step) = match found.as_slice() {
            [one] if one == "*" => continue,
            [] => ("has no Access-Control-Allow-Origin", "let the reverse proxy pass OPTIONS on and remove no header"),
            [_] => ("has another Access-Control-Allow-Origin than \"*\"", "remove the header from the reverse proxy"),
            _ => (
                "has Access-Control-Allow-Origin twice, which browsers refuse",
                "remove it from the reverse proxy: the service sends it itself",
            ),
        };
        report.failed(CORS, format!("{method} {url} {cause}"), next_step);
        return;
    }
    report.good(CORS, "browsers of every origin can read the responses");
}

/// Sends a marked request to the public URL, and reads from the admin listener which client it came from.
async fn client_address(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>) {
    let Some(admin) = &public.admin else {
        report.skipped(CLIENT, "the admin listener reports it; set [admin] bind to 127.0.0.1 and a port");
        return;
    };
    let id = format!("{DOCTOR_REQUEST_ID}{}", Random.base62(12));
    let url = public.url_of(public.path);
    let sent = prober.request(Method::GET, &url, &[("x-request-id", &id)]).await;
    let seen = match prober.get(&format!("{}doctor/{id}", admin)).await {
        Ok(reply) if reply.status == StatusCode::OK => json_of(&reply),
        Ok(reply) if reply.status == StatusCode::NOT_FOUND && sent.is_ok() => {
            report.note(
                CLIENT,
                "not found out: the reverse proxy replaces X-Request-Id, or the admin listener belongs to another process",
            );
            return;
        }
        Ok(reply) => return report.skipped(CLIENT, format!("the admin listener answers {}", reply.status)),
        Err(failure) => return report.skipped(CLIENT, format!("the admin listener at {admin}: {failure}")),
    };
    let text = |key: &str| seen[key].as_str().unwrap_or_default().to_owned();
    let (peer, client) = (text("peer"), text("client"));
    match (seen["is_forwarded"].as_bool().unwrap_or_default(), seen["is_trusted"].as_bool().unwrap_or_default()) {
        (true, true) if peer == client => report.failed(
            CLIENT,
            format!("X-Forwarded-For of the reverse proxy at {peer} names no address: all clients share one limit"),
            "let it send the address of the client, as $remote_addr in nginx",
        ),
        (true, true) => report.good(CLIENT, format!("{client}, from X-Forwarded-For of the reverse proxy at {peer}")),
        (true, false) => report.failed(
            CLIENT,
            format!("X-Forwarded-For of {peer} is not trusted: all clients share one limit"),
            format!("add \"{peer}\" to [http] trusted_proxies"),
        ),
        (false, _) if public.has_own_tls => report.good(CLIENT, format!("{client}, without a reverse proxy")),
        (false, _) => {
            report.failed(
                CLIENT,
                format!("the reverse proxy at {peer} sends no X-Forwarded-For: all clients share one limit"),
                format!("let it send the header, and add \"{peer}\" to [http] trusted_proxies"),
            );
            proxy_lines::suggest(report, public);
        }
    }
}
