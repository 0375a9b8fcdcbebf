//! When a service reads its configuration again: on SIGHUP, and when a file that it depends on has changed.
//!
//! Invariant: a change counts when two checks in a row see the same, so that no half-written file is read. A change during
//! a reload causes another one.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often the files are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The modification time and the length of a file; `None` for a missing file.
type FileState = Option<(Option<SystemTime>, u64)>;

/// Waits for the reasons to reload.
#[derive(Debug)]
pub struct ReloadTrigger {
    hang_up: Signal,
    checks: Interval,
    files: Vec<PathBuf>,
    /// The states of the files when they were last read.
    loaded: Vec<FileState>,
    /// Their states at the last check.
    previous: Vec<FileState>,
}

impl ReloadTrigger {
    /// From here on SIGHUP does not end the process. `files` have just been read.
    ///
    /// # Errors
    /// If the operating system refuses the signal handler.
    pub fn new(files: Vec<PathBuf>) -> io::Result<Self> {
        Self::with_interval(files, CHECK_INTERVAL)
    }

    fn with_interval(files: Vec<PathBuf>, check_interval: Duration) -> io::Result<Self> {
        let mut checks = interval(check_interval);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let loaded = states(&files);
        Ok(Self { hang_up: signal(SignalKind::hangup())?, checks, previous: loaded.clone(), loaded, files })
    }

    /// Waits for the next reason to reload. `None` if the process receives no more signals.
    pub async fn next(&mut self) -> Option<&'static str> {
        loop {
            tokio::select! {
                hung_up = self.hang_up.recv() => {
                    hung_up?;
                    self.take();
                    return Some("SIGHUP");
                }
                _ = self.checks.tick() => {
                    let now = states(&self.files);
                    let is_settled = now == self.previous;
                    self.previous = now;
                    if is_settled && self.previous != self.loaded {
                        self.take();
                        return Some("a file has changed");
                    }
                }
            }
        }
    }

    /// Watches these files from now on. A file that was watched before keeps its state: it may have been read already.
    pub fn watch(&mut self, files: Vec<PathBuf>) {
        let old: Vec<_> =
            std::mem::replace(&mut self.files, files).into_iter().zip(std::mem::take(&mut self.loaded)).collect();
        let known = |path: &PathBuf| old.iter().find(|(other, _)| other == path).map(|(_, state)| *state);
        self.loaded =
            self.files.iter().zip(states(&self.files)).map(|(path, now)| known(path).unwrap_or(now)).collect();
        self.previous.clone_from(&self.loaded);
    }

    /// The reload that follows reads the files as they are now, or later.
    fn take(&mut self) {
        self.loaded = states(&self.files);
        self.previous.clone_from(&self.loaded);
    }
}

fn states(files: &[PathBuf]) -> Vec<FileState> {
    let state = |path: &PathBuf| fs::metadata(path).ok().map(|data| (data.modified().ok(), data.len()));
    files.iter().map(state).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::ReloadTrigger;

    #[tokio::test]
    async fn a_change_of_a_watched_file_is_a_reason_and_the_same_content_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&a, "1").unwrap();
        let mut trigger = ReloadTrigger::with_interval(vec![a.clone()], Duration::from_millis(5)).unwrap();
        let next = async |trigger: &mut ReloadTrigger| {
            tokio::time::timeout(Duration::from_millis(100), trigger.next()).await.ok().flatten()
        };
        assert_eq!(next(&mut trigger).await, None);
        std::fs::write(&a, "22").unwrap();
        assert_eq!(next(&mut trigger).await, Some("a file has changed"));
        assert_eq!(next(&mut trigger).await, None);
        // A file that is missing at first, and one that is removed.
        trigger.watch(vec![a.clone(), b.clone()] as Vec<PathBuf>);
        assert_eq!(next(&mut trigger).await, None);
        std::fs::write(&b, "1").unwrap();
        assert_eq!(next(&mut trigger).await, Some("a file has changed"));
        std::fs::remove_file(&a).unwrap();
        assert_eq!(next(&mut trigger).await, Some("a file has changed"));
    }
}
