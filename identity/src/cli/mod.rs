//! The command line: its arguments, and one file for each command that does more than one call.
//!
//! Invariant: a running server sees every change that a command makes in the database.

mod backup;
mod check_config;
mod copy_database;
mod database;
mod doctor;
mod invites;
mod migrate;
mod outbox;
mod rotate_key;
mod rotate_pepper;
mod table;
mod templates;
mod test_sms;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use shared::random::Random;

use self::backup::BackupArgs;
use self::copy_database::CopyArgs;
use self::doctor::DoctorArgs;
use self::outbox::RetrySelection;
use self::test_sms::TestSmsArgs;
use crate::config::Config;
use crate::notify::templates::Audience;
use crate::{server, signing_keys};

/// Matrix identity server (Identity Service API v2).
///
/// Users prove that they own an e-mail address or a telephone number; other users find them by hashed lookup. Run it
/// beside a homeserver, behind a reverse proxy that terminates TLS.
///
/// Without configuration it starts for development: on 127.0.0.1:8090, with an SQLite file and a new signing key in the
/// data folder, and with mail written to files there.
#[derive(Parser)]
#[command(name = "identity", version, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
The configuration is read from the file, then from the environment: [http] bind is IDENTITY__HTTP__BIND. Every secret
except [sms] proxy may also be in its own file: [email] password_file. deploy/identity.toml lists every key with its
default.

Examples:
  identity serve                                     start for development, without configuration
  identity check-config --config /etc/identity.toml  validate the configuration; exits 0 if it is valid
  identity serve --config /etc/identity.toml         start the server
  identity doctor --config /etc/identity.toml --homeserver example.org   find what is broken";

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGTERM or Ctrl-C, then finish requests in flight. SIGHUP reloads the configuration.
    ///
    /// A change of the file, or of a file that it names, reloads it too, after a few seconds. An invalid configuration changes
    /// nothing. The log names each key that needs a restart: [http], [admin], [log], [database], [server] data_dir, and some
    /// of [lookup], [limits] and [legacy_v1].
    Serve {
        #[command(flatten)]
        source: ConfigSource,
    },
    /// Migrate the database to the schema of this version, print what was applied, and exit.
    ///
    /// Exits 0 if the schema is current afterwards, else 1. Without this command `serve` migrates at start, unless [database]
    /// migrate is false. Waits for another process that migrates, and for [database] start_timeout if the database is not
    /// reachable yet. Uses [database] migrate_url if it is set.
    Migrate {
        #[command(flatten)]
        source: ConfigSource,
    },
    Backup(BackupArgs),
    CopyDatabase(CopyArgs),
    /// Validate the configuration and the files it names, then exit. Opens no socket and creates no file.
    ///
    /// Exits 0 if the configuration is valid. Only `serve` detects a port in use, a folder without write permission, and
    /// a database or mail relay that does not answer.
    CheckConfig {
        #[command(flatten)]
        source: ConfigSource,
    },
    Doctor(DoctorArgs),
    /// Print a new line for the key file: `ed25519 <id> <seed>`.
    ///
    /// The key on the first line signs. Add a new key above the old keys and keep those, so that their signatures and the
    /// data sealed with them stay valid.
    GenerateKey {
        /// The id of the key: letters, digits and underscores, never used before. The first key that `serve` creates has
        /// the id 0.
        #[arg(long, default_value = "0")]
        id: String,
    },
    /// Add a new key on the first line of the key file, where it signs. The old keys stay below it, so that their
    /// signatures and the data sealed with them stay valid.
    ///
    /// A running server loads the new key on SIGHUP. If several processes share a database, install the new file for all
    /// of them before you send SIGHUP to the first.
    RotateKey {
        #[command(flatten)]
        source: ConfigSource,
        /// The id of the new key: letters, digits and underscores, never used before. Default: the next number.
        #[arg(long)]
        id: Option<String>,
    },
    /// Replace the pepper of the lookup hashes now, as [lookup] pepper_rotation does from time to time.
    ///
    /// Servers may run meanwhile, and clients notice nothing: the former pepper works for [lookup] pepper_grace. Ends when
    /// the new pepper is advertised, after at least 15 seconds. An interrupted rotation is continued.
    RotatePepper {
        #[command(flatten)]
        source: ConfigSource,
    },
    /// Send one SMS through the configured providers and print the result. Its code validates nothing.
    ///
    /// Uses [sms.rules], senders and templates as a validation does, and charges no limit.
    TestSms {
        #[command(flatten)]
        source: ConfigSource,
        /// The number, in international form or as dialled in --country.
        #[arg(long)]
        to: String,
        /// The country in which the number is dialled, such as GB. Required unless the number starts with "+".
        #[arg(long)]
        country: Option<String>,
        /// The brand of the template.
        #[arg(long)]
        brand: Option<String>,
        /// The language of the template.
        #[arg(long)]
        lang: Option<String>,
    },
    /// List, export, check or preview the templates of mails, SMS and pages.
    Templates {
        #[command(subcommand)]
        command: templates::TemplatesCommand,
    },
    /// List or revoke invitations: pending, and delivered if [invites] keep_delivered is set.
    Invites {
        #[command(subcommand)]
        command: invites::InvitesCommand,
    },
    /// List or retry onbind notifications that no homeserver has accepted yet.
    ///
    /// After a bind the server notifies the user's homeserver of the association and of the pending invitations for the
    /// address, and retries until the homeserver accepts. A rejected notification, or one older than [outbox] max_age,
    /// becomes a dead letter.
    Outbox {
        #[command(subcommand)]
        command: OutboxCommand,
    },
}

#[derive(Subcommand)]
enum OutboxCommand {
    /// List notifications, ordered by the next attempt, dead letters last.
    List {
        #[command(flatten)]
        source: ConfigSource,
    },
    /// Retry notifications now, with a new age and backoff. A running server notices within 5 seconds.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Retry {
        #[command(flatten)]
        source: ConfigSource,
        /// The id of one notification.
        #[arg(group = "which")]
        id: Option<String>,
        /// Retry all dead letters.
        #[arg(long, group = "which")]
        dead: bool,
        /// Retry all notifications.
        #[arg(long, group = "which")]
        all: bool,
    },
}

#[derive(clap::Args)]
struct ConfigSource {
    /// The TOML file. Default: no file; only defaults and the environment apply.
    #[arg(long, short, env = "IDENTITY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigSource {
    fn load(&self) -> Result<Config, Box<dyn Error>> {
        Ok(Config::load(self.config.as_deref())?)
    }

    /// The settings that templates use.
    fn load_templates(&self) -> Result<Config, Box<dyn Error>> {
        Ok(Config::load_templates(self.config.as_deref())?)
    }

    /// The settings of the database and the signing keys alone.
    fn load_stored(&self) -> Result<Config, Box<dyn Error>> {
        Ok(Config::load_stored(self.config.as_deref())?)
    }
}

/// Runs the command of the process's arguments.
pub async fn run() -> ExitCode {
    // Fails only if a provider is installed already, and this is the first statement of the process.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match execute(CommandLine::parse().command).await {
        Ok(code) => code,
        Err(error) => {
            // A closed stderr leaves no channel for the error.
            let _ = writeln!(io::stderr(), "identity: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn execute(command: Command) -> Result<ExitCode, Box<dyn Error>> {
    let Command::Doctor(args) = command else { return run_command(command).await.map(|()| ExitCode::SUCCESS) };
    let report = doctor::examine(&args).await?;
    if args.json {
        print([report.to_json().to_string()])?;
    } else {
        write!(io::stdout().lock(), "{report}")?;
    }
    Ok(if report.failures() > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn run_command(command: Command) -> Result<(), Box<dyn Error>> {
    match command {
        Command::Serve { source } => {
            let (config, _) = check_config::checked(source.config.as_deref())?;
            Ok(server::serve(config).await?)
        }
        Command::CheckConfig { source } => print(check_config::check(source.config.as_deref())?),
        // Has a result of its own, above.
        Command::Doctor(_) => Ok(()),
        Command::Migrate { source } => print(migrate::migrate(&source.load_stored()?).await?),
        Command::CopyDatabase(args) => copy_database::copy(&args, |line| print([line])).await,
        Command::Backup(args) => print(backup::back_up(&args).await?),
        Command::GenerateKey { id } => Ok(writeln!(io::stdout(), "{}", *signing_keys::new_line(&id, Random)?)?),
        Command::RotateKey { source, id } => {
            let config = Config::load_keys(source.config.as_deref())?;
            let used = match source.load_stored() {
                Ok(stored) => rotate_key::used_ids(&stored).await,
                // As without the database: the server checks the id.
                Err(_) => config.keys.revoked.clone(),
            };
            let id = signing_keys::rotate(&config.keys.file, id.as_deref(), &used, Random)?;
            let file = config.keys.file.display();
            print([format!("{id} is the signing key now, on the first line of {file}; send SIGHUP to running servers")])
        }
        Command::RotatePepper { source } => {
            let print_line = |line| print([line]);
            rotate_pepper::rotate(&source.load()?, print_line).await
        }
        Command::TestSms { source, to, country, brand, lang } => {
            let config = source.load()?;
            let audience = Audience { brand: brand.as_deref(), lang: lang.as_deref(), ..Audience::default() };
            let args = TestSmsArgs { number: &to, country: country.as_deref(), audience };
            let mut lines = Vec::new();
            let sent = test_sms::send(&config, &args, |line| lines.push(line)).await;
            print(lines)?;
            Ok(sent?)
        }
        Command::Templates { command } => print(templates::run(command)?),
        Command::Invites { command } => print(invites::run(command).await?),
        Command::Outbox { command: OutboxCommand::List { source } } => {
            print(outbox::list(&source.load_stored()?).await?)
        }
        Command::Outbox { command: OutboxCommand::Retry { source, id, dead, .. } } => {
            let selection =
                id.map_or(if dead { RetrySelection::Dead } else { RetrySelection::All }, RetrySelection::One);
            let number = outbox::retry(&source.load_stored()?, selection).await?;
            print([format!("{number} scheduled for retry")])
        }
    }
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    lines.into_iter().try_for_each(|line| Ok(writeln!(out, "{line}")?))
}
