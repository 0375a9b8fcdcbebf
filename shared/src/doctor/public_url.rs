//! The public URL of a service, as a client from outside reaches it: name, address, TLS, reverse proxy, path, cross-origin
//! headers, and the client address that the service sees.
//!
//! Invariant: a check sends nothing that changes the service.

mod client_address;
mod cross_origin;
mod proxy_lines;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hyper::header::LOCATION;
use url::Url;

use super::prober::{Prober, json_of};
use super::{Report, clocks, milliseconds};
use crate::certificate_chain::Validity;
use crate::clock::Timestamp;
use crate::outbound::client::Reply;
use crate::outbound::failure::{ConnectError, Failure};

/// A certificate that expires within this time is a note: what renews it should have done so.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 86_400);

/// The subjects of the findings.
const CONNECTION: &str = "public URL";
const PATH: &str = "reverse proxy";

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

/// An address of this machine for a listener on all addresses.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl PublicUrl<'_> {
    fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }
}

/// Walks from the name to the service. False if requests do not reach it.
pub async fn check(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>, now: Timestamp) -> bool {
    if let Err(problem) = is_usable(public.base) {
        report.failed(CONNECTION, format!("{}: {problem}", public.source), "give a URL such as https://id.example.org");
        return false;
    }
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
    if public.base.scheme() == "http" {
        report.note(CONNECTION, "is http: clients and homeservers require https, and tokens can be read on the way");
    }
    if !reaches_service(report, prober, public, now).await {
        return false;
    }
    for part in public.parts {
        reaches_part(report, prober, public, part).await;
    }
    if public.is_for_browsers {
        cross_origin::check(report, prober, public).await;
    }
    client_address::check(report, prober, public).await;
    true
}

fn connection_advice(error: &ConnectError, public: &PublicUrl<'_>) -> String {
    let source = public.source;
    match error.failure {
        Failure::Dns => format!("create a DNS record for the host, or correct {source}"),
        Failure::Tls => certificate_advice(&error.to_string()).map_or_else(
            || {
                format!(
                    "nothing speaks TLS on this port: let the reverse proxy do it (listen … ssl), or correct {source}"
                )
            },
            str::to_owned,
        ),
        Failure::Connect => {
            format!("start the reverse proxy on this port, open the port in the firewall, or correct {source}")
        }
        Failure::ConnectTimeout => format!(
            "open the port in the firewall, let the server on it speak TLS (a connection without an answer ends so too), or \
             correct {source}"
        ),
        Failure::Blocked | Failure::Timeout | Failure::TooLarge | Failure::Other => format!("correct {source}"),
    }
}

fn is_usable(url: &Url) -> Result<(), &'static str> {
    match url {
        _ if !matches!(url.scheme(), "http" | "https") => Err("the scheme is not http or https"),
        _ if !url.username().is_empty() || url.password().is_some() => Err("has a user or a password"),
        _ if url.query().is_some() || url.fragment().is_some() => Err("has a query or a fragment"),
        _ => Ok(()),
    }
}

/// The next step after a failure of TLS, from what the TLS library says; `None` if the other side speaks no TLS.
pub fn certificate_advice(error: &str) -> Option<&'static str> {
    let has = |text: &str| error.contains(text);
    Some(if has("InvalidContentType") {
        return None;
    } else if has("not valid for name") || has("NotValidForName") {
        "get a certificate for this name, or correct the name; homeservers and clients refuse this one too"
    } else if has("not valid yet") || has("NotValidYet") {
        "check the clock of this machine, and of the one that made the certificate"
    } else if has("expired") || has("Expired") {
        "renew the certificate, and let what renews it reload the server"
    } else if has("UnknownIssuer") {
        "let the server send the whole chain (fullchain.pem, not cert.pem); for an authority of your own set [outbound] \
         extra_ca_file, and clients and homeservers must trust it too"
    } else {
        "renew the certificate, or let the reverse proxy send the whole chain for this name; homeservers and clients refuse it \
         too"
    })
}

async fn reaches_service(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>, now: Timestamp) -> bool {
    let url = public.url_of(public.path);
    let reply = match prober.get(&url).await {
        Ok(reply) => reply,
        Err(failure) => {
            report.failed(PATH, format!("GET {url}: {failure}"), "read the log of the reverse proxy");
            return false;
        }
    };
    clocks::compare(report, public.base.host_str().unwrap_or_default(), &reply, now);
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
                wrong(
                    format!("redirects to {to}; clients do not follow redirects"),
                    format!("correct {}", public.source),
                )
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
