//! Instructions a packet against `tests/instruction-budget.yaml`, case by case.
//!
//! Only an emulated machine counts instructions: elsewhere there is nothing to try.
//! `cargo xtask test` starts such machines.

use gateway_tests::{
    bench::instructions::{self, Budget},
    harness,
};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let trials = match instructions::is_counting() {
        true => trials().unwrap_or_else(|error| {
            let error = format!("{error:#}");
            vec![Trial::test("instructions::can_be_counted", move || {
                Err(error.into())
            })]
        }),
        false => Vec::new(),
    };
    libtest_mimic::run(&arguments, trials).exit();
}

/// Counts first, then judges: a trial for each case, and one for the file.
fn trials() -> anyhow::Result<Vec<Trial>> {
    if let Some(reason) = harness::unavailable() {
        anyhow::bail!("{reason}");
    }
    let budget = Budget::read()?;
    let report = instructions::measure(|_| {})?;
    let kernel = &report.machine.kernel;
    let mut trials = Vec::new();
    for (case, cost) in instructions::costs(&report) {
        let line = budget.line(&case.name, kernel, cost);
        let problem = budget.problem(&case.name, kernel, cost);
        let judge = move || {
            println!("{line}");
            problem.map_or(Ok(()), |problem| Err(Failed::from(problem)))
        };
        trials.push(Trial::test(format!("instructions::{}", case.name), judge));
    }
    let names = instructions::costs(&report).map(|(case, _)| case.name.as_str());
    let unused = budget.unused(names);
    trials.push(Trial::test(
        "instructions::every_budget_has_a_case",
        move || match unused.is_empty() {
            true => Ok(()),
            false => Err(unused.join("\n").into()),
        },
    ));
    Ok(trials)
}
