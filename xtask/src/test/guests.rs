//! The fixtures in guest kernels, and the instructions of their packets.

use std::{collections::HashMap, path::PathBuf};

use anyhow::{Context, Result, bail};

use super::{Arguments, suites::Suite, summary::Counts};
use crate::{
    build,
    guest::{self, Clock, Contents, Image, Machine, Series},
    process, run, ui,
};

/// The suites that run in guests, each in a machine of its own, and the program that
/// starts them there.
pub(super) const SUITES: [&str; 2] = ["fixtures", "instructions"];
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
                    skips.push(format!("guest/{series}: {reason}"));
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
        let init = run::program(programs, INIT)?;
        // A terminal's colours and parallel tests are for people and machines of more cores.
        let mut arguments = vec!["--color=never".to_owned(), "--test-threads=1".to_owned()];
        arguments.extend(filter.map(str::to_owned));
        let files = files();
        let mut found = Vec::new();
        for name in SUITES {
            let program = suites
                .iter()
                .find(|suite| suite.name.ends_with(&format!("/{name}")))
                .with_context(|| format!("the {name} were not built"))?
                .program();
            let contents = Contents {
                init: &init,
                suite: program,
                arguments: &arguments,
                files: &files,
            };
            for (series, image) in &self.0 {
                let machine = Machine::prepare(image, name, clock(name), &contents)?;
                let shown = format!("guest/{series} {name}");
                found.push(Suite::of_guest(shown, machine, process::root()));
            }
        }
        Ok(found)
    }
}

/// The objects that suites load; `LINGYUN_BPF_OBJECT` names the first in the guest.
pub(crate) fn files() -> [(&'static str, PathBuf); 2] {
    let object = build::object_path();
    let bench = object.with_file_name("gateway-bench");
    [("/object", object), ("/gateway-bench", bench)]
}

fn clock(suite: &str) -> Clock {
    match suite {
        "instructions" => Clock::Instructions,
        _ => Clock::Host,
    }
}
