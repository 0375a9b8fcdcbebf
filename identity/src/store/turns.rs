//! Whose turn it is at an SQLite file: one writer at a time, and no more calls than connections.
//!
//! Invariant: callers wait in order and hold no thread. SQLite itself makes a writer wait for another one by
//! sleeping and looking again; that is left for the writers of other processes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// What a call is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    Read,
    Write,
}

/// The turns at one database.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    connections: Arc<Semaphore>,
    writing: Arc<Semaphore>,
}

/// The right to be there, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _connection: OwnedSemaphorePermit,
    _writing: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// The turns at a database with so many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self { connections: Arc::new(Semaphore::new(connections)), writing: Arc::new(Semaphore::new(1)) }
    }

    /// Waits for a turn; `None` if it does not come within `patience`.
    pub(super) async fn wait(&self, intent: Intent, patience: Duration) -> Option<Turn> {
        let turn = async {
            // In this order: a writer that waits for another one keeps no reader from a connection.
            let writing = match intent {
                Intent::Write => Some(self.writing.clone().acquire_owned().await?),
                Intent::Read => None,
            };
            Ok::<_, AcquireError>(Turn {
                _connection: self.connections.clone().acquire_owned().await?,
                _writing: writing,
            })
        };
        tokio::time::timeout(patience, turn).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::{Intent, Turn, Turns};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// The turn, if it is there at once.
    fn at_once(turns: &Turns, intent: Intent) -> Option<Turn> {
        turns.wait(intent, PATIENCE).now_or_never().flatten()
    }

    #[tokio::test]
    async fn one_call_writes_while_others_read_and_each_needs_a_connection() {
        let turns = Turns::new(2);
        let writing = at_once(&turns, Intent::Write).unwrap();
        assert!(at_once(&turns, Intent::Write).is_none(), "two writers");
        let reading = at_once(&turns, Intent::Read).unwrap();
        assert!(at_once(&turns, Intent::Read).is_none(), "three at two connections");
        drop((writing, reading));

        let readers = [at_once(&turns, Intent::Read).unwrap(), at_once(&turns, Intent::Read).unwrap()];
        assert!(at_once(&turns, Intent::Write).is_none());
        drop(readers);
        assert!(at_once(&turns, Intent::Write).is_some(), "who gave up waiting keeps others from writing");
    }

    #[tokio::test]
    async fn patience_ends() {
        let turns = Turns::new(1);
        let _only = turns.wait(Intent::Read, PATIENCE).await.unwrap();
        assert!(turns.wait(Intent::Read, Duration::ZERO).await.is_none());
    }
}
