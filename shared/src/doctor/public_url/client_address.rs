//! Which client address the service sees behind the reverse proxy, and whether it believes it.

use std::net::IpAddr;

use hyper::{Method, StatusCode};

use super::{PublicUrl, proxy_lines};
use crate::doctor::Report;
use crate::doctor::prober::{Prober, json_of};
use crate::http::observe::DOCTOR_REQUEST_ID;
use crate::random::Random;

const CLIENT: &str = "client address";

/// Sends a marked request to the public URL, and reads from the admin listener which client it came from.
pub(super) async fn check(report: &mut Report, prober: &Prober, public: &PublicUrl<'_>) {
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
        (true, true) if peer == client && seen["names_address"] == true => report.note(
            CLIENT,
            format!(
                "not visible from here: X-Forwarded-For of {peer} names this machine, which is in [http] trusted_proxies; run \
                 doctor with a name that leads to an outer address"
            ),
        ),
        (true, true) if peer == client => {
            report.failed(
                CLIENT,
                format!("X-Forwarded-For of the reverse proxy at {peer} names no address: all clients share one limit"),
                "let it send the address of the client, as $remote_addr in nginx",
            );
            proxy_lines::suggest(report, public);
        }
        (true, true) if is_private(&client) => report.note(
            CLIENT,
            format!(
                "{client}, from X-Forwarded-For of the reverse proxy at {peer}; if {client} is another proxy and no client, add it \
                 to [http] trusted_proxies"
            ),
        ),
        (true, true) => report.good(CLIENT, format!("{client}, from X-Forwarded-For of the reverse proxy at {peer}")),
        (true, false) => report.failed(
            CLIENT,
            format!("X-Forwarded-For of {peer} is not trusted: all clients share one limit"),
            format!("add \"{peer}\" to [http] trusted_proxies"),
        ),
        (false, _) if public.has_own_tls => report.good(CLIENT, format!("{client}, without a reverse proxy")),
        (false, is_trusted) => {
            let next_step = match is_trusted {
                true => "let it send the header; [http] trusted_proxies lists it already".to_owned(),
                false => format!("let it send the header, and add \"{peer}\" to [http] trusted_proxies"),
            };
            let cause = format!("the reverse proxy at {peer} sends no X-Forwarded-For: all clients share one limit");
            report.failed(CLIENT, cause, next_step);
            proxy_lines::suggest(report, public);
        }
    }
}

fn is_private(address: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => false,
    }
}
