//! The public URL of a service, as a client from outside reaches it: name, address, TLS, reverse proxy, path, cross-origin
//! headers, and the client address that the service sees.
//!
//! Invariant: a check sends nothing that changes the service.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, LOCATION, ORIGIN};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use url::Url;

use super::{Report, milliseconds};
use crate::http::observe::DOCTOR_REQUEST_ID;
use crate::outbound::client::{Client, Reply, pool};
use crate::outbound::connector::{Connector, Target};
use crate::outbound::failure::Failure;
use crate::outbound::proxy::ProxyRule;
use crate::outbound::resolver::Resolver;
use crate::outbound::settings::Outbound;
use crate::random::Random;

/// The longest time for one connection or request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest response that is read.
const MAX_BODY: usize = 64 * 1024;

/// The subjects of the findings.
const CONNECTION: &str = "public URL";
const PATH: &str = "reverse proxy";
const CORS: &str = "cross-origin headers";
const CLIENT: &str = "client address";

/// A public URL and what lies behind it.
#[derive(Clone, Debug)]
pub struct PublicUrl<'a> {
    /// The URL without a final slash.
    pub base: &'a Url,
    /// The key of the setting, or the argument, that the URL comes from.
    pub source: &'a str,
    /// A path below the URL.
    pub path: &'a str,
    /// Whether a response to GET with this status and JSON is the service's.
    pub is_answer: fn(StatusCode, &Value) -> bool,
    /// The name of the service, for the operator.
    pub service: &'a str,
    /// The first address that the service listens on.
    pub listens_on: SocketAddr,
    /// Whether browsers of every origin must be able to read the responses.
    pub is_for_browsers: bool,
    /// Whether the service terminates TLS itself.
    pub has_own_tls: bool,
    /// The URL of the admin listener, if it is TCP.
    pub admin: Option<Url>,
}

/// A client for the requests of a doctor.
#[derive(Debug)]
pub struct Prober {
    connector: Connector,
    client: Client,
}

impl Prober {
    /// Trusts the system's roots and those of `[outbound] extra_ca_file`; uses no proxy.
    ///
    /// # Errors
    /// The problem with the roots.
    pub fn new(outbound: &Outbound) -> Result<Self, String> {
        let tls = outbound.tls().map_err(|error| error.to_string())?;
        let connector = Connector::new(Resolver::System, ProxyRule::default(), tls, TIMEOUT);
        Ok(Self { client: Client::new(connector.clone(), &pool(), TIMEOUT), connector })
    }

    /// Opens and closes a connection to the host of `url`; with TLS if the scheme is `https`.
    ///
    /// # Errors
    /// The kind of the failure and its cause.
    pub async fn connect(&self, url: &Url) -> Result<(), (Failure, String)> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(443);
        let target = if url.scheme() == "https" { Target::tls(host, port) } else { Target::tcp(host, port) };
        let target = target.ok_or((Failure::Dns, "not a host name".to_owned()))?;
        self.connector.connect(&target).await.map(drop).map_err(|error| (error.failure, error.to_string()))
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn request(&self, method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Reply, Failure> {
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::default()).map_err(|_| Failure::Other)?;
        self.client.fetch(request, MAX_BODY).await
    }

    /// Sends GET.
    ///
    /// # Errors
    /// [`Failure`]
    pub async fn get(&self, url: &str) -> Result<Reply, Failure> {
        self.request(Method::GET, url, &[]).await
    }
}

/// The JSON object in a response, or null.
pub fn json_of(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

/// Walks from the name to the service. False if requests do not reach it.
pub async fn check(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>) -> bool {
    let started = std::time::Instant::now();
    if let Err((failure, cause)) = prober.connect(public.base).await {
        report.failed(CONNECTION, format!("{}: {cause}", public.base), connection_advice(failure, public));
        return false;
    }
    let tls = if public.base.scheme() == "https" { "with a valid certificate " } else { "" };
    report.good(CONNECTION, format!("{} accepts connections {tls}({})", public.base, milliseconds(started.elapsed())));
    if !reaches_service(report, prober, public).await {
        return false;
    }
    if public.is_for_browsers {
        cross_origin(report, prober, public).await;
    }
    client_address(report, prober, public).await;
    true
}

fn connection_advice(failure: Failure, public: &PublicUrl<'_>) -> String {
    let source = public.source;
    match failure {
        Failure::Dns => format!("create a DNS record for the host, or correct {source}"),
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
    let (url, service) = (format!("{}{}", public.base.as_str().trim_end_matches('/'), public.path), public.service);
    let reply = match prober.get(&url).await {
        Ok(reply) => reply,
        Err(failure) => {
            report.failed(PATH, format!("GET {url}: {failure}"), "read the log of the reverse proxy");
            return false;
        }
    };
    let body = json_of(&reply);
    if (public.is_answer)(reply.status, &body) {
        report.good(PATH, format!("GET {url} is answered by {service}"));
        return true;
    }
    let status = reply.status.as_u16();
    let is_ours = body.get("errcode").is_some();
    let (cause, next_step) = match status {
        301 | 302 | 303 | 307 | 308 => {
            let to = reply.headers.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("another URL");
            (format!("redirects to {to}; clients do not follow redirects"), format!("correct {}", public.source))
        }
        502..=504 => (
            format!("{status}: the reverse proxy does not reach {service}"),
            format!("start {service}, and pass requests on to http://{}", public.listens_on),
        ),
        404 if is_ours => (
            format!("404 {}: {service} gets another path than this one", body["errcode"]),
            "let the reverse proxy pass the path on unchanged, or set [http] base_path to the prefix that it adds"
                .to_owned(),
        ),
        401 | 403 => (
            format!("{status}: the reverse proxy asks for a login"),
            format!("let requests below {} through without one", public.path),
        ),
        200 => (
            "200, but another program answers".to_owned(),
            format!("pass requests below {} on to http://{}", public.path, public.listens_on),
        ),
        _ => (
            format!("{status}: another program answers"),
            format!("pass requests below {} on to http://{}", public.path, public.listens_on),
        ),
    };
    report.failed(PATH, format!("GET {url}: {cause}"), next_step);
    suggest_proxy(report, public);
    false
}

async fn cross_origin(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>) {
    let url = format!("{}{}", public.base.as_str().trim_end_matches('/'), public.path);
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
    let url = format!("{}{}", public.base.as_str().trim_end_matches('/'), public.path);
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
            suggest_proxy(report, public);
        }
    }
}

/// The lines for the usual reverse proxies.
fn suggest_proxy(report: &mut Report, public: &PublicUrl<'_>) {
    let upstream = public.listens_on;
    let host = public.base.host_str().unwrap_or("id.example.org");
    let prefix = public.base.path().trim_end_matches('/');
    report.suggest(
        "nginx, in the server block of this host:",
        format!(
            "location {prefix}/_matrix/ {{\n    proxy_pass http://{upstream}/_matrix/;\n    proxy_set_header Host $host;\n    \
             proxy_set_header X-Forwarded-For $remote_addr;\n    client_max_body_size 1m;\n}}"
        ),
    );
    report.suggest(
        "or Caddy:",
        format!("{host} {{\n    handle_path {prefix}/* {{\n        reverse_proxy {upstream}\n    }}\n}}"),
    );
}
