//! Tables as kubectl prints them.

use super::paint::{Painted, Tone, plain, width};

/// Between two columns.
const GAP: usize = 3;

/// Columns three spaces apart, without a space at the end of a line.
pub(super) fn columns(rows: &[Vec<String>]) -> String {
    let painted = |row: &Vec<String>| row.iter().map(|cell| vec![(Tone::Plain, cell.clone())]).collect();
    let text = plain(&painted_columns(&rows.iter().map(painted).collect::<Vec<_>>()));
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The same of cells with meanings.
pub(super) fn painted_columns(rows: &[Vec<Painted>]) -> Vec<Painted> {
    let widths = widths(rows);
    let line = |row: &Vec<Painted>| {
        let mut line = Painted::new();
        for (number, cell) in row.iter().enumerate() {
            line.extend(cell.iter().cloned());
            if number + 1 < row.len() {
                line.push((Tone::Plain, " ".repeat(widths[number] - width(cell) + GAP)));
            }
        }
        line
    };
    rows.iter().map(line).collect()
}

/// The width of these rows as a table.
pub(super) fn table_width(rows: &[Vec<Painted>]) -> usize {
    let widths = widths(rows);
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}

fn widths(rows: &[Vec<Painted>]) -> Vec<usize> {
    let of_column = |column: usize| rows.iter().map(|row| width(&row[column])).max().unwrap_or_default();
    (0..rows.first().map_or(0, Vec::len)).map(of_column).collect()
}
