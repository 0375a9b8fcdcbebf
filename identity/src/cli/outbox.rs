//! `identity outbox`: lists and retries undelivered onbind notifications.
//!
//! Invariant: the output contains the user of an association and never its address.

use shared::clock::{Clock, Timestamp};

use super::database::open;
use super::table::{aligned, roughly};
use crate::config::Config;
use crate::store::StoreError;
pub use crate::store::onbinds::listing::RetrySelection;
use crate::store::onbinds::listing::{self, ListedOnbind};

/// Why the command fails.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The database fails.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No onbind has this id.
    #[error("no notification in the outbox has this id")]
    Unknown,
}

/// A table of the outbox with a line of headings; a single line if it is empty.
///
/// # Errors
/// [`OutboxError::Store`].
pub async fn list(config: &Config) -> Result<Vec<String>, OutboxError> {
    let store = open(config).await?;
    let rows = store.read(async |conn| listing::list(conn).await).await?;
    if rows.is_empty() {
        return Ok(vec!["the outbox is empty".to_owned()]);
    }
    Ok(table(&rows, Clock::system().now()))
}

/// Makes the selected notifications due at once; returns their number.
///
/// # Errors
/// [`OutboxError::Unknown`] if the selected id does not exist.
pub async fn retry(config: &Config, selection: RetrySelection) -> Result<usize, OutboxError> {
    let store = open(config).await?;
    let (now, is_one) = (Clock::system().now(), matches!(selection, RetrySelection::One(_)));
    let number = store.write(async move |conn| listing::retry(conn, &selection, now).await).await?;
    if is_one && number == 0 { Err(OutboxError::Unknown) } else { Ok(number) }
}

fn table(rows: &[(ListedOnbind, i64)], now: Timestamp) -> Vec<String> {
    let headings = ["ID", "MEDIUM", "USER", "HOMESERVER", "INVITES", "ATTEMPTS", "NEXT ATTEMPT", "LAST FAILURE"];
    aligned(headings, rows.iter().map(|(row, invites)| line(row, *invites, now)))
}

fn line(row: &ListedOnbind, invites: i64, now: Timestamp) -> [String; 8] {
    let next = Timestamp::from_millis(row.next_attempt_at);
    let when = match row.dead_at.map(Timestamp::from_millis) {
        Some(dead_at) => format!("dead for {}", roughly(now.since(dead_at))),
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
    fn each_notification_is_a_line_of_the_table() {
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
                "ID   MEDIUM  USER             HOMESERVER  INVITES  ATTEMPTS  NEXT ATTEMPT  LAST FAILURE",
                "a    email   @bob:HS.example  hs.example  1        3         now",
                "bcd  email   @bob:HS.example  hs.example  12       3         in 10m        it did not answer in time",
                "e    email   @bob:HS.example  hs.example  1        3         dead for 5d   it replied 403 M_FORBIDDEN",
            ]
        );
    }
}
