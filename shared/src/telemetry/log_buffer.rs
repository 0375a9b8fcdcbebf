//! Log lines are written together: one write for each line costs as much as its text.
//!
//! Invariant: no line is lost while the process can write. A warning or an error, with all lines before it, is written
//! before the call that logs it returns; other lines within [`DELAY`], or when the log ends.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait for others.
const DELAY: Duration = Duration::from_millis(10);

/// How often the writer waits for a full pipe: a second.
const MAX_WAITS: u32 = 100;

/// With this many bytes the call that logs the next line writes: a reader that is slow slows the process down instead of
/// filling its memory.
const MAX_PENDING: usize = 1024 * 1024;

/// The lines that were not written yet.
#[derive(Clone)]
pub(super) struct LogBuffer {
    shared: Arc<Shared>,
    /// Whether a thread writes what is pending.
    has_thread: bool,
}

struct Shared {
    pending: Mutex<Vec<u8>>,
    is_pending: Condvar,
    /// Held from taking the pending lines to the end of the write, so that they are written in order.
    sink: Mutex<Sink>,
}

struct Sink {
    output: Box<dyn Write + Send>,
    /// Empty between writes; keeps its memory.
    lines: Vec<u8>,
}

impl LogBuffer {
    /// A buffer before `output`, and the thread that writes. If the system has no thread, each line is written at once.
    pub(super) fn start(output: impl Write + Send + 'static) -> Self {
        let sink = Mutex::new(Sink { output: Box::new(output), lines: Vec::new() });
        let shared = Arc::new(Shared { pending: Mutex::default(), is_pending: Condvar::new(), sink });
        let writing = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn(move || writing.write_forever());
        Self { shared, has_thread: thread.is_ok() }
    }

    /// Writes what is pending.
    pub(super) fn flush(&self) {
        self.shared.flush();
    }
}

impl Shared {
    fn flush(&self) {
        let mut sink = lock(&self.sink);
        let Sink { output, lines } = &mut *sink;
        std::mem::swap(&mut *lock(&self.pending), lines);
        write_all(output, lines);
        lines.clear();
    }

    fn write_forever(&self) {
        loop {
            let pending = lock(&self.pending);
            let waited = self.is_pending.wait_while(pending, |pending| pending.is_empty());
            drop(waited);
            wait();
            self.flush();
        }
    }
}

/// Writes all lines. A pipe that another program made non-blocking may be full for a moment. Any other error is dropped: a
/// closed standard error leaves no place to report it.
fn write_all(output: &mut Box<dyn Write + Send>, mut lines: &[u8]) {
    let mut waits_left = MAX_WAITS;
    while !lines.is_empty() {
        match output.write(lines) {
            Ok(written) if written > 0 => {
                lines = &lines[written..];
                waits_left = MAX_WAITS;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && waits_left > 0 => {
                waits_left -= 1;
                wait();
            }
            _ => return,
        }
    }
    let _ = output.flush();
}

#[expect(clippy::disallowed_methods, reason = "a write to a blocking pipe that is full waits in the same way")]
fn wait() {
    std::thread::sleep(DELAY);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes one line.
pub(super) struct Line<'a> {
    shared: &'a Shared,
    is_urgent: bool,
}

impl<'a> MakeWriter<'a> for LogBuffer {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { shared: &self.shared, is_urgent: true }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Line<'a> {
        Line { shared: &self.shared, is_urgent: !self.has_thread || *metadata.level() <= Level::WARN }
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pending = lock(&self.shared.pending);
        let was_empty = pending.is_empty();
        pending.extend_from_slice(bytes);
        let is_full = pending.len() > MAX_PENDING;
        drop(pending);
        if is_full || self.is_urgent {
            self.shared.flush();
        } else if was_empty {
            self.shared.is_pending.notify_one();
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
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use tracing_subscriber::layer::SubscriberExt;

    use super::{LogBuffer, MAX_PENDING};

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
        let buffer = LogBuffer::start(writes.clone());
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
        let buffer = LogBuffer::start(slow.clone());
        super::Line { shared: &buffer.shared, is_urgent: true }.write_all(&[b'x'; 101]).unwrap();
        assert_eq!(slow.0.text().len(), 101);
    }

    #[test]
    fn a_warning_is_written_at_once_behind_the_lines_before_it() {
        let writes = Writes::default();
        let buffer = LogBuffer::start(writes.clone());
        let lines = tracing_subscriber::fmt::layer().without_time().with_ansi(false).with_writer(buffer);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
            tracing::info!("first");
            tracing::warn!("second");
            let text = writes.text();
            assert!(text.find("first").unwrap() < text.find("second").unwrap(), "{text}");
        });
    }

    #[test]
    fn a_line_alone_is_written_without_another_and_a_full_buffer_by_its_writer() {
        let writes = Writes::default();
        let buffer = LogBuffer::start(writes.clone());
        let line = |bytes: &[u8]| super::Line { shared: &buffer.shared, is_urgent: false }.write_all(bytes).unwrap();
        line(b"alone\n");
        let deadline = Instant::now() + Duration::from_secs(20);
        while writes.text() != "alone\n" {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        line(&vec![b'x'; MAX_PENDING + 1]);
        assert_eq!(writes.text().len(), 6 + MAX_PENDING + 1);
    }
}
