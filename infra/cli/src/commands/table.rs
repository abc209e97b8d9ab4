//! Tables for people.

use unicode_width::UnicodeWidthStr;

use super::output::sanitize;

/// A table with a header. The first rows determine the widths, so that a long list can be shown as it arrives.
pub(super) struct Table {
    header: Vec<&'static str>,
    /// Index of the first column that is aligned to the right.
    right: usize,
    widths: Option<Vec<usize>>,
}

impl Table {
    pub(super) fn new(header: &[&'static str]) -> Self {
        Table {
            header: header.to_vec(),
            right: usize::MAX,
            widths: None,
        }
    }

    /// Aligns the columns from `first` to the right, except for the last one.
    pub(super) fn numbers_from(mut self, first: usize) -> Self {
        self.right = first;
        self
    }

    /// Returns rows as lines. The header precedes the first rows.
    pub(super) fn lines(&mut self, rows: &[Vec<String>]) -> Vec<String> {
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| sanitize(cell)).collect())
            .collect();
        let mut lines = vec![];
        let widths = match &self.widths {
            Some(widths) => widths.clone(),
            None => {
                let widths: Vec<usize> = (0..self.header.len())
                    .map(|column| self.widest(column, &rows))
                    .collect();
                let header: Vec<String> = self.header.iter().map(|name| (*name).into()).collect();
                lines.push(self.line(&header, &widths));
                self.widths = Some(widths.clone());
                widths
            }
        };
        lines.extend(rows.iter().map(|row| self.line(row, &widths)));
        lines
    }

    fn widest(&self, column: usize, rows: &[Vec<String>]) -> usize {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let header = self.header.get(column).map_or(0, |name| name.width());
        cells.map(|cell| cell.width()).fold(header, usize::max)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        let last = widths.len().saturating_sub(1);
        for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.width()));
            match column >= self.right && column < last {
                true => line.extend([gap.as_str(), cell]),
                false => line.extend([cell, gap.as_str()]),
            }
            line.push_str("  ");
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Returns names and values, one pair per line. A name without a value is omitted.
pub(super) fn key_value_lines(pairs: &[(&str, Option<String>)]) -> Vec<String> {
    let shown: Vec<(&str, &String)> = pairs
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_ref()?)))
        .collect();
    let width = shown.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    shown
        .iter()
        .map(|(name, value)| format!("{name:width$}  {}", sanitize(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_stand_below_each_other_whatever_the_letters() {
        let mut table = Table::new(&["NAME", "N", "STATE"]).numbers_from(1);
        let lines = table.lines(&[row(&["Zoë", "10", "active"]), row(&["山田", "7", "gone"])]);
        assert_eq!(
            lines,
            ["NAME   N  STATE", "Zoë   10  active", "山田   7  gone"]
        );
        // More rows come without a header, in the same columns.
        assert_eq!(table.lines(&[row(&["Al", "5", ""])]), ["Al     5"]);
    }

    #[test]
    fn names_without_a_value_are_omitted() {
        let lines = key_value_lines(&[
            ("Id", Some("1".to_owned())),
            ("Webhook", None),
            ("Tenant", Some("acme".to_owned())),
        ]);
        assert_eq!(lines, ["Id      1", "Tenant  acme"]);
    }
}
