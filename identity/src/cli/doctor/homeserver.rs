//! The homeserver: discovery, OpenID, and what it says to clients about this identity server.
//!
//! Invariant: sends no token of any user.

use hyper::StatusCode;
use hyper::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use serde_json::Value;
use shared::clock::Clock;
use shared::doctor::Report;
use shared::doctor::clocks;
use shared::doctor::prober::Prober;
use shared::doctor::public_url::certificate_advice;
use shared::random::Random;

use crate::config::Config;
use crate::domain::server_name::ServerName;
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::openid;

const SUBJECT: &str = "homeserver";
const OPENID: &str = "OpenID";
const CLIENT_WELL_KNOWN: &str = "client well-known";
const BACK: &str = "homeserver to identity server";
const REGISTRATION: &str = "registration";

pub(super) async fn check(report: &mut Report, prober: &Prober, config: &Config, name: &ServerName) {
    if config.registration.access().denies(name.as_str()) {
        report.failed(
            REGISTRATION,
            format!("[registration] deny_servers excludes {name}"),
            format!("remove the pattern that matches {name}"),
        );
    } else if config.registration.access().permits(name.as_str()) {
        report.good(REGISTRATION, format!("[registration] lets users of {name} register"));
    } else {
        report.failed(
            REGISTRATION,
            format!("[registration] allow_servers excludes {name}"),
            format!(
                "if {name} is what stands after the colon in the IDs of your users, add it to [registration] allow_servers; if it \
                 is only the host of the homeserver, give --homeserver that name instead"
            ),
        );
    }
    let client = HomeserverClient::new(&config.federation, &config.outbound, Clock::system(), Random);
    let client = match client {
        Ok(client) => client,
        Err(error) => return report.failed(SUBJECT, error.to_string(), "correct the setting"),
    };
    for step in client.trace(name).await {
        let subject = format!("{SUBJECT}, {}", step.what);
        match step.result {
            Ok(text) => report.good(&subject, text),
            Err(text) if !step.is_decisive => report.note(&subject, text),
            Err(text) => {
                let next_step = next_step(name, &text);
                report.failed(&subject, text, next_step);
                return;
            }
        }
    }
    open_id(report, &client, name).await;
    well_known(report, prober, config, name).await;
    report.skipped(
        BACK,
        "not visible from here: if sharing an address or an invitation fails, the homeserver's log says why, and for \
         invitations `identity outbox list` (see deploy/homeserver.md)",
    );
}

/// The next step after a failed connection.
fn next_step(name: &ServerName, cause: &str) -> String {
    if cause.contains("[outbound] allow_cidrs") {
        return format!("if {name} is your own homeserver, add the network of this address to [outbound] allow_cidrs");
    }
    if cause.contains("not valid for name") || cause.contains("NotValidForName") {
        return other_name(name);
    }
    if ["certificate", "TLS", "InvalidContentType"].iter().any(|word| cause.contains(word)) {
        return match certificate_advice(cause) {
            Some(advice) => format!("on the homeserver: {advice}"),
            None => {
                format!("nothing speaks TLS there: correct the well-known file or [federation.overrides] of {name}")
            }
        };
    }
    advice(name)
}

fn advice(name: &ServerName) -> String {
    format!(
        "open the federation port of {name}, or correct its /.well-known/matrix/server; if it is only in your own network, set \
         [federation.overrides] \"{name}\" = \"address:port\", and [outbound] extra_ca_file for its authority"
    )
}

/// The certificate is for another name, usually that of the homeserver's host.
fn other_name(name: &ServerName) -> String {
    format!(
        "let https://{}/.well-known/matrix/server name the host of the certificate, and remove [federation.overrides] \"{name}\" \
         (for a private address set [outbound] allow_cidrs); or get a certificate for {name}",
        name.host()
    )
}

/// An unknown token: a homeserver that serves OpenID rejects it with a Matrix error.
async fn open_id(report: &mut Report, client: &HomeserverClient, name: &ServerName) {
    const RESOURCE: &str = "let the homeserver serve the resource openid or federation on this port, and its reverse proxy pass the path on";
    let path = "/_matrix/federation/v1/openid/userinfo";
    let (status, errcode) = match openid::answer_to_unknown_token(client, name).await {
        Ok((status, errcode)) => (status.as_u16(), errcode),
        Err(error) => return report.failed(OPENID, error.to_string(), advice(name)),
    };
    match (status, errcode) {
        (401 | 403, Some(_)) => report.good(OPENID, format!("{name} answers, and rejects an unknown token")),
        (401 | 403, None) => report.failed(
            OPENID,
            format!("{path} is answered with {status} by something before the homeserver: a firewall or a login"),
            "let requests of the identity server through to the homeserver",
        ),
        (200, _) => report.failed(
            OPENID,
            format!("{name} answers an unknown token with 200"),
            "check which program answers there: the homeserver would reject it",
        ),
        (502..=504, _) => report.failed(
            OPENID,
            format!("the reverse proxy of {name} answers {status}: the homeserver behind it does not"),
            "start the homeserver, or correct the address in its reverse proxy",
        ),
        (429, _) => report.note(OPENID, format!("{name} answers 429: it limits this server; try again later")),
        _ => report.failed(OPENID, format!("{name} answers {path} with {status}"), RESOURCE),
    }
}

/// The identity server that clients of this homeserver get. Nothing here stops the identity server.
async fn well_known(report: &mut Report, prober: &Prober, config: &Config, name: &ServerName) {
    let Some(ours) = config.server.public_url() else { return };
    let ours = ours.as_str().trim_end_matches('/');
    let url = format!("https://{}/.well-known/matrix/client", name.host());
    let reply = prober.get(&url).await;
    if let Ok(reply) = &reply {
        clocks::compare(report, name.host(), reply, Clock::system().now());
    }
    let problem = match reply {
        Err(failure) => format!("cannot be fetched from here ({failure}); it should name {ours}"),
        Ok(reply) if reply.status != StatusCode::OK => {
            format!("is answered with {}; clients ask their users for an identity server", reply.status.as_u16())
        }
        Ok(reply) => match serde_json::from_slice::<Value>(&reply.body) {
            Err(_) => "is not JSON; clients ignore it, and may refuse to log in".to_owned(),
            Ok(content) => {
                let found = content["m.identity_server"]["base_url"].as_str();
                match found.map(|found| found.trim_end_matches('/')) {
                    None => "names no identity server; clients ask their users for one".to_owned(),
                    Some(found) if found != ours => format!("names {found} instead of {ours}; clients use that one"),
                    Some(_) if !reply.headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) => {
                        "has no Access-Control-Allow-Origin: *, so browsers cannot read it".to_owned()
                    }
                    Some(_) => return report.good(CLIENT_WELL_KNOWN, format!("{url} names {ours}")),
                }
            }
        },
    };
    report.note(CLIENT_WELL_KNOWN, format!("{url} {problem}"));
    suggest(report, ours, name);
}

fn suggest(report: &mut Report, ours: &str, name: &ServerName) {
    report.suggest(
        &format!("{}/.well-known/matrix/client, beside m.homeserver:", name.host()),
        format!("\"m.identity_server\": {{ \"base_url\": \"{ours}\" }}"),
    );
    report
        .suggest("Its headers, in nginx:", "default_type application/json;\nadd_header Access-Control-Allow-Origin *;");
    report.suggest("Synapse, homeserver.yaml:", format!("default_identity_server: {ours}"));
    report.suggest(
        "Element, config.json:",
        format!("\"default_server_config\": {{ \"m.identity_server\": {{ \"base_url\": \"{ours}\" }} }}"),
    );
}
