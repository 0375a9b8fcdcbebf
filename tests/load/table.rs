//! The table of a load run: a row for each unit of work and number of connections.
//!
//! Invariant: each cost appears beside its limit.

use crate::engine::Figures;

/// The head of the table with the rows of [`row`].
pub(crate) const HEAD: &str = "\
| unit | connections | units/s | p50 ms | p99 ms | CPU µs/unit | ours at most | memory MiB | failed |
|---|---|---|---|---|---|---|---|---|";

/// The rows so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) rows: usize,
    /// Whether every unit of work of every row succeeded.
    pub(crate) good: bool,
}

impl Tally {
    /// Before the first row.
    pub(crate) const NONE: Self = Self { rows: 0, good: true };

    /// With one more row.
    pub(crate) fn count(&mut self, good: bool) {
        self.rows += 1;
        self.good &= good;
    }
}

/// The row of some runs of the same load: that of the run with the median cost, with the lowest and the highest cost if
/// there are several. `at_most` is the limit, in CPU microseconds.
///
/// # Panics
/// Without any run.
pub(crate) fn row(unit: &str, connections: usize, at_most: Option<u32>, mut runs: Vec<Figures>) -> String {
    runs.sort_by(|a, b| a.cpu_micros().total_cmp(&b.cpu_micros()));
    let run = &runs[runs.len() / 2];
    let (p50, p99) = (run.p50.as_secs_f64() * 1e3, run.p99.as_secs_f64() * 1e3);
    let (rate, mut price) = (run.per_second(), format!("{:.1}", run.cpu_micros()));
    if let [first, .., last] = runs.as_slice() {
        price.push_str(&format!(" ({:.1} to {:.1})", first.cpu_micros(), last.cpu_micros()));
    }
    let target = at_most.map_or_else(|| "–".to_owned(), |micros| micros.to_string());
    let (memory, failed) = (mebibytes(run.memory), runs.iter().map(|run| run.failed).sum::<usize>());
    format!(
        "| {unit} | {connections} | {rate:.0} | {p50:.2} | {p99:.2} | {price} | {target} | {memory:.1} | {failed} |"
    )
}

#[expect(clippy::cast_precision_loss, reason = "to one digit after the point")]
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::{HEAD, row};
    use crate::engine::Figures;
    use std::time::Duration;

    fn figures(cpu: u64) -> Figures {
        Figures {
            done: 1000,
            failed: 1,
            elapsed: Duration::from_secs(2),
            p50: Duration::from_micros(1500),
            p99: Duration::from_millis(20),
            cpu: Duration::from_micros(cpu * 1001),
            memory: 3 << 19,
        }
    }

    #[test]
    fn a_row_has_the_columns_of_the_head() {
        let one = row("ping", 16, Some(15), vec![figures(10)]);
        assert_eq!(one, "| ping | 16 | 500 | 1.50 | 20.00 | 10.0 | 15 | 1.5 | 1 |");
        assert_eq!(HEAD.lines().next().unwrap().matches('|').count(), one.matches('|').count());
    }

    #[test]
    fn of_several_runs_the_middle_one_is_shown_with_the_ends() {
        let three = row("ping", 1, None, vec![figures(30), figures(10), figures(20)]);
        assert_eq!(three, "| ping | 1 | 500 | 1.50 | 20.00 | 20.0 (10.0 to 30.0) | – | 1.5 | 3 |");
    }
}
