//! `push-gateway doctor`: walks the path of a homeserver through the deployment to the push services, and names what is
//! broken.
//!
//! Invariant: sends no push.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use shared::clock::{Clock, Timestamp};
use shared::doctor::Report;
use shared::doctor::prober::{Prober, json_of};
use shared::doctor::public_url::{self, Part, PublicUrl, reachable};
use shared::http::listen;
use shared::http::settings::AdminAddress;
use shared::outbound::client::Reply;
use shared::random::Random;
use url::Url;

use super::check_config::{checked, online};
use super::serve::ADMIN;
use crate::config::Config;
use crate::delivery::state::State;

const CONFIGURATION: &str = "configuration";
const LISTENER: &str = "listener";
const CLOCK: &str = "clock";
const PATH: &str = "/_matrix/push/v1/notify";
const VAPID: &str = "/_push/v1/vapid";

/// A time at which this program did not exist: a machine without a clock starts at 1970.
const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Walk the path of a homeserver through the deployment to the push services: one line for each check, with cause and next
/// step.
///
/// Checks the configuration, the connection or the access token of each app, the listener, and with --public-url the TLS,
/// the reverse proxy and the client address that limits count. Run it while the gateway runs. Exits 0 if no check failed.
#[derive(clap::Args)]
pub(crate) struct DoctorArgs {
    /// The TOML file. By default the settings come from the environment alone.
    #[arg(long, short, env = "PUSH_GATEWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The URL at which homeservers reach the gateway, without /_matrix/push/v1/notify.
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Makes all checks.
///
/// # Errors
/// If the report cannot be made at all.
pub(crate) async fn examine(args: &DoctorArgs) -> Result<Report, Box<dyn Error>> {
    let (mut report, clock) = (Report::default(), Clock::system());
    let config = match checked(args.config.as_deref(), &clock) {
        Ok(config) => config,
        Err(errors) => {
            for error in errors.lines() {
                report.failed(
                    CONFIGURATION,
                    error,
                    "correct it; nothing else is checked until the configuration is valid",
                );
            }
            return Ok(report);
        }
    };
    report.good(CONFIGURATION, config.source.trim_start_matches("configuration: "));
    let certificate = listen::check(&config.http, clock.now())?;
    for notice in config.notices().into_iter().chain(certificate) {
        report.note(CONFIGURATION, notice);
    }
    if clock.now() < EARLIEST {
        let cause = "the clock of this machine is far in the past, and push services reject what it signs";
        report.failed(CLOCK, cause, "synchronize it with NTP");
    }
    let prober = Prober::new(&config.outbound)?;
    let state = State::new(config, clock, Random)?;
    let setup = state.setup();
    for (pattern, result) in online(&setup).await {
        let subject = format!("app, {pattern}");
        match result {
            Ok(text) => report.good(&subject, text),
            Err(text) => {
                let next_step = next_step(&pattern, &text);
                report.failed(&subject, text, next_step);
            }
        }
    }
    listener(&mut report, &prober, &setup.config).await;
    let relay = setup.config.relay.as_ref().filter(|relay| relay.enabled).and_then(|relay| relay.public_url.as_deref());
    match public_url(args.public_url.as_ref(), relay) {
        Some((base, source)) => {
            let public = described(&setup.config, &base, source, relay.is_some());
            if public_url::check(&mut report, &prober, &public, state.clock.now()).await {
                let url = format!("{}{PATH}", base.as_str().trim_end_matches('/'));
                report.suggest("the URL of the pushers that your apps register:", url);
            }
        }
        None => report.skipped("public URL", "give --public-url and the URL at which homeservers reach the gateway"),
    }
    Ok(report)
}

/// What to do about an app whose push service gives no access.
fn next_step(pattern: &str, cause: &str) -> String {
    let has = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    if has(&["invalid_grant", "unauthorized_client", "401", "403"]) {
        format!(
            "check the account in [apps.\"{pattern}\"] and the clock of this machine; make a new key if the old one was deleted"
        )
    } else if has(&["certificate", "TLS"]) {
        "if a proxy on the way replaces certificates, name its authority in [outbound] extra_ca_file; check the clock"
            .to_owned()
    } else if has(&["refused", "resolve", "in time", "accepts no connection", "unreachable", "dns"]) {
        format!(
            "open the way to the push service: DNS, the firewall, [outbound] proxy; or correct the URL in [apps.\"{pattern}\"]"
        )
    } else {
        format!("see the keys of [apps.\"{pattern}\"]")
    }
}

/// The URL to check, and where it comes from. Operators also give the URL of their pushers.
fn public_url(given: Option<&Url>, relay: Option<&str>) -> Option<(Url, &'static str)> {
    let Some(url) = given else { return Some((Url::parse(relay?).ok()?, "[relay] public_url")) };
    let text = url.as_str().trim_end_matches('/');
    let base = text.strip_suffix(PATH).and_then(|base| Url::parse(base).ok());
    Some((base.unwrap_or_else(|| url.clone()), "--public-url"))
}

/// GET is for UnifiedPush alone; without it the path has only POST.
fn is_answer(reply: &Reply) -> bool {
    reply.status.as_u16() == 200 && json_of(reply).get("unifiedpush").is_some() || is_not_allowed(reply)
}

fn is_not_allowed(reply: &Reply) -> bool {
    reply.status.as_u16() == 405 && json_of(reply)["errcode"] == "M_UNRECOGNIZED"
}

/// What homeservers that send Web Push themselves reach.
const RELAY: [Part; 2] = [
    Part {
        path: "/wp/doctor/doctor",
        is_answer: is_not_allowed,
        purpose: "homeservers delete the pushers of the relay after such an answer",
    },
    Part {
        path: "/wpm/doctor",
        is_answer: |reply| json_of(reply)["errcode"] == "M_NOT_FOUND",
        purpose: "the Location of each push of the relay leads there",
    },
];

async fn listener(report: &mut Report, prober: &Prober, config: &Config) {
    let address = first_address(config);
    if address.port() == 0 || config.http.tls_cert_file.is_some() {
        return report.skipped(LISTENER, "[http] bind has port 0, or TLS for the public name");
    }
    let url = format!("http://{address}{}{PATH}", config.http.base_path.as_str());
    match prober.get(&url).await {
        Ok(reply) if is_answer(&reply) => {
            report.good(LISTENER, format!("the gateway answers on {address}"));
        }
        Ok(_) => report.failed(
            LISTENER,
            format!("another program listens on {address}, or the gateway runs with another [http] base_path"),
            "stop it, or set another [http] bind; after a change of [http] restart the gateway",
        ),
        Err(_) => report.failed(
            LISTENER,
            format!("nothing listens on {address}"),
            "start the gateway: push-gateway serve --config FILE",
        ),
    }
}

fn first_address(config: &Config) -> SocketAddr {
    let address = config.http.bind.as_slice().first().copied();
    reachable(address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 5000))))
}

fn described<'a>(config: &Config, base: &'a Url, source: &'a str, has_relay: bool) -> PublicUrl<'a> {
    let admin = match config.admin.bind {
        None => Some(ADMIN),
        Some(AdminAddress::Tcp(address)) => Some(address).filter(|address| address.port() != 0),
        Some(AdminAddress::Unix(_)) => None,
    };
    PublicUrl {
        base,
        source,
        path: PATH,
        is_answer,
        parts: if has_relay { &RELAY } else { &[] },
        passed_on: if has_relay { &[PATH, VAPID, "/wp/", "/wpm/"] } else { &[PATH, VAPID] },
        service: "the push gateway",
        program: "push-gateway",
        listens_on: first_address(config),
        is_for_browsers: false,
        has_own_tls: config.http.tls_cert_file.is_some(),
        admin: admin.and_then(|address| Url::parse(&format!("http://{}/", reachable(address))).ok()),
    }
}
