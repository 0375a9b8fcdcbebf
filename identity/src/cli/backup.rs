//! `identity backup`: copies the SQLite database of a server that may be running.
//!
//! Invariant: a file with the name of the backup is a whole one, readable by its owner alone, and no existing file is
//! replaced.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use shared::random::Random;
use tokio::signal::unix::{SignalKind, signal};

use super::ConfigSource;
use super::table::aligned;
use crate::config::database::Location;
use crate::store::{StoreError, backup, unfinished_copy};

/// Copy the SQLite database to a new file, also while the server runs, and print what the copy contains.
///
/// The copy has everything that the server had answered when the command began. It is checked, readable by its owner
/// alone, and never replaces a file. It contains addresses and sealed data, but no signing key: keep [keys] file with it.
/// Back up PostgreSQL with pg_dump instead.
#[derive(clap::Args)]
pub(super) struct BackupArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// The file to create. Only a command that is killed (SIGKILL) leaves a file with this name and the end `.partial`.
    file: PathBuf,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub(super) enum BackupError {
    #[error(
        "[database] url: `identity backup` copies SQLite; back up PostgreSQL with pg_dump, and keep [keys] file too"
    )]
    Postgres,
    #[error("[database] url: a database in memory has no backup; use a file")]
    Memory,
    #[error("{0} does not exist; nothing to back up")]
    Missing(PathBuf),
    #[error("{0} exists; name a new file")]
    Exists(PathBuf),
    #[error("cannot write {0}: {1}")]
    File(PathBuf, io::Error),
    #[error("cannot copy {from} to {to}: {error}")]
    Copy { from: PathBuf, to: PathBuf, error: StoreError },
}

/// Makes the backup; returns the lines to print.
///
/// # Errors
/// An invalid configuration, or a [`BackupError`]; there is no backup then.
pub(super) async fn back_up(BackupArgs { source, file }: &BackupArgs) -> Result<Vec<String>, Box<dyn Error>> {
    let config = source.load()?;
    let source = match &config.database.location {
        Location::SqliteFile(path) => path,
        Location::SqliteMemory => return Err(BackupError::Memory.into()),
        Location::Postgres(_) => return Err(BackupError::Postgres.into()),
    };
    if !source.exists() {
        return Err(BackupError::Missing(source.clone()).into());
    }
    if file.symlink_metadata().is_ok() {
        return Err(BackupError::Exists(file.clone()).into());
    }
    // Before there is a file that a signal would leave.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let unfinished = Unfinished::create(file)?;
    let copied = tokio::select! {
        copied = backup::copy(source, &unfinished.path) => copied,
        _ = terminate.recv() => stop(unfinished),
        _ = interrupt.recv() => stop(unfinished),
    };
    let named = |error| BackupError::Copy { from: source.clone(), to: file.clone(), error };
    let tables = copied.map_err(named)?;
    if tables.iter().any(|(table, _)| table == unfinished_copy::NAME) {
        return Err(named(StoreError::UnfinishedCopy).into());
    }
    let bytes = unfinished.finish(file)?;
    let rows = tables.into_iter().map(|(table, rows)| [table, rows.to_string()]);
    let mut lines = aligned(["TABLE", "ROWS"], rows);
    lines.push(format!("{}: {bytes} bytes, complete and checked", file.display()));
    lines.push(format!(
        "keep a copy of {} with it: without the keys a server refuses the database",
        config.keys.file.display()
    ));
    Ok(lines)
}

/// Ends the process in the middle of a copy. SQLite cannot be interrupted, so the end of the runtime would wait for it.
fn stop(unfinished: Unfinished) -> ! {
    drop(unfinished);
    std::process::exit(1)
}

/// The copy under a temporary name, which is deleted unless the copy is finished.
struct Unfinished {
    path: PathBuf,
}

impl Unfinished {
    /// An empty file beside `file`.
    fn create(file: &Path) -> Result<Self, BackupError> {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{}.partial", Random.base62(8)));
        let path = PathBuf::from(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(Self { path }),
            Err(error) => Err(BackupError::File(path, error)),
        }
    }

    /// Renames it to `file`, durably; returns its size.
    fn finish(self, file: &Path) -> Result<u64, BackupError> {
        let named = |error| BackupError::File(file.to_owned(), error);
        let copy = File::open(&self.path).map_err(named)?;
        copy.sync_all().map_err(named)?;
        let bytes = copy.metadata().map_err(named)?.len();
        // A rename would replace a file that has appeared meanwhile; a link does not.
        match fs::hard_link(&self.path, file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(BackupError::Exists(file.to_owned()));
            }
            // Not every file system has links.
            Err(_) if file.symlink_metadata().is_ok() => return Err(BackupError::Exists(file.to_owned())),
            Err(_) => fs::rename(&self.path, file).map_err(named)?,
        }
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(named)?;
        Ok(bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // SQLite's journal, if the copy failed.
        let mut journal = self.path.clone().into_os_string();
        journal.push("-journal");
        _ = fs::remove_file(journal);
        _ = fs::remove_file(&self.path);
    }
}
