//! The database: reachable, migrated, its pooler, and its clock.
//!
//! Invariant: creates and migrates nothing.

use std::time::{Duration, Instant};

use shared::clock::{Clock, Timestamp};
use shared::doctor::{Report, milliseconds};

use super::super::database::open;
use crate::config::Config;
use crate::config::database::{Location, PreparedStatements};
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
        Err(error) => return report.failed(SUBJECT, error.to_string(), next_step(config)),
    };
    let opened = started.elapsed();
    let asked_at = Clock::system().now();
    match store.read(async |conn| diagnose(conn).await).await {
        Ok(diagnosis) => describe(report, config, &diagnosis, opened, asked_at),
        Err(error) => report.failed(SUBJECT, error.to_string(), next_step(config)),
    }
}

fn describe(report: &mut Report, config: &Config, found: &Diagnosis, opened: Duration, asked_at: Timestamp) {
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

fn next_step(config: &Config) -> &'static str {
    match config.database.location {
        Location::Postgres(_) => "check [database] url, the server's log, and `identity migrate`",
        Location::SqliteFile(_) | Location::SqliteMemory => "run doctor as the user of the server; see [database] url",
    }
}
