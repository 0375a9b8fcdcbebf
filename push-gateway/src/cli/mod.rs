//! The command line and its commands, one file each.
//!
//! Invariant: a command assembles the parts that it needs; no command uses another one.

mod check_config;
mod doctor;
mod generate_seal_key;
mod generate_vapid_key;
mod serve;
mod test_push;
mod wp_url;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::random::Random;

use self::check_config::check;
use self::doctor::DoctorArgs;
use self::generate_seal_key::generate_seal_key;
use self::generate_vapid_key::generate_vapid_key;
use self::test_push::{Target, test_push};
use self::wp_url::wp_url;
use crate::config::Config;
use crate::delivery::push_resource::Subscription;

/// A Matrix push gateway (Push Gateway API v1).
///
/// Homeservers send it notifications; it delivers them to the phones of your apps through Apple's, Google's and
/// Huawei's push services, to browsers through Web Push, and to UnifiedPush distributors. It also relays the encrypted
/// pushes of homeservers that send Web Push themselves.
/// Run it behind a reverse proxy that terminates TLS.
#[derive(Parser)]
#[command(name = "push-gateway", version, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Settings come from the file, then from the environment: [http] bind is PUSH_GATEWAY__HTTP__BIND. A secret may have its
own file: [outbound] proxy_file. deploy/push-gateway.toml lists every key with its default.

Examples:
  push-gateway check-config --config /etc/push-gateway.toml   validate the configuration; exits 0 if it is valid
  push-gateway check-config --online --config /etc/push-gateway.toml   check the push services too
  push-gateway serve --config /etc/push-gateway.toml
  push-gateway doctor --config /etc/push-gateway.toml --public-url https://push.example.org
  push-gateway generate-vapid-key > vapid.pem
  push-gateway test-push --config /etc/push-gateway.toml --app com.example.app.ios --pushkey 5f…";

#[derive(Subcommand)]
enum Command {
    /// Run the gateway until SIGTERM or Ctrl-C, then complete the requests in flight. SIGHUP reloads settings and keys.
    ///
    /// A change of these files reloads them too, after a few seconds. An invalid configuration changes nothing; unchanged
    /// apps keep their connections. [http], [admin], [log], [metrics] and the size of [dedup] apply until the next start.
    Serve {
        #[command(flatten)]
        settings: Settings,
    },
    /// Validate the configuration and the keys and certificates it names, report what expires soon, then exit.
    CheckConfig {
        #[command(flatten)]
        settings: Settings,
        /// Also request an access token for each FCM app and Huawei app of version 1, and connect for each APNs, Huawei and
        /// http app; exits 1 if one of them fails. Sends nothing to any device.
        #[arg(long)]
        online: bool,
    },
    Doctor(DoctorArgs),
    /// Send one push to one device, print the response of the push service and what to do; exits 0 if it was accepted.
    TestPush {
        #[command(flatten)]
        settings: Settings,
        /// The app_id of the device.
        #[arg(long, value_name = "APP_ID")]
        app: String,
        /// The pushkey (device token) of the device.
        #[arg(long, alias = "token", value_name = "PUSHKEY", allow_hyphen_values = true)]
        pushkey: String,
        /// The `data` that the app registered, such as '{"default_payload": {"aps": {"mutable-content": 1}}}'.
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
    /// Print a new key for Web Push: vapid_private_key as PEM on standard output, and the public key for the web app on
    /// standard error. Every browser must subscribe again after a change of the key.
    GenerateVapidKey,
    /// Print a new key for the relay, a value of [relay] seal_keys, on standard output. Keep it: the URLs of all homeservers
    /// depend on it, and homeservers delete their pushers if another key takes its number.
    GenerateSealKey {
        /// The number of the key, which no other key has or had; a random one by default.
        #[arg(long, value_parser = clap::value_parser!(u8).range(1..))]
        id: Option<u8>,
    },
    /// Print a new URL to which a homeserver sends Web Push for a device, as POST /wp/{app} makes it.
    WpUrl {
        #[command(flatten)]
        settings: Settings,
        /// The app_id of the device.
        #[arg(long, value_name = "APP_ID")]
        app: String,
        /// The device token.
        #[arg(long, allow_hyphen_values = true)]
        token: String,
        /// The homeserver's VAPID key, in base64url; required unless [relay] require_vapid is false.
        #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
        vapid: Option<String>,
        /// The app's own name for the account, up to 64 characters.
        #[arg(long, default_value = "", hide_default_value = true, allow_hyphen_values = true)]
        chid: String,
    },
}

#[derive(clap::Args)]
struct Settings {
    /// The TOML file. By default the settings come from the environment alone.
    #[arg(long, short, env = "PUSH_GATEWAY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Parses the arguments of the process and runs the command.
///
/// # Errors
/// The error that ends the command, for the terminal.
pub async fn run() -> Result<ExitCode, Box<dyn Error>> {
    match CommandLine::parse().command {
        Command::Serve { settings } => {
            serve::serve(Config::load(settings.config.as_deref())?, settings.config).await?;
        }
        Command::CheckConfig { settings, online } => {
            let findings = check(settings.config.as_deref(), online).await?;
            let mut out = io::stdout().lock();
            for line in &findings.lines {
                writeln!(out, "{line}")?;
            }
            if findings.failures > 0 {
                writeln!(out, "the configuration is valid, but {} of its apps cannot deliver", findings.failures)?;
                return Ok(ExitCode::FAILURE);
            }
            writeln!(out, "the configuration is good")?;
        }
        Command::Doctor(args) => {
            let report = doctor::examine(&args).await?;
            let mut out = io::stdout().lock();
            if args.json {
                writeln!(out, "{}", report.to_json())?;
            } else {
                write!(out, "{report}")?;
            }
            if report.failures() > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::GenerateVapidKey => {
            let key = generate_vapid_key()?;
            writeln!(io::stderr().lock(), "public key: {}", key.public)?;
            write!(io::stdout().lock(), "{}", key.private_pem)?;
        }
        Command::GenerateSealKey { id } => {
            writeln!(io::stdout().lock(), "{}", generate_seal_key(id, Random))?;
        }
        Command::WpUrl { settings, app, token, vapid, chid } => {
            let config = Config::load(settings.config.as_deref())?;
            let subscription = Subscription { app_id: &app, token: &token, vapid: vapid.as_deref(), chid: &chid };
            writeln!(io::stdout().lock(), "{}", wp_url(config, subscription)?)?;
        }
        Command::TestPush { settings, app, pushkey, data } => {
            let config = Config::load(settings.config.as_deref())?;
            let report = test_push(config, &Target { app_id: app, pushkey, data }).await?;
            let mut out = io::stdout().lock();
            for line in &report.lines {
                writeln!(out, "{line}")?;
            }
            if !report.is_delivered {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
