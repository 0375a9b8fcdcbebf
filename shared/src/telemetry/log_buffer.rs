//! Log lines are written together: one write for each line costs as much as its text.
//!
//! Invariant: no line is lost while the log is read. A warning or an error, with all lines before it, is written
//! before the call that logs it returns; other lines within [`DELAY`], or when the log ends. Where the log is not read, for
//! example a pipe whose reader hangs, the process goes on: one call waits for [`PATIENCE`], later ones do not, and lines that
//! find no room are counted.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const DELAY: Duration = Duration::from_millis(10);

/// The lines that wait take at most this many bytes, and the one that exceeds it.
const MAX_PENDING: usize = 1024 * 1024;

/// How long a call waits for a write, unless another call has waited for it as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long the end of the process waits for the last lines.
const PATIENCE_AT_END: Duration = Duration::from_secs(3);

thread_local! {
    /// Whether this is the thread that writes: it cannot wait for itself.
    static WRITES: Cell<bool> = const { Cell::new(false) };
}

/// The lines that were not written yet.
#[derive(Clone)]
pub(super) struct LogBuffer {
    shared: Arc<Shared>,
    /// Whether a thread writes what is pending.
    has_thread: bool,
}

struct Shared {
    lines: Mutex<Lines>,
    /// For the thread: there is a line, or a line that does not wait for others.
    is_due: Condvar,
    /// For the calls that wait: lines were written.
    is_written: Condvar,
    output: Mutex<Box<dyn Write + Send>>,
}

#[derive(Default)]
struct Lines {
    pending: Vec<u8>,
    /// The bytes that were ever added, and of them those that were written.
    added: u64,
    written: u64,
    is_urgent: bool,
    /// Whether a call has waited for the present write as long as it may.
    is_stuck: bool,
    /// The lines without room since the last report.
    lost: u64,
}

impl LogBuffer {
    /// A buffer before `output`, and the thread that writes and calls `report_lost` with the number of lost lines when the
    /// log is read again. If the system has no thread, each line is written at once.
    pub(super) fn start(output: impl Write + Send + 'static, report_lost: impl Fn(u64) + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            lines: Mutex::default(),
            is_due: Condvar::new(),
            is_written: Condvar::new(),
            output: Mutex::new(Box::new(output)),
        });
        let writing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            WRITES.set(true);
            writing.write_forever(&report_lost);
        });
        Self { shared, has_thread: thread.is_ok() }
    }

    /// Waits until all lines so far are written, within limits.
    pub(super) fn flush(&self) {
        let mut lines = lock(&self.shared.lines);
        let end = lines.added;
        lines.is_urgent = true;
        self.shared.is_due.notify_one();
        let is_missing = |lines: &mut Lines| lines.written < end;
        drop(self.shared.is_written.wait_timeout_while(lines, PATIENCE_AT_END, is_missing));
    }
}

impl Shared {
    fn write_forever(&self, report_lost: &impl Fn(u64)) {
        let mut batch = Vec::new();
        loop {
            let lines = wait(self.is_due.wait_while(lock(&self.lines), |lines| lines.pending.is_empty()));
            let waited = self.is_due.wait_timeout_while(lines, DELAY, |lines| !lines.is_urgent);
            let mut lines = wait(waited).0;
            std::mem::swap(&mut lines.pending, &mut batch);
            lines.is_urgent = false;
            drop(lines);
            write_all(&mut *lock(&self.output), &batch);
            let mut lines = lock(&self.lines);
            lines.written += batch.len() as u64;
            lines.is_stuck = false;
            let lost = std::mem::take(&mut lines.lost);
            drop(lines);
            self.is_written.notify_all();
            batch.clear();
            if lost > 0 {
                report_lost(lost);
            }
        }
    }

    /// Adds a line and waits as far as it has to.
    fn add(&self, line: &[u8], is_urgent: bool) {
        let mut lines = self.wait_while(lock(&self.lines), |lines| lines.pending.len() > MAX_PENDING);
        if lines.pending.len() > MAX_PENDING {
            lines.lost += 1;
            return;
        }
        let was_empty = lines.pending.is_empty();
        lines.pending.extend_from_slice(line);
        lines.added += line.len() as u64;
        lines.is_urgent |= is_urgent;
        if was_empty || is_urgent {
            self.is_due.notify_one();
        }
        if is_urgent {
            let end = lines.added;
            drop(self.wait_while(lines, |lines| lines.written < end));
        }
    }

    fn wait_while<'a>(
        &self,
        lines: MutexGuard<'a, Lines>,
        mut condition: impl FnMut(&Lines) -> bool,
    ) -> MutexGuard<'a, Lines> {
        if WRITES.get() {
            return lines;
        }
        let waiting = |lines: &mut Lines| !lines.is_stuck && condition(lines);
        let (mut lines, waited) = wait(self.is_written.wait_timeout_while(lines, PATIENCE, waiting));
        lines.is_stuck |= waited.timed_out();
        lines
    }
}

/// Writes all lines. A full pipe blocks, or says that it would: other programs with the same pipe may have made it so. Any
/// other error is dropped: a closed standard error leaves no place to report it.
fn write_all(output: &mut dyn Write, mut lines: &[u8]) {
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(written) if written > 0 => lines = &lines[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(),
            _ => return,
        }
    }
    let _ = output.flush();
}

#[expect(clippy::disallowed_methods, reason = "a write to a blocking pipe that is full waits in the same way")]
fn sleep() {
    std::thread::sleep(DELAY);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    wait(mutex.lock())
}

/// A panic of another thread leaves whole lines behind.
fn wait<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// Takes one line.
pub(super) struct Line<'a> {
    buffer: &'a LogBuffer,
    is_urgent: bool,
}

impl<'a> MakeWriter<'a> for LogBuffer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { buffer: self, is_urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { buffer: self, is_urgent: *metadata.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let LogBuffer { shared, has_thread } = self.buffer;
        if *has_thread {
            shared.add(bytes, self.is_urgent);
        } else {
            write_all(&mut *lock(&shared.output), bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::{Duration, Instant};

    use tracing_subscriber::layer::SubscriberExt;

    use super::{LogBuffer, MAX_PENDING, PATIENCE, lock};

    /// Remembers each write.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Writes {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().concat()).unwrap()
        }

        fn number(&self) -> usize {
            self.0.lock().unwrap().iter().filter(|bytes| !bytes.is_empty()).count()
        }
    }

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_many_threads_are_all_written_whole_and_together() {
        let writes = Writes::default();
        let buffer = LogBuffer::start(writes.clone(), |_| {});
        let lines = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(buffer.clone());
        let log = tracing::Dispatch::new(tracing_subscriber::registry().with(lines));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let log = log.clone();
                scope.spawn(move || {
                    let log_lines = || (0..500).for_each(|line| tracing::info!(thread, line, "counted"));
                    tracing::dispatcher::with_default(&log, log_lines);
                });
            }
        });
        buffer.flush();
        for thread in 0..4 {
            let own = format!("thread={thread} line=");
            let text = writes.text();
            let numbers: Vec<usize> =
                text.lines().filter_map(|line| line.split_once(&own)?.1.trim().parse().ok()).collect();
            assert_eq!(numbers, (0..500).collect::<Vec<_>>());
        }
        assert!(writes.number() < 1000, "{}", writes.number());
    }

    #[test]
    fn a_full_pipe_that_does_not_block_loses_no_line() {
        /// Takes one byte, every other time.
        #[derive(Clone, Default)]
        struct Slow(Writes, Arc<Mutex<u32>>);

        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let mut calls = self.1.lock().unwrap();
                *calls += 1;
                if *calls % 2 == 1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                self.0.write(&bytes[..bytes.len().min(20)])
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let slow = Slow::default();
        let buffer = LogBuffer::start(slow.clone(), |_| {});
        buffer.shared.add(&[b'x'; 101], true);
        assert_eq!(slow.0.text().len(), 101);
    }

    #[test]
    fn a_warning_is_written_at_once_behind_the_lines_before_it() {
        let writes = Writes::default();
        let buffer = LogBuffer::start(writes.clone(), |_| {});
        let lines = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(buffer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!("first");
            tracing::warn!("second");
            let text = writes.text();
            assert!(text.find("first").unwrap() < text.find("second").unwrap(), "{text}");
        });
    }

    #[test]
    fn a_line_alone_is_written_without_another() {
        let writes = Writes::default();
        let buffer = LogBuffer::start(writes.clone(), |_| {});
        buffer.shared.add(b"alone\n", false);
        until(|| writes.text() == "alone\n");
        buffer.shared.add(&vec![b'x'; MAX_PENDING + 1], false);
        buffer.shared.add(b"behind\n", true);
        assert!(writes.text().ends_with("xbehind\n"));
    }

    #[test]
    fn a_log_that_is_not_read_holds_one_call_for_a_moment_and_counts_what_it_lost() {
        /// A pipe whose reader hangs at first.
        #[derive(Clone, Default)]
        struct Pipe(Writes, Arc<(Mutex<bool>, Condvar)>);

        impl Write for Pipe {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let (is_read, changed) = &*self.1;
                drop(changed.wait_while(is_read.lock().unwrap(), |is_read| !*is_read).unwrap());
                self.0.write(bytes)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let pipe = Pipe::default();
        let lost = Arc::new(Mutex::new(0));
        let reported = Arc::clone(&lost);
        let buffer = LogBuffer::start(pipe.clone(), move |lines| *reported.lock().unwrap() += lines);
        let began = Instant::now();
        buffer.shared.add(b"first\n", true);
        assert!(began.elapsed() >= PATIENCE);
        let line = vec![b'x'; MAX_PENDING / 4];
        let taken = (0..100).filter(|_| {
            buffer.shared.add(&line, true);
            lock(&buffer.shared.lines).lost == 0
        });
        let taken = taken.count();
        assert!(taken < 10, "{taken}");
        // The hundred calls did not wait for a second each, and neither does the end.
        buffer.flush();
        assert!(began.elapsed() < PATIENCE * 60);

        let (is_read, changed) = &*pipe.1;
        *is_read.lock().unwrap() = true;
        changed.notify_all();
        until(|| *lost.lock().unwrap() == 100 - taken as u64);
        buffer.shared.add(b"last\n", true);
        assert!(pipe.0.text().ends_with("xlast\n"));
        assert_eq!(pipe.0.text().len(), 6 + taken * line.len() + 5);
    }

    fn until(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
    }
}
