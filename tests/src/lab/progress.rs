//! What people see while the lab comes up: a line for each step.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// Where the steps are shown.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    start: Instant,
    steps: Mutex<Vec<Timing>>,
}

#[derive(Debug)]
enum Display {
    Spinners(MultiProgress),
    Lines,
    Nothing,
}

/// When a step ran, counted from the start.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Its name.
    pub name: String,
    /// Began.
    pub from: Duration,
    /// Ended.
    pub to: Duration,
}

impl Progress {
    /// Spinners on a terminal, plain lines elsewhere; on standard error.
    pub fn shown() -> Self {
        Self::new(if io::stderr().is_terminal() {
            Display::Spinners(MultiProgress::new())
        } else {
            Display::Lines
        })
    }

    /// Nothing at all.
    pub fn silent() -> Self {
        Self::new(Display::Nothing)
    }

    fn new(display: Display) -> Self {
        Self {
            display,
            start: Instant::now(),
            steps: Mutex::default(),
        }
    }

    /// Begins a step. One that is dropped before it is [done](Step::done) has failed.
    pub fn step(&self, name: &str) -> Step<'_> {
        let bar = match &self.display {
            Display::Spinners(all) => {
                let bar = all.add(ProgressBar::new_spinner());
                bar.set_style(style("{spinner:.cyan} {prefix:<20} {wide_msg:.dim}"));
                bar.set_prefix(name.to_owned());
                bar.enable_steady_tick(Duration::from_millis(80));
                Some(bar)
            }
            Display::Lines | Display::Nothing => None,
        };
        Step {
            progress: self,
            name: name.to_owned(),
            from: self.start.elapsed(),
            bar,
            done: false,
        }
    }

    /// Time since the first moment.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// When each step ran, in the order of their ends.
    pub fn timings(&self) -> Vec<Timing> {
        self.steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well formed")
}

/// A step under way.
#[derive(Debug)]
pub struct Step<'p> {
    progress: &'p Progress,
    name: String,
    from: Duration,
    bar: Option<ProgressBar>,
    done: bool,
}

impl Step<'_> {
    /// It worked; a few words about what came of it.
    pub fn done(mut self, detail: &str) {
        self.done = true;
        let to = self.progress.elapsed();
        let took = (to - self.from).as_secs_f64();
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{prefix} {wide_msg}"));
                bar.set_prefix(format!("✓ {:<20}", self.name));
                bar.finish_with_message(format!("{detail} ({took:.2} s)"));
            }
            None if matches!(self.progress.display, Display::Lines) => {
                eprintln!("ok   {:<20} {detail} ({took:.2} s)", self.name);
            }
            None => {}
        }
        let timing = Timing {
            name: self.name.clone(),
            from: self.from,
            to,
        };
        self.progress
            .steps
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(timing);
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        match &self.bar {
            Some(bar) => {
                bar.set_style(style("{prefix} {wide_msg}"));
                bar.set_prefix(format!("✗ {:<20}", self.name));
                bar.finish_with_message("failed");
            }
            None if matches!(self.progress.display, Display::Lines) => {
                eprintln!("FAIL {}", self.name);
            }
            None => {}
        }
    }
}
