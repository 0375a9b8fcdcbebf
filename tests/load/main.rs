//! The load run: what units of work cost the identity server, and what we allow ourselves.
//!
//! Invariant: driver, fakes and server share the machine, so only figures of one run can be compared.

mod connection;
mod engine;
mod fill;
mod options;
mod process;
mod scenarios;
mod single;
mod table;
mod world;

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Duration;

use engine::{Figures, Load};
use options::{Options, USAGE};
use scenarios::Scenario;
use world::World;

/// Resident memory that we allow ourselves, in MiB.
const MEMORY_AT_MOST: u32 = 30;

/// From start to the first answer with 1,000,000 associations, in seconds.
const START_AT_MOST: u32 = 2;

/// How long each row works before its figures start.
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        // The alias has given cargo its "--" already; `cargo load -- --postgres` brings a second one here.
        ["--", rest @ ..] | rest => match rest {
            ["--help" | "-h", ..] => io::stdout().write_all(USAGE.as_bytes()).map(|()| true),
            ["request", rest @ ..] => match single::read(rest) {
                Some((load, request)) => single::run(&load, &request),
                None => refuse(),
            },
            _ => match Options::read(rest) {
                Some(options) => whole(&options),
                None => refuse(),
            },
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing to do about a closed terminal.
            drop(writeln!(io::stderr(), "load: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn refuse() -> io::Result<bool> {
    io::stderr().write_all(USAGE.as_bytes()).map(|()| false)
}

/// The whole run; false if any unit of work failed.
fn whole(options: &Options) -> io::Result<bool> {
    // For the fakes; the driver's threads are its own.
    let runtime = tokio::runtime::Runtime::new()?;
    let mut out = io::stdout();
    let world = runtime.block_on(World::start(options));
    let scenarios: Vec<_> =
        Scenario::all(&world).into_iter().filter(|scenario| scenario.name.contains(&options.only)).collect();
    write!(out, "{}", introduction(options, &world)?)?;
    let mut good = !scenarios.is_empty();
    for scenario in &scenarios {
        for &connections in &options.connections {
            let load = Load {
                address: world.address(),
                pid: world.pid(),
                connections,
                warm_up: WARM_UP,
                duration: options.duration,
            };
            scenario.try_once(&load).map_err(io::Error::other)?;
            let runs: Vec<Figures> = (0..options.runs)
                .map(|_| {
                    world.empty_log();
                    scenario.run(&load)
                })
                .collect();
            good &= runs.iter().all(|run| run.done > 0 && run.failed == 0);
            writeln!(out, "{}", table::row(&scenario.name, connections, scenario.at_most, runs))?;
            out.flush()?;
        }
    }
    let (now, peak) = memory(&world)?;
    writeln!(out, "\nResident memory after the load {now:.1} MiB, at most {peak:.1} MiB.")?;
    Ok(good)
}

fn introduction(options: &Options, world: &World) -> io::Result<String> {
    let database = if options.postgres { "PostgreSQL" } else { "SQLite" };
    let (associations, start) = (options.associations, world.start_to_ready.as_secs_f64());
    let (now, peak) = memory(world)?;
    let cores = available_parallelism()?;
    let busy = std::fs::read_to_string("/proc/loadavg")?;
    let busy = busy.split(' ').next().unwrap_or_default();
    let seconds = options.duration.as_secs();
    Ok(format!(
        "The identity server, built for release, on {database} with {associations} associations; process {}.\n\
         Default settings, but [limits] enabled = false. Its log, a line for each request, goes to a file that is\n\
         emptied before each row. {cores} cores for the server, this driver and the fakes; load average before: {busy}.\n\
         Each row: {seconds} s after {} s of warm-up, {} times. CPU: user and system time of the server's process.\n\n\
         Start to first answer {start:.3} s (ours at most: {START_AT_MOST} s with 1,000,000 associations).\n\
         Resident memory at rest {now:.1} MiB, at most {peak:.1} MiB (ours at most: {MEMORY_AT_MOST} MiB).\n\n\
         {}\n",
        world.pid(),
        WARM_UP.as_secs(),
        options.runs,
        table::HEAD,
    ))
}

/// Resident memory of the server in MiB, now and at its peak.
fn memory(world: &World) -> io::Result<(f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "to one digit after the point")]
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (now, peak) = process::memory(world.pid()).ok_or_else(|| io::Error::other("the server is gone"))?;
    Ok((mebibytes(now), mebibytes(peak)))
}
