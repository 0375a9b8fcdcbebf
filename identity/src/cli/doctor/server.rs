//! The listener, the public URL, and the keys as homeservers see them.
//!
//! Invariant: no request changes the server.

use std::net::{SocketAddr, TcpListener};

use hyper::header::CONTENT_SECURITY_POLICY;
use hyper::{Method, StatusCode};
use shared::doctor::Report;
use shared::doctor::prober::{Prober, json_of};
use shared::doctor::public_url::{Part, PublicUrl, reachable};
use shared::http::settings::AdminAddress;
use shared::outbound::client::Reply;
use url::Url;

use crate::config::Config;
use crate::signing_keys::SigningKeys;

const LISTENER: &str = "listener";
const KEYS: &str = "key validity";
const AUTHORIZATION: &str = "access tokens";

/// What the links in mails lead to, beside the API.
const PARTS: [Part; 1] = [Part {
    path: "/_identity/v1/invites/block",
    // The page of a link without a token.
    is_answer: |reply| reply.status == StatusCode::BAD_REQUEST && reply.headers.contains_key(CONTENT_SECURITY_POLICY),
    purpose: "links in invitations lead there",
}];

/// Whether the server answers at its own address.
pub(super) async fn listener(report: &mut Report, prober: &Prober, config: &Config) -> bool {
    let address = reachable(first_address(config));
    let scheme = if config.http.tls_cert_file.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{address}{}/_matrix/identity/versions", config.http.base_path.as_str());
    let Ok(parsed) = Url::parse(&url) else { return false };
    if address.port() == 0 {
        report.skipped(LISTENER, "[http] bind has port 0, so its address is unknown");
        return true;
    }
    if scheme == "https" {
        // The certificate is for the public name. The check of the public URL verifies it.
        return match std::net::TcpStream::connect(address) {
            Ok(_) => {
                report.good(LISTENER, format!("a server with TLS listens on {address}"));
                true
            }
            Err(_) => is_free(report, address),
        };
    }
    match prober.connect(&parsed).await {
        Err(_) => is_free(report, address),
        Ok(_) => match prober.get(&url).await {
            Ok(reply) if is_answer(&reply) => {
                report.good(LISTENER, format!("the identity server answers on {address}"));
                true
            }
            _ => {
                report.failed(
                    LISTENER,
                    format!("another program listens on {address}, or the server runs with another [http] base_path"),
                    "stop it, or set another [http] bind; after a change of [http] restart the server",
                );
                false
            }
        },
    }
}

fn is_free(report: &mut Report, address: SocketAddr) -> bool {
    match TcpListener::bind(address) {
        Ok(_) => report.failed(LISTENER, format!("nothing listens on {address}"), "start the server: identity serve"),
        Err(error) => report.failed(
            LISTENER,
            format!("nothing answers on {address}, and it cannot be opened: {error}"),
            "set [http] bind to an address of this machine and a port above 1023",
        ),
    }
    false
}

fn first_address(config: &Config) -> SocketAddr {
    config.http.bind.as_slice().first().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8090)))
}

/// The URL to check, and where it comes from.
pub(super) fn public_url(config: &Config, given: Option<&Url>) -> Option<(Url, &'static str)> {
    match given {
        Some(url) => Some((url.clone(), "--public-url")),
        None => Some((config.server.public_url()?, "[server] public_base_url")),
    }
}

/// Whether this is an answer to `versions` of an identity server of this kind: others know no "v1.…".
fn is_answer(reply: &Reply) -> bool {
    let body = json_of(reply);
    let mut versions = body["versions"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_str);
    reply.status == StatusCode::OK && versions.any(|version| version.starts_with("v1."))
}

/// What lies behind the public URL.
pub(super) fn described<'a>(config: &Config, base: &'a Url, source: &'a str) -> PublicUrl<'a> {
    let admin = match config.admin.bind {
        Some(AdminAddress::Tcp(address)) if address.port() != 0 => {
            Url::parse(&format!("http://{}/", reachable(address))).ok()
        }
        Some(AdminAddress::Tcp(_) | AdminAddress::Unix(_)) | None => None,
    };
    PublicUrl {
        base,
        source,
        path: "/_matrix/identity/versions",
        is_answer,
        parts: &PARTS,
        passed_on: &["/_matrix/identity/", "/_identity/v1/"],
        service: "the identity server",
        program: "identity",
        listens_on: reachable(first_address(config)),
        is_for_browsers: true,
        has_own_tls: config.http.tls_cert_file.is_some(),
        admin,
    }
}

/// Whether the header with which clients identify themselves arrives. Logging out with an unknown token changes nothing, and is
/// the one request whose answer distinguishes it from none.
pub(super) async fn access_tokens(report: &mut Report, prober: &Prober, base: &Url) {
    let url = format!("{}/_matrix/identity/v2/account/logout", base.as_str().trim_end_matches('/'));
    let unknown = [("authorization", "Bearer doctor")];
    match prober.request(Method::POST, &url, &unknown).await {
        Ok(reply) if json_of(&reply)["errcode"] == "M_UNKNOWN_TOKEN" => {
            report.good(AUTHORIZATION, "arrive, and an unknown one is rejected");
        }
        Ok(reply) if reply.status == StatusCode::SERVICE_UNAVAILABLE => {
            report.skipped(AUTHORIZATION, "the server is unavailable; see the database above, and its log");
        }
        Ok(reply) => report.failed(
            AUTHORIZATION,
            format!("an unknown access token is answered with {} instead of M_UNKNOWN_TOKEN", reply.status),
            "let the reverse proxy pass the header Authorization on unchanged",
        ),
        Err(failure) => {
            report.failed(AUTHORIZATION, format!("POST {url}: {failure}"), "read the log of the reverse proxy");
        }
    }
}

/// Asks for this server's key as a homeserver does when it checks an invitation (`key_validity_url`).
pub(super) async fn keys(report: &mut Report, prober: &Prober, config: &Config, base: &Url) {
    let settings = &config.keys;
    let identity = config.server.identity(None);
    if !settings.file.exists() {
        return report.skipped(KEYS, format!("{} does not exist yet", settings.file.display()));
    }
    let keys = match SigningKeys::read(&settings.file, &settings.revoked, settings.sign_as(&identity)) {
        Ok(keys) => keys,
        Err(error) => return report.failed(KEYS, error.to_string(), "correct [keys] file"),
    };
    let key = keys.current().public().encode();
    let key = percent_encoding::utf8_percent_encode(&key, percent_encoding::NON_ALPHANUMERIC).to_string();
    let url = format!("{}/_matrix/identity/v2/pubkey/isvalid?public_key={key}", base.as_str().trim_end_matches('/'));
    match prober.get(&url).await {
        Ok(reply) if json_of(&reply)["valid"] == true => {
            report.good(KEYS, format!("homeservers find {} valid", keys.current().id()));
        }
        Ok(reply) if json_of(&reply)["valid"] == false => report.failed(
            KEYS,
            format!("the server at {base} does not know the key {} of [keys] file", keys.current().id()),
            "check that this URL leads to this server, and send it SIGHUP after a change of the key file",
        ),
        Ok(reply) => report.failed(
            KEYS,
            format!("/pubkey/isvalid is answered with {}", reply.status),
            "let the reverse proxy pass everything below /_matrix/identity on, with the query",
        ),
        Err(failure) => report.failed(KEYS, format!("/pubkey/isvalid: {failure}"), "read the log of the reverse proxy"),
    }
}
