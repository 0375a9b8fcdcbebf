//! When a service reads its configuration again: on SIGHUP, and when a file that it depends on has changed.
//!
//! Invariant: a change counts when two checks in a row see the same, so that no half-written file is read. A change during
//! a reload causes another one.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::config::ConfigError;

/// How often the files are checked.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// What differs after every change of a file, also where a copy keeps the length and the modification time: inode, length,
/// and the times of the last modification and of the last change of the inode. `None` for a missing file.
type FileState = Option<(u64, u64, [i64; 4])>;

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
    pub async fn next(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                hung_up = self.hang_up.recv() => {
                    hung_up?;
                    self.take();
                    return Some("SIGHUP".to_owned());
                }
                _ = self.checks.tick() => {
                    let now = states(&self.files);
                    let is_settled = now == self.previous;
                    self.previous = now;
                    if is_settled && let Some(changed) = self.first_change() {
                        let reason = format!("{} has changed", changed.display());
                        self.take();
                        return Some(reason);
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

    /// What has changed in `file` so far is no reason: this process has written it.
    pub fn has_written(&mut self, file: &Path) {
        let now = state(file);
        for (path, states) in self.files.iter().zip(self.loaded.iter_mut().zip(&mut self.previous)) {
            if path == file {
                (*states.0, *states.1) = (now, now);
            }
        }
    }

    fn first_change(&self) -> Option<&Path> {
        let states = self.files.iter().zip(self.loaded.iter().zip(&self.previous));
        states.into_iter().find(|(_, (loaded, now))| loaded != now).map(|(file, _)| file.as_path())
    }

    /// The reload that follows reads the files as they are now, or later.
    fn take(&mut self) {
        self.loaded = states(&self.files);
        self.previous.clone_from(&self.loaded);
    }
}

fn states(files: &[PathBuf]) -> Vec<FileState> {
    files.iter().map(|file| state(file)).collect()
}

fn state(file: &Path) -> FileState {
    let data = fs::metadata(file).ok()?;
    Some((data.ino(), data.size(), [data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()]))
}

/// Whether the configuration file has content. A full disk and a redirection leave an empty one, which would be valid: every
/// setting has its default then.
///
/// # Errors
/// The problem, if it is empty.
pub fn check_not_empty(file: Option<&Path>) -> Result<(), ConfigError> {
    let Some(file) = file else { return Ok(()) };
    match fs::read(file) {
        Ok(content) if content.trim_ascii().is_empty() => {
            Err(ConfigError::Invalid(format!("{}: is empty; restart to use defaults for all settings", file.display())))
        }
        // Reading the configuration reports what is wrong with the file.
        _ => Ok(()),
    }
}

/// Whether the last reload was possible, for `/ready` and the metrics.
#[derive(Clone, Debug, Default)]
pub struct LastReload(Arc<AtomicBool>);

impl LastReload {
    /// Keeps the result of a reload.
    pub fn set(&self, has_failed: bool) {
        self.0.store(has_failed, Ordering::Relaxed);
    }

    /// The value of a gauge: 1 if it failed.
    pub fn gauge(&self) -> f64 {
        f64::from(u8::from(self.0.load(Ordering::Relaxed)))
    }

    /// What an operator should know.
    pub fn notice(&self) -> Option<String> {
        self.0.load(Ordering::Relaxed).then(|| {
            "the configuration on the disk is unusable since its last change, and the previous one is in use: see the log, or \
             run check-config"
                .to_owned()
        })
    }
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
        let changed = |path: &PathBuf| Some(format!("{} has changed", path.display()));
        assert_eq!(next(&mut trigger).await, None);
        std::fs::write(&a, "22").unwrap();
        assert_eq!(next(&mut trigger).await, changed(&a));
        assert_eq!(next(&mut trigger).await, None);
        // A copy that keeps the length and the modification time takes its place.
        let modified = std::fs::metadata(&a).unwrap().modified().unwrap();
        std::fs::write(&b, "33").unwrap();
        std::fs::File::options().write(true).open(&b).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&b, &a).unwrap();
        assert_eq!(next(&mut trigger).await, changed(&a));
        std::fs::write(&a, "4").unwrap();
        trigger.has_written(&a);
        assert_eq!(next(&mut trigger).await, None);
        // A file that is missing at first, and one that is removed.
        trigger.watch(vec![a.clone(), b.clone()] as Vec<PathBuf>);
        assert_eq!(next(&mut trigger).await, None);
        std::fs::write(&b, "1").unwrap();
        assert_eq!(next(&mut trigger).await, changed(&b));
        std::fs::remove_file(&a).unwrap();
        assert_eq!(next(&mut trigger).await, changed(&a));
    }
}
