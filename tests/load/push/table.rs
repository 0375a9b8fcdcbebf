//! The push gateway's table: a row for each provider, number of devices in a request, and number of connections.
//!
//! Invariant: each cost appears beside its limit and the cost of the same bytes without a gateway.

use super::DISTANCE;
use super::floor::Floor;
use super::providers::Provider;
use crate::engine::Figures;
use crate::table::mebibytes;

/// The head of the table with the lines of [`line()`].
pub(super) const HEAD: &str = "\
| deliveries | connections | requests/s | p50 ms | p99 ms | CPU µs/notification | ours at most | bare client | \
bare handler | encryption | times these | peak MiB | failed |
|---|---|---|---|---|---|---|---|---|---|---|---|---|";

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) provider: Provider,
    /// In one request.
    pub(super) devices: usize,
    /// The number of concurrent homeservers.
    pub(super) connections: usize,
    /// The limit of one notification, in CPU microseconds.
    pub(super) at_most: u32,
    /// Whether the push service is [`DISTANCE`] away: then only the durations matter.
    pub(super) distant: bool,
}

/// The result of one run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    /// The durations of requests, each for several devices.
    pub(super) figures: Figures,
    /// The gateway's peak resident memory in this time, in bytes.
    pub(super) peak: u64,
    /// `None` where only the durations matter.
    pub(super) floor: Option<Floor>,
}

impl Row {
    pub(super) fn name(&self) -> String {
        let devices = if self.devices == 1 { "1 device".to_owned() } else { format!("{} devices", self.devices) };
        let distance = if self.distant { format!(", {} ms away", DISTANCE.as_millis()) } else { String::new() };
        format!("{}, {devices}{distance}", self.provider.title())
    }
}

impl Run {
    /// Whether everything was delivered.
    pub(super) fn is_good(&self) -> bool {
        self.figures.done > 0 && self.figures.failed == 0
    }

    /// CPU microseconds of the gateway for one notification.
    fn price(&self, row: &Row) -> f64 {
        self.figures.cpu_micros() / devices(row)
    }

    /// The gateway's cost of one notification as a multiple of the floor's.
    fn times_floor(&self, row: &Row) -> Option<f64> {
        self.floor.as_ref().map(|floor| {
            self.price(row) / (floor.client + floor.handler / devices(row) + floor.cryptography.unwrap_or_default())
        })
    }
}

/// The line of some runs of a row: durations and memory of the run with the median cost; the median cost, with the
/// lowest and the highest if there are several runs.
///
/// # Panics
/// Without any run.
pub(super) fn line(row: &Row, mut runs: Vec<Run>) -> String {
    runs.sort_by(|a, b| a.price(row).total_cmp(&b.price(row)));
    let of = |what: &dyn Fn(&Run) -> Option<f64>, digits| median(runs.iter().filter_map(what).collect(), digits);
    let run = &runs[runs.len() / 2];
    let (p50, p99) = (run.figures.p50.as_secs_f64() * 1e3, run.figures.p99.as_secs_f64() * 1e3);
    let (name, connections, rate) = (row.name(), row.connections, run.figures.per_second());
    let price = of(&|run| Some(run.price(row)), 1);
    let at_most = if row.at_most > 0 { row.at_most.to_string() } else { NONE.to_owned() };
    let client = of(&|run| run.floor.as_ref().map(|floor| floor.client), 1);
    let handler = of(&|run| run.floor.as_ref().map(|floor| floor.handler), 1);
    let cryptography = of(&|run| run.floor.as_ref()?.cryptography, 1);
    let (times, peak) = (of(&|run| run.times_floor(row), 2), mebibytes(run.peak));
    let failed: usize = runs.iter().map(|run| run.figures.failed).sum();
    format!(
        "| {name} | {connections} | {rate:.0} | {p50:.2} | {p99:.2} | {price} | {at_most} | {client} | {handler} | \
         {cryptography} | {times} | {peak:.1} | {failed} |"
    )
}

const NONE: &str = "–";

/// With the lowest and the highest, if there are several.
fn median(mut values: Vec<f64>, digits: usize) -> String {
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => NONE.to_owned(),
        [only] => format!("{only:.digits$}"),
        [first, .., last] => {
            format!("{:.digits$} ({first:.digits$} to {last:.digits$})", values[values.len() / 2])
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a handful")]
fn devices(row: &Row) -> f64 {
    row.devices as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{HEAD, Row, Run, line};
    use crate::engine::Figures;
    use crate::push::floor::Floor;
    use crate::push::providers::Provider;

    fn run(cpu: u64, floor: Option<Floor>) -> Run {
        let figures = Figures {
            done: 1000,
            failed: 0,
            elapsed: Duration::from_secs(2),
            p50: Duration::from_micros(1500),
            p99: Duration::from_millis(20),
            cpu: Duration::from_micros(cpu * 1000),
            memory: 0,
        };
        Run { figures, peak: 3 << 19, floor }
    }

    fn row(devices: usize) -> Row {
        Row { provider: Provider::Apns, devices, connections: 16, at_most: 12, distant: false }
    }

    #[test]
    fn a_line_has_the_columns_of_the_head() {
        let one = line(&row(10), vec![run(200, Some(Floor { client: 8.0, handler: 20.0, cryptography: None }))]);
        assert_eq!(one, "| APNs, 10 devices | 16 | 500 | 1.50 | 20.00 | 20.0 | 12 | 8.0 | 20.0 | – | 2.00 | 1.5 | 0 |");
        assert_eq!(HEAD.lines().next().unwrap().matches('|').count(), one.matches('|').count());
    }

    #[test]
    fn of_several_runs_the_middle_one_is_shown_with_the_ends() {
        let floor = || Some(Floor { client: 4.0, handler: 4.0, cryptography: Some(2.0) });
        let three = line(&row(1), vec![run(30, floor()), run(10, floor()), run(20, floor())]);
        assert!(three.contains("| 20.0 (10.0 to 30.0) | 12 | 4.0 (4.0 to 4.0) |"), "{three}");
        assert!(three.contains("| 2.00 (1.00 to 3.00) |"), "{three}");
    }

    #[test]
    fn where_only_times_count_there_are_no_prices_to_compare() {
        let far = Row { distant: true, at_most: 0, provider: Provider::Fcm, ..row(1) };
        let line = line(&far, vec![run(30, None)]);
        assert!(
            line.starts_with("| FCM, 1 device, 50 ms away | 16 |") && line.contains("| – | – | – | – | – |"),
            "{line}"
        );
    }
}
