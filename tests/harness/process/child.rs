//! A child process and the collection of its output.
//!
//! Invariant: it is killed and waited for when it is dropped. Threads, not tasks, collect its output, so that no test's
//! way of using its runtime can fill the pipe.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Running {
    pub(super) process: Child,
    pub(super) output: Collected,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Running {
    /// Starts `command`; what it writes to standard error is collected too, or goes to `log`.
    pub(super) fn spawn(mut command: Command, log: Option<&Path>) -> Self {
        // For appending, so that a reader may empty it meanwhile.
        let log = log.map(|path| File::options().create(true).append(true).open(path).expect("the log can be written"));
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(log.map_or_else(Stdio::piped, Stdio::from))
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let output = Collected::default();
        let mut readers = Vec::new();
        readers.extend(process.stdout.take().map(|pipe| output.read(pipe)));
        readers.extend(process.stderr.take().map(|pipe| output.read(pipe)));
        Self { process, output, readers }
    }

    /// How it ended; `None` while it runs.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().expect("the child can be asked for")
    }

    /// Kills it, if it still runs, and waits for its end.
    pub(super) fn kill(&mut self) {
        // An error means that it has ended already.
        drop(self.process.kill());
        drop(self.process.wait());
        self.join_readers();
    }

    /// Waits for the rest of the output of a process that has ended.
    pub(super) fn join_readers(&mut self) {
        for reader in self.readers.drain(..) {
            drop(reader.join());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Collected(Arc<Mutex<String>>);

impl Collected {
    pub(super) fn text(&self) -> String {
        self.lock().clone()
    }

    /// The address that follows `marker`, at the end of a complete line or before a blank.
    pub(super) fn address_after(&self, marker: &str) -> Option<SocketAddr> {
        let output = self.lock();
        let complete = &output[..=output.rfind('\n')?];
        let rest = &complete[complete.find(marker)? + marker.len()..];
        rest.split(|c: char| !c.is_ascii_hexdigit() && !".:[]".contains(c)).next()?.parse().ok()
    }

    pub(super) fn prepend(&self, before: &str) {
        self.lock().insert_str(0, before);
    }

    /// Collects a pipe by whole lines, so that two pipes never mix within one.
    fn read(&self, pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<()> {
        let collected = self.clone();
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                collected.lock().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
