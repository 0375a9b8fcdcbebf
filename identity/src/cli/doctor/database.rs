//! The database: reachable, migrated, its pooler, and its clock.
//!
//! Invariant: creates and migrates nothing.

use std::time::{Duration, Instant};

use shared::clock::{Clock, Timestamp};
use shared::doctor::{Report, milliseconds};

use super::super::database::open;
use crate::config::Config;
use crate::config::database::{Location, PreparedStatements};
use crate::store::StoreError;
use crate::store::diagnosis::{Diagnosis, diagnose};

const SUBJECT: &str = "database";
const CLOCK: &str = "clock";

/// How far the clocks of two machines may differ before codes and invitations expire at the wrong time.
const MAX_SKEW: Duration = Duration::from_secs(30);

/// A time at which this program did not exist: a machine without a clock starts at 1970.
const EARLIEST: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub(super) async fn check(report: &mut Report, config: &Config, now: Timestamp) {
    if now < EARLIEST {
        report.failed(CLOCK, "the clock of this machine is far in the past", "synchronize it with NTP");
    }
    if let Location::SqliteMemory = config.database.location {
        return report.note(SUBJECT, "SQLite in memory: all data is lost on exit");
    }
    if let Location::SqliteFile(path) = &config.database.location
        && !path.exists()
    {
        return report.note(SUBJECT, format!("{} does not exist yet; `identity serve` creates it", path.display()));
    }
    let started = Instant::now();
    let store = match open(config).await {
        Ok(store) => store,
        Err(StoreError::Pending(_)) if config.database.migrate => {
            return report.note(SUBJECT, "new, or of an older version; `identity serve` migrates it when it starts");
        }
        Err(error) => return report.failed(SUBJECT, error.to_string(), next_step(config, &error)),
    };
    let opened = started.elapsed();
    let asked_at = Clock::system().now();
    match store.read(async |conn| diagnose(conn).await).await {
        Ok(diagnosis) => describe(report, config, &diagnosis, opened, asked_at),
        Err(error) => report.failed(SUBJECT, error.to_string(), next_step(config, &error)),
    }
}

fn describe(report: &mut Report, config: &Config, found: &Diagnosis, opened: Duration, asked_at: Timestamp) {
    if found.is_read_only {
        let next_step = "name the primary in [database] url; or set default_transaction_read_only = off for the role";
        return report.failed(SUBJECT, format!("{} is read-only, as a standby is", found.version), next_step);
    }
    let pooler = match found.is_pooled {
        Some(true) => ", through a pooler",
        Some(false) => ", without a pooler",
        None => "",
    };
    report.good(SUBJECT, format!("{}{pooler}, migrated ({})", found.version, milliseconds(opened)));
    if found.is_pooled == Some(true) && config.database.prepared_statements == PreparedStatements::Named {
        report.note(SUBJECT, "[database] prepared_statements is \"named\": the pooler must track prepared statements");
    }
    let Some(clock) = found.clock else { return };
    let skew = clock.since(asked_at).max(asked_at.since(clock));
    if skew > MAX_SKEW {
        report.failed(
            CLOCK,
            format!("the clocks of this machine and of PostgreSQL differ by {} s", skew.as_secs()),
            "synchronize both with NTP",
        );
    } else {
        report.good(CLOCK, format!("differs from PostgreSQL's by {}", milliseconds(skew)));
    }
}

fn next_step(config: &Config, error: &StoreError) -> &'static str {
    match (&config.database.location, error) {
        (_, StoreError::Pending(_) | StoreError::Newer(_) | StoreError::UnfinishedCopy) => "do as this says",
        (Location::Postgres(_), StoreError::Connect(text)) if text.contains("authentication failed") => {
            "correct the user or the password in [database] url or url_file"
        }
        (Location::Postgres(_), StoreError::Connect(text)) if text.contains("does not exist") => {
            "create the role and the database (identity/README.md, PostgreSQL), or correct [database] url or url_file"
        }
        (Location::Postgres(_), StoreError::Connect(text)) if text.contains("TLS") => {
            "let PostgreSQL serve TLS (ssl = on), or add ?sslmode=disable on a network that you trust"
        }
        (Location::Postgres(_), StoreError::Connect(_)) => {
            "start PostgreSQL, open its port, or correct the host in [database] url or url_file"
        }
        (Location::Postgres(_), _) => "read the log of PostgreSQL",
        (Location::SqliteFile(_) | Location::SqliteMemory, _) => {
            "run doctor as the user of the server; see [database] url"
        }
    }
}
