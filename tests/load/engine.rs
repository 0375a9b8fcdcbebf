//! The load: a number of connections, each with one unit of work after another, for a fixed time; then the figures.
//!
//! Invariant: the warm-up is in no figure, and failed units are counted separately from successful ones.
//!
//! Each connection is a blocking thread: a request and a response of one segment each take two system calls, and the
//! times need no correction for a scheduler.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::process;

/// The parameters of a load.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// The server's address.
    pub(crate) address: SocketAddr,
    /// Its process ID, to read its CPU time.
    pub(crate) pid: u32,
    /// The number of concurrent connections.
    pub(crate) connections: usize,
    /// The duration of the warm-up.
    pub(crate) warm_up: Duration,
    /// The duration of the measurement. A CPU tick is 10 ms, so 5 s or more give useful figures.
    pub(crate) duration: Duration,
}

/// The result of a load.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// The number of successful units of work.
    pub(crate) done: usize,
    /// The number of failed units of work.
    pub(crate) failed: usize,
    /// The measured duration.
    pub(crate) elapsed: Duration,
    /// The median duration of a unit.
    pub(crate) p50: Duration,
    /// The 99th percentile of the duration of a unit.
    pub(crate) p99: Duration,
    /// The CPU time of the server's process in this time.
    pub(crate) cpu: Duration,
    /// Resident memory of the server's process at the end, in bytes.
    pub(crate) memory: u64,
}

const WARM_UP: u8 = 0;
const MEASURE: u8 = 1;
const STOP: u8 = 2;

/// Loads a server with units of work: `worker(i)` makes the one that connection `i` repeats. A unit may be several
/// requests, and returns whether it succeeded.
///
/// # Panics
/// If the server's process exits before the end.
pub(crate) fn run<W>(load: &Load, worker: impl Fn(usize) -> W) -> Figures
where
    W: FnMut(&mut Connection) -> io::Result<bool> + Send + 'static,
{
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let threads: Vec<_> = (0..load.connections)
        .map(|i| {
            let (phase, connection, work) = (Arc::clone(&phase), Connection::new(load.address), worker(i));
            let builder = thread::Builder::new().stack_size(256 * 1024);
            builder.spawn(move || one_connection(&phase, connection, work)).expect("a thread for each connection")
        })
        .collect();
    wait(load.warm_up);
    let (start, cpu_start) = (Instant::now(), process::cpu_time(load.pid).expect("the server runs"));
    phase.store(MEASURE, Ordering::Relaxed);
    wait(load.duration);
    phase.store(STOP, Ordering::Relaxed);
    let (elapsed, cpu_end) = (start.elapsed(), process::cpu_time(load.pid).expect("the server still runs"));

    let memory = process::memory(load.pid).map_or(0, |(now, _)| now);

    let (mut times, mut failed) = (Vec::new(), 0);
    for thread in threads {
        let (of_one, failed_of_one) = thread.join().expect("a worker ends by itself");
        times.extend(of_one);
        failed += failed_of_one;
    }
    times.sort_unstable();
    Figures {
        done: times.len(),
        failed,
        elapsed,
        p50: percentile(&times, 50),
        p99: percentile(&times, 99),
        cpu: cpu_end.saturating_sub(cpu_start),
        memory,
    }
}

/// Loads a server with prepared requests, each a unit of work; the connections start at different ones. A response
/// other than 200 is a failure.
///
/// # Panics
/// Like [`run`], and without any request.
pub(crate) fn run_requests(load: &Load, requests: &Arc<Vec<Vec<u8>>>) -> Figures {
    assert!(!requests.is_empty(), "no requests to send");
    run(load, |i| {
        let requests = Arc::clone(requests);
        let mut next = i * requests.len() / load.connections;
        move |connection: &mut Connection| {
            let request = &requests[next % requests.len()];
            next += 1;
            Ok(connection.exchange(request)?.status == 200)
        }
    })
}

/// The durations of the units of work that began and succeeded within the measured time, and the number of failures.
fn one_connection(
    phase: &AtomicU8,
    mut connection: Connection,
    mut work: impl FnMut(&mut Connection) -> io::Result<bool>,
) -> (Vec<Duration>, usize) {
    let (mut times, mut failed) = (Vec::new(), 0);
    loop {
        let began = phase.load(Ordering::Relaxed);
        let start = Instant::now();
        let done = work(&mut connection).unwrap_or(false);
        let time = start.elapsed();
        match (began, phase.load(Ordering::Relaxed)) {
            (MEASURE, MEASURE) if done => times.push(time),
            (MEASURE, MEASURE) => failed += 1,
            (_, STOP) => return (times, failed),
            _ => {}
        }
        if !done {
            // A server that has exited fails fast: leave it the processor for its restart.
            wait(Duration::from_millis(1));
        }
    }
}

/// The duration that `percent` of the sorted `times` do not exceed (nearest rank); zero if there are none.
fn percentile(times: &[Duration], percent: usize) -> Duration {
    let rank = (times.len() * percent).div_ceil(100);
    times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(crate) fn wait(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a load runs for a time; there is nothing to wait for")]
    thread::sleep(duration);
}

impl Figures {
    /// Units of work per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    /// CPU microseconds of the server for one unit of work.
    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / (self.done + self.failed).max(1) as f64
    }
}

#[cfg(test)]
mod tests;
