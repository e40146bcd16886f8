//! What is wrong with a file, where, and how to mend it.

use std::{error::Error, fmt};

use serde::Serialize;

use super::render;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used; somebody should look at this.
    Warning,
}

impl Severity {
    /// Lower-case word, as in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Error or warning.
    pub severity: Severity,
    /// Line, from 1; 0 when the problem is with the file as a whole.
    pub line: u32,
    /// Column in characters, from 1; 0 when the problem is with the file as a whole.
    pub column: u32,
    /// How many characters the offending value takes; 0 when that is not known.
    #[serde(skip)]
    pub length: u32,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub hint: String,
}

impl fmt::Display for Problem {
    /// One line, for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            severity,
            line,
            column,
            what,
            hint,
            ..
        } = self;
        let (what, hint) = (render::tame(what), render::tame(hint));
        write!(
            f,
            "{line}:{column}: {}: {what} (help: {hint})",
            severity.name()
        )
    }
}

/// A part of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Line, from 1.
    pub(super) line: u32,
    /// Column in characters, from 1.
    pub(super) column: u32,
    /// Length in characters, 0 when not known.
    pub(super) length: u32,
}

impl Place {
    /// The first character of the file.
    pub(super) const START: Self = Self {
        line: 1,
        column: 1,
        length: 0,
    };
}

impl From<serde_saphyr::Location> for Place {
    fn from(location: serde_saphyr::Location) -> Self {
        let number = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            line: number(location.line()),
            column: number(location.column()),
            length: number(location.span().len()),
        }
    }
}

/// Collects problems, so that all of them are told at once.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn error(&mut self, at: Place, what: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Error, at, what.into(), hint.into());
    }

    pub(super) fn warning(&mut self, at: Place, what: impl Into<String>, hint: impl Into<String>) {
        self.add(Severity::Warning, at, what.into(), hint.into());
    }

    fn add(&mut self, severity: Severity, at: Place, what: String, hint: String) {
        let Place {
            line,
            column,
            length,
        } = at;
        self.0.push(Problem {
            severity,
            line,
            column,
            length,
            what,
            hint,
        });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.0
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    /// All of them, in the order of the file. A value that several records share
    /// through a YAML alias is told about once.
    pub(super) fn into_sorted(mut self) -> Vec<Problem> {
        self.0.sort_by_key(|problem| (problem.line, problem.column));
        self.0.dedup();
        self.0
    }
}

/// Why a file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The file's name, as it was given.
    pub file: String,
    /// Errors, at least one, and warnings, in the order of the file.
    pub problems: Vec<Problem>,
    /// What the file holds, for snippets.
    text: String,
    /// The file could not even be read.
    unreadable: bool,
}

impl Report {
    pub(super) fn new(file: &str, text: &str, problems: Vec<Problem>) -> Self {
        Self {
            file: file.into(),
            problems,
            text: text.into(),
            unreadable: false,
        }
    }

    pub(super) fn unreadable(file: &str, what: String, hint: &str) -> Self {
        let mut problems = Problems::default();
        problems.error(Place::default(), what, hint);
        Self {
            unreadable: true,
            ..Self::new(file, "", problems.0)
        }
    }

    /// Whether there was no file to judge, rather than a bad one.
    pub const fn is_unreadable(&self) -> bool {
        self.unreadable
    }

    /// For people at a terminal: in colour, each problem with the line it is about.
    /// Print it through `anstream`, which takes the colour away where it does not belong.
    pub fn pretty(&self) -> String {
        render::pretty(&self.file, &self.text, &self.problems)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&render::plain(&self.file, problem))?;
        }
        Ok(())
    }
}

impl Error for Report {}
