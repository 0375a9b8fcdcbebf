//! The push gateway's part of the load run: the cost of a delivery, and the cost of the same bytes in programs that do
//! nothing else.
//!
//! Invariant: the three costs of a row are measured one right after another, so that other load of the machine affects
//! all of them equally.

mod floor;
mod providers;
mod requests;
mod table;
mod world;

use std::io::{self, Write};
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

pub(crate) use self::floor::{
    BARE_CLIENT, BARE_CRYPTOGRAPHY, BARE_HANDLER, bare_client, bare_cryptography, bare_handler,
};

use self::floor::Floor;
use self::providers::Provider;
use self::table::{Row, Run};
use self::world::World;
use crate::engine::{self, Load};
use crate::options::Options;
use crate::table::{Tally, mebibytes};
use crate::{WARM_UP, process};

/// The latency of the distant push services, from a request to its response.
const DISTANCE: Duration = Duration::from_millis(50);

/// The number of concurrent homeservers where the push service is distant.
const DISTANT_CONNECTIONS: usize = 64;

/// Measures every requested row.
///
/// # Errors
/// If the first push of a row is not delivered, or the figures cannot be read.
pub(crate) fn run(options: &Options) -> io::Result<Tally> {
    let world = World::start()?;
    let mut out = io::stdout();
    write!(out, "{}", introduction(options, &world)?)?;
    let mut tally = Tally::NONE;
    for row in rows(options).iter().filter(|row| row.name().contains(&options.only)) {
        world.try_once(row)?;
        let runs = (0..options.runs).map(|_| measure(&world, row, options.duration)).collect::<io::Result<Vec<_>>>()?;
        tally.count(runs.iter().all(Run::is_good));
        writeln!(out, "{}", table::line(row, runs))?;
        out.flush()?;
    }
    let (now, _) = process::memory(world.pid()).ok_or_else(|| io::Error::other("the gateway is gone"))?;
    writeln!(out, "\nResident memory after the load {:.1} MiB.", mebibytes(now))?;
    Ok(tally)
}

fn rows(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for (provider, one, ten) in [
        (Provider::Apns, 30, 12),
        (Provider::Fcm, 45, 20),
        (Provider::WebPush, 130, 0),
        (Provider::UnifiedPush, 45, 0),
        (Provider::Huawei, 0, 0),
        (Provider::Relay, 60, 0),
    ] {
        for &devices in provider.devices() {
            let at_most = if devices == 1 { one } else { ten };
            let row = |&connections: &usize| Row { provider, devices, connections, at_most, distant: false };
            rows.extend(options.connections.iter().map(row));
        }
    }
    for provider in Provider::ALL {
        let all = [(1, DISTANT_CONNECTIONS), (10, 1), (10, DISTANT_CONNECTIONS)];
        for (devices, connections) in all.into_iter().filter(|(devices, _)| provider.devices().contains(devices)) {
            rows.push(Row { provider, devices, connections, at_most: 0, distant: true });
        }
    }
    rows
}

/// The gateway, then the programs that do nothing else, with the same requests and concurrency.
fn measure(world: &World, row: &Row, duration: Duration) -> io::Result<Run> {
    let load = |address, pid| Load { address, pid, connections: row.connections, warm_up: WARM_UP, duration };
    let gateway = load(world.address(), world.pid());
    world.empty_log();
    process::forget_peak(gateway.pid)?;
    let figures = engine::run(&gateway, |_| world.pushes(row));
    let (_, peak) = process::memory(gateway.pid).unwrap_or_default();
    let floor = match row.distant {
        // Its duration depends only on the distance.
        true => None,
        false => Some(Floor {
            client: floor::price_of_client(world, row, duration)?,
            handler: floor::price_of_handler(|address, pid| {
                engine::run(&load(address, pid), |_| world.pushes(row)).cpu_micros()
            })?,
            cryptography: match row.provider {
                Provider::WebPush => Some(floor::price_of_cryptography(duration)?),
                _ => None,
            },
        }),
    };
    Ok(Run { figures, peak, floor })
}

fn introduction(options: &Options, world: &World) -> io::Result<String> {
    let (now, _) = process::memory(world.pid()).ok_or_else(|| io::Error::other("the gateway is gone"))?;
    Ok(format!(
        "The push gateway, built for release; process {}. Default settings, the log (a line for each request) to a file\n\
         that is emptied before each row. Every event and every pushkey is a new one. {} cores for the gateway, this\n\
         driver and the push services, which take everything; load average before: {}.\n\
         Each row: {} s after {} s of warm-up, {} times; the one with the median price is shown, with the ends.\n\
         CPU: user and system time of the process for a notification. Beside it, with the same bodies and as many at the\n\
         same time: a program that only posts them to the same push services, a program that only takes the\n\
         homeservers' requests and answers them, for Web Push one that only encrypts, and how many times what these\n\
         take together the gateway takes.\n\
         Resident memory at rest {:.1} MiB.\n\n{}\n",
        world.pid(),
        available_parallelism()?,
        process::load_average()?,
        options.duration.as_secs(),
        WARM_UP.as_secs(),
        options.runs,
        mebibytes(now),
        table::HEAD,
    ))
}

/// The file with the first push of a provider, unchanged, for the bare client to repeat.
fn specimen(folder: &Path, provider: Provider) -> std::path::PathBuf {
    folder.join(format!("{}.json", provider.name()))
}
