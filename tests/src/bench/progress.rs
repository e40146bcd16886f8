//! How far a bench is, and how long it will still take.

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// A bar on the terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Of so many steps.
    pub(super) fn new(steps: usize) -> Result<Self> {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{msg:42} {bar:30} {eta} left");
        bar.set_style(style.context("the progress bar's template")?);
        Ok(Self(bar))
    }

    /// The next step begins.
    pub(super) fn step(&self, what: &str) {
        self.0.set_message(what.to_owned());
        self.0.inc(1);
    }

    /// All done.
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
