//! Tables for a terminal of 80 columns.

use anstyle::Style;

/// Columns that everything fits into.
pub(super) const WIDTH: usize = 80;

/// Between two columns.
const GAP: usize = 2;

/// A table whose first column is text and gets the room that is left; the others
/// are as wide as their content.
pub(super) struct Table {
    rows: Vec<(Style, Vec<String>)>,
    left: bool,
}

impl Table {
    /// A table of numbers: all columns but the first are set to the right.
    pub(super) fn numbers<const N: usize>(heading: [&str; N]) -> Self {
        Self {
            rows: vec![(Style::new().bold(), heading.map(str::to_owned).into())],
            left: false,
        }
    }

    /// A table of words: every column is set to the left.
    pub(super) fn words<const N: usize>(heading: [&str; N]) -> Self {
        Self {
            left: true,
            ..Self::numbers(heading)
        }
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, style: Style, cells: [String; N]) {
        self.rows.push((style, cells.into()));
    }

    /// Whether there is nothing but the heading.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines, each ended. A first cell that does not fit gets a line of its own.
    pub(super) fn render(&self) -> String {
        let columns = self.rows[0].1.len();
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|(_, row)| row[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let rest: usize = widths[1..].iter().map(|width| width + GAP).sum();
        let first = widths[0].min(WIDTH.saturating_sub(rest));
        let mut out = String::new();
        for (style, row) in &self.rows {
            let mut line = row[0].clone();
            if line.chars().count() > first {
                out += &paint(*style, &cut(&line, WIDTH));
                out.push('\n');
                line = String::new();
            }
            line = format!("{line:first$}");
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                let width = *width;
                line += &" ".repeat(GAP);
                line += &if self.left {
                    format!("{cell:width$}")
                } else {
                    format!("{cell:>width$}")
                };
            }
            out += &paint(*style, &cut(line.trim_end(), WIDTH));
            out.push('\n');
        }
        out
    }
}

/// Text in a style.
pub(super) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// Words after a prefix, in lines of at most [`WIDTH`]; the second and later ones
/// are indented as far as the prefix goes.
pub(super) fn wrap(prefix: &str, text: &str) -> String {
    let indent = prefix.chars().count();
    let mut out = prefix.to_owned();
    let mut column = indent;
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if column > indent && column + 1 + length > WIDTH {
            out += &format!("\n{}", " ".repeat(indent));
            column = indent;
        } else if column > indent {
            out.push(' ');
            column += 1;
        }
        out += word;
        column += length;
    }
    out
}

/// A number as people read it: `987`, `12.3k`, `4.5M`.
pub(super) fn count(number: u64) -> String {
    scaled(number, ["", "k", "M", "G", "T", "P"])
}

/// Bytes as people read them, in powers of 1000: `987 B`, `12.3 kB`.
pub(super) fn bytes(number: u64) -> String {
    scaled(number, [" B", " kB", " MB", " GB", " TB", " PB"])
}

fn scaled(number: u64, units: [&str; 6]) -> String {
    if number < 1000 {
        return format!("{number}{}", units[0]);
    }
    let mut value = number as f64;
    let mut unit = 0;
    // 999.95 would be printed as 1000.0.
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1.0k");
        assert_eq!(count(999_960), "1.0M");
        assert_eq!(bytes(1_234_567_890), "1.2 GB");
        assert_eq!(bytes(u64::MAX), "18446.7 PB");
    }

    #[test]
    fn a_long_label_gets_a_line_of_its_own() {
        let mut table = Table::numbers(["NAME", "PACKETS"]);
        table.row(Style::new(), ["short".into(), "7".into()]);
        table.row(Style::new(), ["x".repeat(79), "8".into()]);
        let text = anstream::adapter::strip_str(&table.render()).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[2], "x".repeat(79));
        assert!(lines[3].ends_with('8') && lines[3].chars().count() == WIDTH);
    }

    #[test]
    fn words_wrap() {
        let text = wrap("  * ", &"word ".repeat(40));
        assert!(
            text.lines().all(|line| line.chars().count() <= WIDTH),
            "{text}"
        );
        assert!(
            text.lines().skip(1).all(|line| line.starts_with("    ")),
            "{text}"
        );
    }
}
