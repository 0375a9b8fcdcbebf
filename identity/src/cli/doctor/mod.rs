//! `identity doctor`: walks the path of a client and of a homeserver through the deployment, and names what is broken.
//!
//! Invariant: changes nothing. It sends one mail, and only to the address in `--to`.

mod database;
mod homeserver;
mod mail;
mod server;

use std::error::Error;
use std::path::PathBuf;

use shared::clock::Clock;
use shared::doctor::Report;
use shared::doctor::prober::Prober;
use shared::doctor::public_url;
use url::Url;

use super::check_config::checked;
use crate::domain::server_name::ServerName;

/// Walk the path of a client and of a homeserver through the deployment: one line for each check, with cause and next step.
///
/// Checks the configuration, the database, the listener, the public URL with its TLS, reverse proxy and cross-origin headers,
/// the client address that limits count, the keys as homeservers see them, the mail relay and the SMS providers. Run it
/// while the server runs. Exits 0 if no check failed.
#[derive(clap::Args)]
pub(super) struct DoctorArgs {
    /// The TOML file. Default: no file; only defaults and the environment apply.
    #[arg(long, short, env = "IDENTITY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The public URL, if it is not [server] public_base_url.
    #[arg(long, value_name = "URL")]
    public_url: Option<Url>,
    /// The server name of your homeserver, such as example.org: discovers it, connects, and asks for an unknown OpenID token.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| ServerName::parse(text).map_err(|_| "expected a server name"))]
    homeserver: Option<ServerName>,
    /// Send a test mail to this address.
    #[arg(long, value_name = "ADDRESS")]
    to: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
}

/// Makes all checks.
///
/// # Errors
/// If the report cannot be made at all.
pub(super) async fn examine(args: &DoctorArgs) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    let (config, notices) = match checked(args.config.as_deref()) {
        Ok(checked) => checked,
        Err(errors) => {
            for error in errors.lines() {
                report.failed(
                    "configuration",
                    error,
                    "correct it; nothing else is checked until the configuration is valid",
                );
            }
            return Ok(report);
        }
    };
    report.good("configuration", config.describe_source().trim_start_matches("configuration: "));
    for notice in notices {
        report.note("configuration", notice);
    }
    let prober = Prober::new(&config.outbound)?;
    database::check(&mut report, &config, Clock::system().now()).await;
    let is_running = server::listener(&mut report, &prober, &config).await;
    match server::public_url(&config, args.public_url.as_ref()) {
        Some((base, source)) => {
            let public = server::described(&config, &base, source);
            if public_url::check(&mut report, &prober, &public, Clock::system().now()).await {
                server::access_tokens(&mut report, &prober, &base).await;
                server::keys(&mut report, &prober, &config, &base).await;
            }
        }
        None => report.skipped("public URL", "[server] public_base_url is not set; give --public-url"),
    }
    if !is_running {
        let file = args.config.as_ref().map_or_else(|| "FILE".to_owned(), |file| file.display().to_string());
        report.suggest("to start the server:", format!("identity serve --config {file}"));
    }
    match &args.homeserver {
        Some(name) => homeserver::check(&mut report, &prober, &config, name).await,
        None => report.skipped("homeserver", "give --homeserver and the server name of your homeserver"),
    }
    mail::relay(&mut report, &config, args.to.as_deref()).await;
    mail::sms(&mut report, &config).await;
    Ok(report)
}
