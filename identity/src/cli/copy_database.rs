//! `identity copy-database`: copies a database to another one, such as SQLite to PostgreSQL.
//!
//! Invariant: prints no URL, which may contain a password.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use shared::{telemetry, text_file};
use zeroize::Zeroizing;

use super::ConfigSource;
use crate::config::Config;
use crate::config::database::{Database, EXPECTED, Location};
use crate::flows::copy_database::{CopyError, Step, copy_database};
use crate::store::{Store, StoreError};

/// Between two lines about one table.
const REPORT_EVERY: Duration = Duration::from_secs(2);

type AnyError = Box<dyn Error>;

/// Copy every table of one database to another, empty one: SQLite to PostgreSQL, back, or the same kind.
///
/// Stop all servers that use the source first: the command fails if the source changes meanwhile. The source needs the
/// schema of this version (`identity migrate`); an empty target is migrated. A killed copy continues when the same command
/// runs again, and no server starts on its target before. At the end all tables of both databases are compared by their
/// numbers of rows and checksums.
///
/// A URL on the command line is visible to all users of the machine: pass one with a password in a file or in the
/// environment. Of the configuration only [database] time limits and prepared_statements, [outbound] extra_ca_file and [log]
/// apply.
#[derive(clap::Args)]
pub(super) struct CopyArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// The database to copy, as in [database] url. A relative SQLite path starts at the current folder.
    #[arg(
        long,
        value_name = "URL",
        env = "IDENTITY_COPY_FROM",
        hide_env_values = true,
        required_unless_present = "from_file",
        conflicts_with = "from_file"
    )]
    from: Option<String>,
    /// A file with the URL of the database to copy.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
    /// The database to fill.
    #[arg(
        long,
        value_name = "URL",
        env = "IDENTITY_COPY_TO",
        hide_env_values = true,
        required_unless_present = "to_file",
        conflicts_with = "to_file"
    )]
    to: Option<String>,
    /// A file with the URL of the database to fill.
    #[arg(long, value_name = "FILE")]
    to_file: Option<PathBuf>,
}

/// Copies the database; `print` gets each line.
///
/// # Errors
/// An invalid argument or configuration, or a [`CopyError`].
pub(super) async fn copy(
    args: &CopyArgs,
    mut print: impl FnMut(String) -> Result<(), AnyError>,
) -> Result<(), AnyError> {
    let config = args.source.load()?;
    let from = location("--from", args.from.as_deref(), args.from_file.as_deref())?;
    let to = location("--to", args.to.as_deref(), args.to_file.as_deref())?;
    let _log = telemetry::log(config.log, &["identity", "shared"]);
    let source = open_source(&config, from).await?;
    let target = open_target(&config, to).await?;
    let fresh = Store::open(&settings(&config, Location::SqliteMemory, true), None).await?;

    let mut printed = Instant::now();
    let mut failure = None;
    let report = |step: Step, table: &str, rows: i64, total: i64| {
        if rows >= total || printed.elapsed() >= REPORT_EVERY {
            printed = Instant::now();
            let step = if step == Step::Copied { "copied" } else { "checked" };
            failure = print(format!("{table}: {step} {rows} of {total} rows")).err().or(failure.take());
        }
    };
    let (tables, rows) = copy_database(&source, &target, &fresh, report).await?;
    target.close().await;
    // Only a closed standard output.
    if let Some(failure) = failure {
        return Err(failure);
    }
    print(format!("the copy is complete: {rows} rows, the same number and checksum in each of {tables} tables"))?;
    print("start the servers with the new [database] url and the same [keys] file".to_owned())
}

fn location(option: &str, url: Option<&str>, file: Option<&Path>) -> Result<Location, AnyError> {
    let content = match (url, file) {
        (None, Some(file)) => {
            fs::read(file).map_err(|error| format!("{option}-file: cannot read {}: {error}", file.display()))?
        }
        (url, _) => url.unwrap_or_default().as_bytes().to_vec(),
    };
    let content = Zeroizing::new(content);
    let url = text_file::decode(&content).map(text_file::unquoted).unwrap_or_default();
    match Location::parse(url, Path::new("")) {
        Ok(Location::SqliteMemory) => {
            Err(format!("{option}: a database in memory ends with the command; name a file").into())
        }
        Ok(location) => Ok(location),
        // It may contain a password.
        Err(_) => Err(format!("{option}: {EXPECTED}").into()),
    }
}

fn settings(config: &Config, location: Location, migrate: bool) -> Database {
    Database { location, migrate, migrate_url: None, start_timeout: Duration::ZERO, ..config.database.clone() }
}

async fn open_source(config: &Config, location: Location) -> Result<Store, AnyError> {
    if let Location::SqliteFile(path) = &location
        && !path.exists()
    {
        return Err(format!("--from: {} does not exist", path.display()).into());
    }
    let extra_ca_file = config.outbound.extra_ca_file.as_deref();
    Store::open(&settings(config, location, false), extra_ca_file).await.map_err(|error| match error {
        StoreError::Pending(first) => format!(
            "--from: the database lacks the migration {first}; run `identity migrate` of this version on it, then start again"
        )
        .into(),
        error => CopyError::Source(error).into(),
    })
}

async fn open_target(config: &Config, location: Location) -> Result<Store, AnyError> {
    if let Location::SqliteFile(path) = &location {
        restrict(path).map_err(|error| format!("--to: cannot restrict {}: {error}", path.display()))?;
    }
    let extra_ca_file = config.outbound.extra_ca_file.as_deref();
    Store::open_target(&settings(config, location, true), extra_ca_file).await.map_err(|error| match error {
        StoreError::Pending(first) => {
            format!("--to: the database has an older schema, without the migration {first}; name an empty database")
                .into()
        }
        error => CopyError::Target(error).into(),
    })
}

/// Makes an existing file readable by its owner alone, as a new one is: it will contain addresses.
fn restrict(path: &Path) -> io::Result<()> {
    match fs::set_permissions(path, fs::Permissions::from_mode(0o600)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
