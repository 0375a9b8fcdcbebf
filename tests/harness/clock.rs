//! The clock of a service, which the test steps: libfaketime below the real binary.
//!
//! Invariant: only the time of day is faked; timeouts and waits of the service are real.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::process::new_folder;
use crate::skipped;

/// The thread-safe build of the library.
const LIBRARY: &str = "libfaketimeMT.so.1";

/// The difference between the time of day of a service and that of everything else.
#[derive(Debug)]
pub struct SteppedClock {
    folder: TempDir,
    library: PathBuf,
}

impl SteppedClock {
    /// A clock that is `seconds` ahead.
    ///
    /// `None` without libfaketime on this machine; the test is then listed as skipped.
    ///
    /// # Panics
    /// Without libfaketime if `CI=true`.
    pub fn ahead_by(seconds: i64) -> Option<Self> {
        let Some(library) = find(&["/usr/lib", "/usr/lib64", "/usr/local/lib"]) else {
            skipped::test("libfaketime (package faketime)");
            return None;
        };
        let clock = Self { folder: new_folder(), library };
        clock.set(seconds);
        Some(clock)
    }

    /// Sets the difference, also for running services.
    ///
    /// # Panics
    /// If its file cannot be written.
    pub fn set(&self, seconds: i64) {
        // By a rename: no reader finds half a file.
        let new = self.folder.path().join("new");
        let written = std::fs::write(&new, format!("{seconds:+}s\n")).and_then(|()| std::fs::rename(&new, self.file()));
        written.expect("a folder of the test's own can be written");
    }

    /// The environment of a service with this clock.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }
}

/// Debian has it in a folder of the architecture, others directly below the folder of libraries.
fn find(folders: &[&str]) -> Option<PathBuf> {
    let candidate = |folder: &Path| Some(folder.join("faketime").join(LIBRARY)).filter(|path| path.is_file());
    folders.iter().find_map(|folder| {
        candidate(Path::new(folder)).or_else(|| {
            let entries = std::fs::read_dir(folder).ok()?;
            entries.filter_map(Result::ok).find_map(|entry| candidate(&entry.path()))
        })
    })
}
