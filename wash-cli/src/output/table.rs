//! Aligned text tables without borders.

use super::style::{Style, Tone};

/// One cell: its text and how it should look.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A state word, coloured where colour is on.
    pub(crate) fn state(tone: Tone, word: impl Into<String>) -> Self {
        Self {
            text: word.into(),
            tone,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Plain,
        }
    }
}

/// Rows under a header, columns as wide as their longest cell.
#[derive(Debug)]
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

const GAP: &str = "  ";

impl Table {
    pub(crate) fn new(headers: impl Into<Vec<&'static str>>) -> Self {
        Self {
            headers: headers.into(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// Draws the table without a final line break.
    pub(crate) fn render(&self, style: Style) -> String {
        let widths = self.widths(style);
        let mut lines = Vec::with_capacity(self.rows.len() + 1);
        let headers = self
            .headers
            .iter()
            .map(|header| (style.bold(header), width(header)));
        lines.push(join(headers, &widths));
        for row in &self.rows {
            let cells = row
                .iter()
                .map(|cell| (style.state(cell.tone, &cell.text), shown_width(cell, style)));
            lines.push(join(cells, &widths));
        }
        lines.join("\n")
    }

    fn widths(&self, style: Style) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headers.iter().map(|header| width(header)).collect();
        for row in &self.rows {
            for (column, cell) in row.iter().enumerate() {
                if let Some(widest) = widths.get_mut(column) {
                    *widest = (*widest).max(shown_width(cell, style));
                }
            }
        }
        widths
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// The dot before a coloured state takes two columns.
fn shown_width(cell: &Cell, style: Style) -> usize {
    let dot = style.is_coloured() && matches!(cell.tone, Tone::Good | Tone::Warn | Tone::Bad);
    width(&cell.text) + if dot { 2 } else { 0 }
}

fn join(cells: impl Iterator<Item = (String, usize)>, widths: &[usize]) -> String {
    let mut line = String::new();
    for (column, (text, shown)) in cells.enumerate() {
        if column > 0 {
            line.push_str(GAP);
        }
        line.push_str(&text);
        if column + 1 < widths.len() {
            line.extend(std::iter::repeat_n(
                ' ',
                widths[column].saturating_sub(shown),
            ));
        }
    }
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(["Id", "Name", "State"]);
        table.row([
            "a".into(),
            "long name".into(),
            Cell::state(Tone::Good, "running"),
        ]);
        table.row(["bcd".into(), "".into(), "".into()]);
        let expected = "Id   Name       State\na    long name  running\nbcd";
        assert_eq!(table.render(Style::default()), expected);
    }
}
