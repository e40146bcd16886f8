//! What people see: one line a step, with a spinner while it runs on a terminal.
//!
//! All of it goes to standard error, so that standard output stays free for results.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const QUIET: Style = Style::new().dimmed();

/// A piece of work that ends in one line. Dropped unfinished, it ends as failed.
pub(crate) struct Step {
    label: String,
    bar: ProgressBar,
    started: Instant,
    ended: bool,
}

/// Starts a step.
pub(crate) fn step(label: impl Into<String>) -> Step {
    let label = label.into();
    // Hidden by indicatif where standard error is no terminal.
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("      {spinner}  {prefix:<22} {wide_msg} {elapsed:>4}")
            .expect("the template is a constant"),
    );
    bar.set_prefix(label.clone());
    bar.enable_steady_tick(Duration::from_millis(100));
    Step {
        label,
        bar,
        started: Instant::now(),
        ended: false,
    }
}

impl Step {
    /// Shows what the step is at, while it runs.
    pub(crate) fn at(&self, detail: impl Into<String>) {
        self.bar.set_message(detail.into());
    }

    /// Ends well.
    pub(crate) fn done(self, detail: impl Display) {
        self.end(GOOD, "ok", &detail);
    }

    /// Ends badly.
    pub(crate) fn failed(self, detail: impl Display) {
        self.end(BAD, "FAILED", &detail);
    }

    /// Ends without having been done.
    pub(crate) fn skipped(self, detail: impl Display) {
        self.end(QUIET, "skipped", &detail);
    }

    /// Ends without a line.
    pub(crate) fn hide(mut self) {
        self.ended = true;
        self.bar.finish_and_clear();
    }

    /// Prints a line above the spinner.
    pub(crate) fn print(&self, line: &str) {
        self.bar.suspend(|| anstream::eprintln!("{line}"));
    }

    fn end(mut self, style: Style, word: &str, detail: &dyn Display) {
        self.ended = true;
        self.bar.finish_and_clear();
        let elapsed = self.started.elapsed();
        let time = if elapsed < Duration::from_millis(50) {
            String::new()
        } else {
            format!("  {QUIET}{}{QUIET:#}", seconds(elapsed))
        };
        anstream::eprintln!(
            "{style}{word:>7}{style:#}  {:<22} {detail}{time}",
            self.label
        );
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.bar.finish_and_clear();
            anstream::eprintln!("{BAD} FAILED{BAD:#}  {}", self.label);
        }
    }
}

/// A line of a list with a verdict, in the shape of a step's.
pub(crate) fn verdict(good: bool, label: &str, detail: &str) {
    let (style, word) = if good { (GOOD, "ok") } else { (BAD, "missing") };
    anstream::println!("{style}{word:>7}{style:#}  {label:<22} {detail}");
}

/// What ends a command early.
pub(crate) fn error(text: &str) {
    anstream::eprintln!("{BAD}error{BAD:#}: {text}");
}

/// Says something aside.
pub(crate) fn note(text: &str) {
    anstream::eprintln!("{text}");
}

fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else {
        format!(
            "{} min {:02} s",
            elapsed.as_secs() / 60,
            elapsed.as_secs() % 60
        )
    }
}
