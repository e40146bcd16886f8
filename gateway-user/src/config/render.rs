//! Problems as text: in one line for logs, with a piece of the file for people.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::problem::{Problem, Severity};

/// Longest piece of a line that is shown.
const WIDTH: usize = 100;

/// Characters shown in front of the offending ones when a line is too long.
const BEFORE: usize = 40;

const BOLD: Style = Style::new().bold();
const GUTTER: Style = AnsiColor::Blue.on_default();
const HELP: Style = AnsiColor::Cyan.on_default().bold();

const fn colour(severity: Severity) -> Style {
    match severity {
        Severity::Error => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default().bold(),
    }
}

/// `file:line:column: error: what`, and what helps, without colour.
pub(super) fn plain(file: &str, problem: &Problem) -> String {
    let Problem {
        severity,
        what,
        hint,
        ..
    } = problem;
    let place = place(file, problem);
    format!(
        "{place}: {}: {}\n  help: {}",
        severity.name(),
        tame(what),
        tame(hint)
    )
}

/// All problems with the lines that they are about.
pub fn pretty(file: &str, text: &str, problems: &[Problem]) -> String {
    let mut out = String::new();
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = one(&mut out, file, text, problem);
    }
    out
}

fn one(out: &mut String, file: &str, text: &str, problem: &Problem) -> std::fmt::Result {
    let style = colour(problem.severity);
    let (place, name) = (place(file, problem), problem.severity.name());
    writeln!(
        out,
        "{BOLD}{place}:{BOLD:#} {style}{name}:{style:#} {}",
        tame(&problem.what)
    )?;

    let number = problem.line.to_string();
    let margin = number.len();
    let line = problem
        .line
        .checked_sub(1)
        .and_then(|line| text.lines().nth(line as usize));
    if let Some(line) = line {
        let (shown, indent, length) = window(line, problem);
        writeln!(out, "{GUTTER}{:margin$} |{GUTTER:#}", "")?;
        writeln!(out, "{GUTTER}{number} |{GUTTER:#} {shown}")?;
        let carets = "^".repeat(length);
        writeln!(
            out,
            "{GUTTER}{:margin$} |{GUTTER:#} {:indent$}{style}{carets}{style:#}",
            "", ""
        )?;
    }
    writeln!(
        out,
        "{:margin$} {HELP}help:{HELP:#} {}",
        "",
        tame(&problem.hint)
    )?;
    writeln!(out)
}

fn place(file: &str, problem: &Problem) -> String {
    match problem.line {
        0 => file.to_owned(),
        line => format!("{file}:{line}:{}", problem.column),
    }
}

/// The part of a line to show, where its carets begin, and how many there are.
fn window(line: &str, problem: &Problem) -> (String, usize, usize) {
    let characters: Vec<char> = line.chars().map(tame_char).collect();
    let start = (problem.column.max(1) as usize - 1).min(characters.len());
    let length = (problem.length as usize).clamp(1, (characters.len() - start).max(1));
    if characters.len() <= WIDTH {
        return (characters.into_iter().collect(), start, length);
    }
    let from = start.saturating_sub(BEFORE);
    let to = (from + WIDTH).min(characters.len());
    let (head, tail) = (
        if from > 0 { "..." } else { "" },
        if to < characters.len() { "..." } else { "" },
    );
    let piece: String = characters[from..to].iter().collect();
    let indent = head.len() + start - from;
    (
        format!("{head}{piece}{tail}"),
        indent,
        length.min((to - start).max(1)),
    )
}

/// A file must not be able to send control sequences to the terminal, and a tab
/// would put the carets in the wrong place.
pub(super) fn tame(text: &str) -> String {
    text.chars().map(tame_char).collect()
}

fn tame_char(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, column: u32, length: u32) -> String {
        let (what, hint) = ("what".into(), "how".into());
        let problem = Problem {
            severity: Severity::Error,
            line: 1,
            column,
            length,
            what,
            hint,
        };
        anstream::adapter::strip_str(&pretty("f", text, &[problem])).to_string()
    }

    #[test]
    fn carets_lie_below_the_value() {
        let expected = "f:1:4: error: what\n  |\n1 | a: bad # x\n  |    ^^^\n  help: how\n\n";
        assert_eq!(shown("a: bad # x", 4, 3), expected);
    }

    #[test]
    fn values_of_many_lines_and_places_past_the_end_stay_in_the_line() {
        assert!(shown("a: bad", 4, 300).contains("  |    ^^^\n"));
        assert!(shown("a:", 9, 0).contains("  |   ^\n"));
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let shown = shown("a:\t\u{1b}[31mred", 4, 1);
        assert!(!shown.contains(['\u{1b}', '\t']), "{shown:?}");
        assert!(shown.contains("a: \u{fffd}[31mred"), "{shown:?}");
    }

    #[test]
    fn long_lines_are_cut_around_the_value() {
        let text = format!("{}BAD{}", "x".repeat(300), "y".repeat(300));
        let shown = shown(&text, 301, 3);
        let mut lines = shown.lines().skip(2);
        let (line, carets) = (lines.next().expect("source"), lines.next().expect("carets"));
        assert!(line.len() < 120, "{line}");
        assert_eq!(line.find("BAD"), carets.find("^^^"));
    }
}
