//! The environment variables of a test run.
//!
//! Invariant: without them the suite is short, its input is random, and a missing program skips tests.

use std::path::PathBuf;

/// Whether nothing may be skipped: `CI=true`.
pub(crate) fn is_ci() -> bool {
    variable("CI").is_some_and(|value| value == "true")
}

/// `long` with `GATEHOUSE_LONG_TESTS=1`, else `short`: rounds, requests or events of a test.
pub fn scale<T>(short: T, long: T) -> T {
    if is_long() { long } else { short }
}

/// Whether the long versions of tests run.
pub(crate) fn is_long() -> bool {
    variable("GATEHOUSE_LONG_TESTS").is_some_and(|value| value == "1")
}

/// `GATEHOUSE_SEED`: the seed of all generated input.
///
/// # Panics
/// If it is no number.
pub fn seed() -> Option<u64> {
    variable("GATEHOUSE_SEED").map(|seed| seed.parse().expect("GATEHOUSE_SEED is a number"))
}

/// `GATEHOUSE_SCREENSHOTS`: the folder for pictures of pages and mails.
pub fn screenshots() -> Option<PathBuf> {
    variable("GATEHOUSE_SCREENSHOTS").map(PathBuf::from)
}

/// The database of the tests that do not choose one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The service's default.
    Sqlite,
    /// PostgreSQL.
    Postgres,
    /// PostgreSQL behind pgbouncer in transaction mode.
    Pgbouncer,
    /// Three processes behind a proxy, on PostgreSQL behind pgbouncer.
    Replicas,
}

/// `GATEHOUSE_DATABASE`: `sqlite` (the default), `postgres`, `pgbouncer` or `replicas`.
///
/// # Panics
/// For another word.
pub(crate) fn engine() -> Engine {
    match variable("GATEHOUSE_DATABASE").as_deref() {
        None | Some("sqlite") => Engine::Sqlite,
        Some("postgres") => Engine::Postgres,
        Some("pgbouncer") => Engine::Pgbouncer,
        Some("replicas") => Engine::Replicas,
        Some(other) => panic!("GATEHOUSE_DATABASE is sqlite, postgres, pgbouncer or replicas, not {other}"),
    }
}

/// `GATEHOUSE_INDEX`: `[lookup] index` of the tests that choose neither it nor a database.
pub(crate) fn index() -> Option<String> {
    variable("GATEHOUSE_INDEX")
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "an option of the test run, not a setting of a service")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
