//! `identity outbox`: the news that homeservers have not taken, for the operator.
//!
//! Invariant: it shows whom an association is about and never its address.

use shared::clock::{Clock, Timestamp};

use super::database::open;
use super::table::{aligned, roughly};
use crate::config::Config;
use crate::store::StoreError;
pub use crate::store::onbinds::listing::Chosen;
use crate::store::onbinds::listing::{self, ListedOnbind};

/// Why the operator gets nothing.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database does not do what it should.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// There is no such row.
    #[error("nothing in the outbox has this id")]
    Unknown,
}

/// A table of everything, a line each under a line of headings; one line alone if there is nothing.
///
/// # Errors
/// [`OutboxError::Store`].
pub async fn list(config: &Config) -> Result<Vec<String>, OutboxError> {
    let store = open(config).await?;
    let rows = store.read(async |conn| listing::list(conn).await).await?;
    if rows.is_empty() {
        return Ok(vec!["nothing waits".to_owned()]);
    }
    Ok(table(&rows, Clock::system().now()))
}

/// Lets what is chosen begin anew; gives how many that are.
///
/// # Errors
/// [`OutboxError::Unknown`] if one is chosen that is not there.
pub async fn retry(config: &Config, chosen: Chosen) -> Result<usize, OutboxError> {
    let store = open(config).await?;
    let (now, is_one) = (Clock::system().now(), matches!(chosen, Chosen::One(_)));
    let number = store.write(async move |conn| listing::retry(conn, &chosen, now).await).await?;
    if is_one && number == 0 { Err(OutboxError::Unknown) } else { Ok(number) }
}

fn table(rows: &[(ListedOnbind, i64)], now: Timestamp) -> Vec<String> {
    let headings = ["ID", "MEDIUM", "USER", "HOMESERVER", "INVITES", "TRIES", "NEXT TRY", "LAST FAILURE"];
    aligned(headings, rows.iter().map(|(row, invites)| line(row, *invites, now)))
}

fn line(row: &ListedOnbind, invites: i64, now: Timestamp) -> [String; 8] {
    let next = Timestamp::from_millis(row.next_attempt_at);
    let when = match row.dead_at.map(Timestamp::from_millis) {
        Some(dead_at) => format!("given up {} ago", roughly(now.since(dead_at))),
        None if next <= now => "now".to_owned(),
        None => format!("in {}", roughly(next.since(now))),
    };
    [
        row.id.clone(),
        row.medium.clone(),
        row.mxid.clone(),
        row.server.clone(),
        invites.to_string(),
        row.attempts.to_string(),
        when,
        row.last_failure.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use shared::clock::Timestamp;

    use super::{ListedOnbind, table};

    #[test]
    fn the_operator_reads_a_table() {
        let now = Timestamp::from_millis(1_750_000_000_000);
        let row = |id: &str, next: u64, dead_at: Option<Timestamp>, failure: Option<&str>| ListedOnbind {
            id: id.to_owned(),
            medium: "email".to_owned(),
            mxid: "@bob:HS.example".to_owned(),
            server: "hs.example".to_owned(),
            attempts: 3,
            next_attempt_at: now.plus(Duration::from_secs(next)).as_millis(),
            dead_at: dead_at.map(Timestamp::as_millis),
            last_failure: failure.map(str::to_owned),
        };
        let long_ago = now.minus(Duration::from_secs(5 * 86_400));
        let rows = [
            (row("a", 0, None, None), 1),
            (row("bcd", 600, None, Some("it did not answer in time")), 12),
            (row("e", 0, Some(long_ago), Some("it replied 403 M_FORBIDDEN")), 1),
        ];
        assert_eq!(
            table(&rows, now),
            [
                "ID   MEDIUM  USER             HOMESERVER  INVITES  TRIES  NEXT TRY         LAST FAILURE",
                "a    email   @bob:HS.example  hs.example  1        3      now",
                "bcd  email   @bob:HS.example  hs.example  12       3      in 10m           it did not answer in time",
                "e    email   @bob:HS.example  hs.example  1        3      given up 5d ago  it replied 403 M_FORBIDDEN",
            ]
        );
    }
}
