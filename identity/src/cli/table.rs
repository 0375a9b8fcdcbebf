//! Formats tables and durations of the commands.
//!
//! Invariant: a row is one line, whatever its cells contain.

use std::time::Duration;

use crate::domain::shown_text::plain;

/// Formats a line of headings and one line for each row, in aligned columns.
pub(super) fn aligned<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Vec<String> {
    let mut cells = vec![headings.map(str::to_owned)];
    cells.extend(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    let width = |column: usize| cells.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let padded = cells.iter().map(|line| {
        let columns = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        columns.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    padded.collect()
}

/// Formats a duration in its largest whole unit.
pub(super) fn roughly(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{aligned, roughly};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_line_breaks_are_replaced() {
        let row = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
        let rows = [row("x\r\ny", "1"), row("\u{e4}", "")];
        assert_eq!(aligned(["ID", "NUMBER"], rows), ["ID   NUMBER", "x y  1", "\u{e4}"]);
    }

    #[test]
    fn a_duration_is_shown_in_its_largest_unit() {
        let shown = |seconds| roughly(Duration::from_secs(seconds));
        assert_eq!(
            [0, 119, 120, 7_199, 7_200, 172_799, 172_800].map(shown),
            ["0s", "119s", "2m", "119m", "2h", "47h", "2d"]
        );
    }
}
