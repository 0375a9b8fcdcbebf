//! The command line of the identity server.
//!
//! Invariant: it decides nothing; it reads settings and calls the library.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use identity::commands::invites;
use identity::commands::outbox::{self, Chosen};
use identity::commands::test_sms::{self, Wish};
use identity::config::Config;
use identity::domain::mxid::UserId;
use identity::domain::room_id::RoomId;
use identity::domain::threepid::{Medium, ThreePid};
use identity::notify::templates::Audience;
use identity::store::invites::Filter;
use identity::{server, signing_keys};
use shared::random::Random;

/// A Matrix identity server (Identity Service API v2).
///
/// People prove that they own an e-mail address or a telephone number; others find them by hashed lookup. Run it beside a homeserver, behind
/// a reverse proxy that speaks TLS.
///
/// Without any configuration it starts for development: on 127.0.0.1:8090, with an SQLite file and a fresh signing key
/// in your data folder, and mail written to files there.
#[derive(Parser)]
#[command(name = "identity", version, after_help = EXAMPLES)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Settings come from the file, then from the environment: [http] bind is IDENTITY__HTTP__BIND. Secrets may also be
read from a file of their own: [email] password_file. deploy/identity.toml lists every key with its default.

Examples:
  identity serve                                     development, no settings needed
  identity check-config --config /etc/identity.toml  is everything right? ends 0 if so
  identity serve --config /etc/identity.toml";

#[derive(Subcommand)]
enum Command {
    /// Run the server until SIGTERM or Ctrl-C; requests in flight are finished. SIGHUP reads the terms
    /// and the key file again.
    Serve {
        #[command(flatten)]
        settings: Settings,
    },
    /// Read the settings and the files they name, tell what is wrong or only fit for development, and end. Nothing is
    /// listened on, connected to or made.
    ///
    /// Ends 0 if nothing is wrong. Whether a port is free, a folder can be written and the database and the mail relay
    /// answer, only `serve` finds out.
    CheckConfig {
        #[command(flatten)]
        settings: Settings,
    },
    /// Print a new line for the key file: `ed25519 <id> <seed>`.
    ///
    /// The first line of the file signs. Put a new key there and leave the old ones below it: what they signed and
    /// sealed stays good.
    GenerateKey {
        /// The id of the key: letters, digits and underscores, never used before. The key that `serve` makes by itself
        /// is 0.
        #[arg(long, default_value = "0")]
        id: String,
    },
    /// Put a new key on the first line of the key file, where it signs; the old ones stay below it, so that what they
    /// signed and sealed stays good.
    ///
    /// A server that runs takes it when it gets SIGHUP. Where several processes share a database, each needs the new
    /// file before any of them is told.
    RotateKey {
        #[command(flatten)]
        settings: Settings,
        /// The id of the new key: letters, digits and underscores, never used before. Without it, the next number.
        #[arg(long)]
        id: Option<String>,
    },
    /// Send an SMS through the providers of the settings, and tell what they say. It has a code that validates nothing.
    ///
    /// It goes the way of a validation, by [sms.rules], senders and templates; only the limits are not charged.
    TestSms {
        #[command(flatten)]
        settings: Settings,
        /// The number, in international form, or as it is dialled in --country.
        #[arg(long)]
        to: String,
        /// Where the number is dialled, such as GB; needed if it does not begin with "+".
        #[arg(long)]
        country: Option<String>,
        /// The brand whose template is used.
        #[arg(long)]
        brand: Option<String>,
        /// The language of the template.
        #[arg(long)]
        lang: Option<String>,
    },
    /// Invitations that wait for somebody to bind their address, or that have arrived, if those are remembered.
    Invites {
        #[command(subcommand)]
        command: InvitesCommand,
    },
    /// News of associations, with the invitations that waited for the address, that no homeserver has taken yet.
    ///
    /// The server tells a user's homeserver right after an address was bound, and again and again until it agrees. What it
    /// refuses, or has not taken for [outbox] max_age, is given up and rests here.
    Outbox {
        #[command(subcommand)]
        command: OutboxCommand,
    },
}

#[derive(Subcommand)]
enum InvitesCommand {
    /// Show them, oldest first.
    List {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        which: Which,
    },
    /// Take them back: they let nobody into the room any more, and a mail that still waits is not sent.
    Revoke {
        #[command(flatten)]
        settings: Settings,
        #[command(flatten)]
        which: Which,
    },
}

/// Invitations that fit in everything that is said.
#[derive(clap::Args)]
struct Which {
    /// Their ids.
    ids: Vec<String>,
    /// Of this e-mail address.
    #[arg(long, value_parser = |text: &str| ThreePid::canonical(Medium::Email, text))]
    address: Option<ThreePid>,
    /// Into this room.
    #[arg(long, value_parser = RoomId::parse)]
    room: Option<RoomId>,
    /// From this user.
    #[arg(long, value_parser = UserId::parse)]
    sender: Option<UserId>,
}

impl From<Which> for Filter {
    fn from(Which { ids, address, room, sender }: Which) -> Self {
        Self { ids, threepid: address, room_id: room, sender }
    }
}

#[derive(Subcommand)]
enum OutboxCommand {
    /// Show them, the next tries first, those that were given up last.
    List {
        #[command(flatten)]
        settings: Settings,
    },
    /// Let them begin anew, at once. A server that runs notices within 5 seconds.
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Retry {
        #[command(flatten)]
        settings: Settings,
        /// The one with this id.
        #[arg(group = "which")]
        id: Option<String>,
        /// All that were given up.
        #[arg(long, group = "which")]
        dead: bool,
        /// All.
        #[arg(long, group = "which")]
        all: bool,
    },
}

#[derive(clap::Args)]
struct Settings {
    /// The TOML file. Without it, the defaults and the environment.
    #[arg(long, short, env = "IDENTITY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The only way this fails is that somebody else has installed a provider before the first line of main.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match run(CommandLine::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done if even this cannot be said.
            let _ = writeln!(io::stderr(), "identity: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<(), Box<dyn std::error::Error>> {
    match command {
        Command::Serve { settings } => Ok(server::serve(Config::load(settings.config.as_deref())?).await?),
        Command::CheckConfig { settings } => {
            let config = Config::load(settings.config.as_deref())?;
            server::check(&config)?;
            let mut out = io::stdout().lock();
            for notice in config.notices() {
                writeln!(out, "note: {notice}")?;
            }
            Ok(writeln!(out, "the configuration is good")?)
        }
        Command::RotateKey { settings, id } => {
            let config = Config::load(settings.config.as_deref())?;
            let file = config.keys.file.as_deref().unwrap_or(Path::new("signing.key"));
            let id = signing_keys::rotate(file, id.as_deref(), config.keys.revoked.as_slice(), Random)?;
            Ok(writeln!(io::stdout(), "{id} signs; send SIGHUP to a server that runs")?)
        }
        Command::TestSms { settings, to, country, brand, lang } => {
            let config = Config::load(settings.config.as_deref())?;
            let audience = Audience { brand: brand.as_deref(), lang: lang.as_deref(), ..Audience::default() };
            let wish = Wish { number: &to, country: country.as_deref(), audience };
            let mut lines = Vec::new();
            let sent = test_sms::send(&config, &wish, |line| lines.push(line)).await;
            let mut out = io::stdout().lock();
            lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
            Ok(sent?)
        }
        Command::Invites { command: InvitesCommand::List { settings, which } } => {
            let lines = invites::list(&Config::load(settings.config.as_deref())?, which.into()).await?;
            let mut out = io::stdout().lock();
            lines.iter().try_for_each(|line| Ok(writeln!(out, "{line}")?))
        }
        Command::Invites { command: InvitesCommand::Revoke { settings, which } } => {
            let number = invites::revoke(&Config::load(settings.config.as_deref())?, which.into()).await?;
            Ok(writeln!(io::stdout(), "{number} revoked")?)
        }
        Command::Outbox { command: OutboxCommand::List { settings } } => {
            let lines = outbox::list(&Config::load(settings.config.as_deref())?).await?;
            let mut out = io::stdout().lock();
            lines.iter().try_for_each(|line| Ok(writeln!(out, "{line}")?))
        }
        Command::Outbox { command: OutboxCommand::Retry { settings, id, dead, .. } } => {
            let chosen = id.map_or(if dead { Chosen::Dead } else { Chosen::All }, Chosen::One);
            let number = outbox::retry(&Config::load(settings.config.as_deref())?, chosen).await?;
            Ok(writeln!(io::stdout(), "{number} begin anew")?)
        }
        Command::GenerateKey { id } => Ok(writeln!(io::stdout(), "{}", *signing_keys::new_line(&id, Random)?)?),
    }
}
