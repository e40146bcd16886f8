//! The fixtures in guest kernels.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context, Result, bail};

use super::{Arguments, suites::Suite, summary::Counts};
use crate::{
    build,
    guest::{self, Contents, Image, Machine, Series},
    process, run, ui,
};

/// The suite that runs in guests, and the program that starts it there.
pub(super) const SUITE: &str = "fixtures";
const INIT: &str = "guest-init";

/// Kernels that are ready to boot.
#[derive(Default)]
pub(super) struct Guests(Vec<(Series, Image)>);

impl Guests {
    /// Finds or fetches the kernels that were asked for; a whole run asks for all. One
    /// that cannot be had is a failure only where somebody named it.
    pub(super) fn set_up(
        arguments: &Arguments,
        skips: &mut Vec<String>,
        counts: &mut Counts,
    ) -> Result<Self> {
        let all = Series::all();
        let wanted: Vec<_> = match arguments.is_whole() {
            true => all.iter().collect(),
            false => arguments.kernel.iter().flatten().collect(),
        };
        let mut guests = Vec::new();
        for series in wanted {
            let step = ui::step(format!("kernel {series}"));
            match guest::set_up(&step, series)? {
                Ok(image) => {
                    step.done(&image.release);
                    guests.push((series.clone(), image));
                }
                Err(reason) if arguments.is_whole() => {
                    step.skipped(&reason);
                    skips.push(format!("{}: {reason}", name(series)));
                    counts.skipped += 1;
                }
                Err(reason) => bail!("{reason}"),
            }
        }
        Ok(Self(guests))
    }

    /// The suites, once all is built: each after the kernel that it runs on.
    pub(super) fn suites(
        &self,
        filter: Option<&str>,
        suites: &[Suite],
        programs: &HashMap<String, PathBuf>,
    ) -> Result<Vec<Suite>> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let fixtures = suites
            .iter()
            .find(|suite| suite.name.ends_with(&format!("/{SUITE}")))
            .context("the fixtures were not built")?;
        let init = run::program(programs, INIT)?;
        // A terminal's colours and parallel tests are for people and machines of more cores.
        let mut arguments = vec!["--color=never".to_owned(), "--test-threads=1".to_owned()];
        arguments.extend(filter.map(str::to_owned));
        let contents = Contents {
            init: &init,
            suite: fixtures.program(),
            arguments: &arguments,
            object: &build::object_path(),
        };
        self.0
            .iter()
            .map(|(series, image)| {
                let machine = Machine::prepare(image, &contents)?;
                Ok(Suite::of_guest(name(series), machine, process::root()))
            })
            .collect()
    }
}

fn name(series: &Series) -> String {
    format!("guest/{series}")
}
