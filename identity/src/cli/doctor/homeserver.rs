//! The homeserver: discovery, OpenID, and what it says to clients about this identity server.
//!
//! Invariant: sends no token of any user.

use shared::clock::Clock;
use shared::doctor::Report;
use shared::doctor::public_url::{Prober, json_of};
use shared::random::Random;
use shared::secret::Secret;

use crate::config::Config;
use crate::domain::server_name::ServerName;
use crate::homeserver::client::HomeserverClient;
use crate::homeserver::openid::{self, OpenidError};

const SUBJECT: &str = "homeserver";
const OPENID: &str = "OpenID";
const CLIENT_WELL_KNOWN: &str = "client well-known";
const REGISTRATION: &str = "registration";

pub(super) async fn check(report: &mut Report, prober: &Prober, config: &Config, name: &ServerName) {
    if config.registration.access().permits(name.as_str()) {
        report.good(REGISTRATION, format!("[registration] lets users of {name} register"));
    } else {
        report.failed(
            REGISTRATION,
            format!("[registration] allow_servers or deny_servers excludes {name}"),
            format!("add \"{name}\" to [registration] allow_servers"),
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
                report.failed(&subject, text, advice(name));
                return;
            }
        }
    }
    open_id(report, &client, name).await;
    well_known(report, prober, config, name).await;
}

fn advice(name: &ServerName) -> String {
    format!(
        "open the federation port of {name}, or correct its /.well-known/matrix/server; if it is only in your own network, set \
         [federation.overrides] \"{name}\" = \"address:port\", and [outbound] extra_ca_file for its authority"
    )
}

/// An unknown token: a homeserver that serves OpenID rejects it.
async fn open_id(report: &mut Report, client: &HomeserverClient, name: &ServerName) {
    match openid::userinfo(client, &Secret::new(Random.base62(32)), name).await {
        Err(OpenidError::Refused) => report.good(OPENID, format!("{name} answers, and rejects an unknown token")),
        Ok(_) | Err(OpenidError::Foreign) => {
            report.failed(OPENID, format!("{name} accepts an unknown token"), "check which program answers there");
        }
        Err(OpenidError::Status(status)) => report.failed(
            OPENID,
            format!("{name} answers /_matrix/federation/v1/openid/userinfo with {status}"),
            "let the homeserver serve the resource openid or federation on this port, and its reverse proxy pass the path on",
        ),
        Err(error) => report.failed(OPENID, error.to_string(), advice(name)),
    }
}

/// The identity server that clients of this homeserver get.
async fn well_known(report: &mut Report, prober: &Prober, config: &Config, name: &ServerName) {
    let Some(ours) = config.server.public_url() else { return };
    let ours = ours.as_str().trim_end_matches('/');
    let url = format!("https://{}/.well-known/matrix/client", name.host());
    let found = match prober.get(&url).await {
        Ok(reply) => json_of(&reply)["m.identity_server"]["base_url"].as_str().map(str::to_owned),
        Err(failure) => return report.note(CLIENT_WELL_KNOWN, format!("{url}: {failure}")),
    };
    match found.as_deref().map(|found| found.trim_end_matches('/')) {
        Some(found) if found == ours => {
            report.good(CLIENT_WELL_KNOWN, format!("{url} names {ours}"));
        }
        found => {
            let names =
                found.map_or_else(|| "no identity server".to_owned(), |found| format!("{found} instead of {ours}"));
            report.note(CLIENT_WELL_KNOWN, format!("{url} names {names}; clients ask their users for one"));
            suggest(report, ours, name);
        }
    }
}

fn suggest(report: &mut Report, ours: &str, name: &ServerName) {
    report.suggest(
        &format!("{}/.well-known/matrix/client, beside m.homeserver:", name.host()),
        format!("\"m.identity_server\": {{ \"base_url\": \"{ours}\" }}"),
    );
    report.suggest("Synapse, homeserver.yaml:", format!("default_identity_server: {ours}"));
    report.suggest(
        "Element, config.json:",
        format!("\"default_server_config\": {{ \"m.identity_server\": {{ \"base_url\": \"{ours}\" }} }}"),
    );
}
