//! The identity server's part of the load run.
//!
//! Invariant: a row is printed only after one unit of its work has succeeded.

mod fill;
mod floor;
mod scenarios;
mod world;

use std::io::{self, Write};
use std::thread::available_parallelism;

pub(crate) use self::floor::{BARE_LOOKUP, bare_lookup};
use self::scenarios::Scenario;
use self::world::{Index, World};
use crate::bare::Bare;
use crate::engine::{Figures, Load};
use crate::options::Options;
use crate::table::{self, Tally};
use crate::{WARM_UP, process};

/// The limit of the resident memory, in MiB.
const MEMORY_AT_MOST: u32 = 30;

/// The limit from start to the first response with 1,000,000 associations, in seconds.
const START_AT_MOST: u32 = 2;

/// Measures every requested unit of work.
///
/// # Errors
/// If the first unit of a kind fails, or the figures cannot be read.
pub(crate) fn run(options: &Options) -> io::Result<Tally> {
    // For the fakes; the driver has its own threads.
    let runtime = tokio::runtime::Runtime::new()?;
    let mut out = io::stdout();
    let world = runtime.block_on(World::start(options));
    let scenarios: Vec<_> =
        Scenario::all(&world).into_iter().filter(|scenario| scenario.name.contains(&options.only)).collect();
    write!(out, "{}", introduction(options, &world)?)?;
    let bare = scenarios.iter().any(|scenario| scenario.name.starts_with("lookup")).then(|| {
        let mut bare = Bare::start(&[BARE_LOOKUP, &options.associations.to_string(), &world.pepper])?;
        let address = bare.address()?;
        Ok::<_, io::Error>((bare, address))
    });
    let bare = bare.transpose()?;
    let mut tally = Tally::NONE;
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
            tally.count(runs.iter().all(|run| run.done > 0 && run.failed == 0));
            writeln!(out, "{}", table::row(&scenario.name, connections, scenario.at_most, runs))?;
            if let Some((bare, address)) = &bare
                && scenario.name.starts_with("lookup")
            {
                let load = Load { address: *address, pid: bare.pid(), ..load };
                let runs = (0..options.runs).map(|_| scenario.run(&load)).collect();
                writeln!(out, "{}", table::row(&format!("{}, bare", scenario.name), connections, None, runs))?;
            }
            out.flush()?;
        }
    }
    let (now, peak) = memory(&world)?;
    writeln!(out, "\nResident memory after the load {now:.1} MiB, at most {peak:.1} MiB.")?;
    Ok(tally)
}

fn introduction(options: &Options, world: &World) -> io::Result<String> {
    let database = if options.postgres { "PostgreSQL" } else { "SQLite" };
    let (associations, start) = (options.associations, world.start_to_ready.as_secs_f64());
    let (now, peak) = memory(world)?;
    let cores = available_parallelism()?;
    let busy = process::load_average()?;
    let seconds = options.duration.as_secs();
    let index = world.index.as_ref().map_or_else(
        || "Lookups are answered from the database.".to_owned(),
        |Index { start_to_index, bytes_each }| {
            let start = start_to_index.as_secs_f64();
            format!("Start to lookups from memory {start:.3} s; the index has {bytes_each:.1} bytes an association.")
        },
    );
    Ok(format!(
        "The identity server, built for release, on {database} with {associations} associations; process {}.\n\
         Default settings, but [limits] enabled = false. Its log, a line for each request, goes to a file that is\n\
         emptied before each row. {cores} cores for the server, this driver and the fakes; load average before: {busy}.\n\
         Each row: {seconds} s after {} s of warm-up, {} times. CPU: user and system time of the server's process.\n\n\
         Start to first answer {start:.3} s (ours at most: {START_AT_MOST} s with 1,000,000 associations).\n\
         {index}\n\
         Beside each lookup a handler that does nothing else: JSON, base64, std's HashMap, JSON.\n\
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
    let (now, peak) = process::memory(world.pid()).ok_or_else(|| io::Error::other("the server is gone"))?;
    Ok((table::mebibytes(now), table::mebibytes(peak)))
}
