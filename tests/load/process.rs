//! The cost of a process so far: CPU time and memory, as Linux counts them.
//!
//! Invariant: all threads count, also those that have ended; children do not.

use std::io;
use std::time::Duration;

/// Linux reports ticks of 1/100 s to user space on every architecture (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// User and system time of process `pid`; `None` if it does not exist.
pub(crate) fn cpu_time(pid: u32) -> Option<Duration> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Resident memory of process `pid` in bytes: now, and its peak; `None` if it does not exist.
pub(crate) fn memory(pid: u32) -> Option<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((size(&status, "VmRSS:")?, size(&status, "VmHWM:")?))
}

/// Resets the peak of [`memory`]: proc(5), `clear_refs`.
///
/// # Errors
/// If the process does not exist, or belongs to another user.
pub(crate) fn forget_peak(pid: u32) -> io::Result<()> {
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// The load average of the machine over one minute.
///
/// # Errors
/// If the system does not report it.
pub(crate) fn load_average() -> io::Result<String> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().to_owned())
}

/// The field `name` of `/proc/PID/status` (proc(5)), which is in KiB, in bytes.
fn size(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kib * 1024)
}

/// Fields 14 and 15 of `/proc/PID/stat` (proc(5)): utime and stime of the whole process.
fn parse(stat: &str) -> Option<Duration> {
    // The name, field 2, is in parentheses and may contain anything, also blanks and parentheses.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(TICK * (user + system))
}

#[cfg(test)]
mod tests {
    use super::{cpu_time, memory, parse, size};
    use std::time::{Duration, Instant};

    #[test]
    fn the_name_of_a_process_does_not_confuse_it() {
        let stat = "42 (a ) b (c) S 1 42 42 0 -1 4194304 100 0 0 0 250 30 7 9 20 0 4 0 1000 1 1 1";
        assert_eq!(parse(stat), Some(Duration::from_millis(2800)));
        assert_eq!(parse("42 (x"), None);
    }

    #[test]
    fn memory_is_counted_in_bytes() {
        let status = "Name:\tVmRSS:\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n";
        assert_eq!((size(status, "VmRSS:"), size(status, "VmHWM:")), (Some(10 << 20), Some(20 << 20)));
        assert_eq!(size(status, "VmSwap:"), None);
        let (now, peak) = memory(std::process::id()).unwrap();
        assert!(now > 1 << 20 && peak >= now, "{now}, {peak}");
        assert_eq!(memory(u32::MAX), None);
    }

    #[test]
    fn work_on_any_thread_shows() {
        let before = cpu_time(std::process::id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        std::thread::spawn(move || {
            while cpu_time(std::process::id()).unwrap() < before + Duration::from_millis(30) {
                assert!(Instant::now() < deadline, "no CPU time was counted");
            }
        })
        .join()
        .unwrap();
        assert_eq!(cpu_time(u32::MAX), None);
    }
}
