//! How much work the kernel's verifier may have with each program.
//!
//! The programs are those of the object; `tests/verifier-budget.yaml` has a line for each.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_saphyr::Spanned;

/// The file's path, as people type it.
const FILE: &str = "tests/verifier-budget.yaml";
const TEXT: &str = include_str!("../verifier-budget.yaml");

/// The budget of each program.
#[derive(Debug)]
pub struct Budget(BTreeMap<String, Spanned<u32>>);

impl Budget {
    /// The one that lies beside the tests.
    pub fn read() -> Result<Self> {
        Self::parse(TEXT)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines = serde_saphyr::from_str(text).with_context(|| format!("cannot read {FILE}"))?;
        Ok(Self(lines))
    }

    /// A line for each program, which `cargo xtask test` makes a table of:
    /// `verified: KERNEL PROGRAM COUNT of BUDGET`.
    pub fn report(&self, kernel: &str, counts: &BTreeMap<String, u32>) -> Vec<String> {
        let line = |(program, count): (&String, &u32)| {
            let budget = self.0.get(program);
            let budget = budget.map_or("none".to_owned(), |budget| budget.value.to_string());
            format!("verified: {kernel} {program} {count} of {budget}")
        };
        counts.iter().map(line).collect()
    }

    /// What is wrong: programs that take too much or have no budget, and budgets of
    /// programs that are gone.
    pub fn problems(&self, kernel: &str, counts: &BTreeMap<String, u32>) -> Vec<String> {
        let mut problems = Vec::new();
        for (program, &count) in counts {
            let line = format!("{program}: {}", with_room(count));
            match self.0.get(program) {
                None => problems.push(format!(
                    "{program} has no budget and takes {count} instructions on {kernel}: add \
                     the line `{line}` to {FILE}"
                )),
                Some(budget) if count > budget.value => problems.push(format!(
                    "{program} takes {count} instructions on {kernel}, its budget is {}: if \
                     that cannot be helped, make it `{line}` in {FILE}:{}",
                    budget.value,
                    budget.defined.line(),
                )),
                Some(_) => {}
            }
        }
        for (program, budget) in &self.0 {
            if !counts.contains_key(program) {
                problems.push(format!(
                    "the object has no program {program}: remove {FILE}:{}",
                    budget.defined.line()
                ));
            }
        }
        problems
    }
}

/// A budget that leaves a quarter of the count as room.
fn with_room(count: u32) -> u32 {
    const STEP: u32 = 500;
    (count + count / 4).next_multiple_of(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u32)]) -> BTreeMap<String, u32> {
        of.iter()
            .map(|&(program, count)| (program.to_owned(), count))
            .collect()
    }

    #[test]
    fn the_file_can_be_read() {
        assert!(!Budget::read().unwrap().0.is_empty());
    }

    #[test]
    fn a_program_may_take_its_budget_and_no_more() {
        let budget = Budget::parse("# room\nsmall: 100\nlarge: 2000\n").unwrap();
        let problems = |large| budget.problems("6.1", &counts(&[("small", 100), ("large", large)]));
        assert!(problems(2_000).is_empty());
        let [problem] = &problems(2_001)[..] else {
            panic!("one problem")
        };
        for part in ["large", "2001", "6.1", "is 2000", "`large: 3000`", "yaml:3"] {
            assert!(problem.contains(part), "{part}: {problem}");
        }
    }

    #[test]
    fn programs_and_lines_must_fit_each_other() {
        let budget = Budget::parse("gone: 100\n").unwrap();
        let problems = budget.problems("6.1", &counts(&[("new", 396)]));
        assert!(problems[0].contains("add the line `new: 500` to"));
        assert!(problems[1].contains("no program gone: remove tests/verifier-budget.yaml:1"));
    }

    #[test]
    fn the_report_says_what_xtask_reads() {
        let budget = Budget::parse("one: 100\n").unwrap();
        let report = budget.report("6.1.0-56-amd64", &counts(&[("one", 7), ("two", 8)]));
        assert_eq!(
            report,
            [
                "verified: 6.1.0-56-amd64 one 7 of 100",
                "verified: 6.1.0-56-amd64 two 8 of none"
            ]
        );
    }
}
