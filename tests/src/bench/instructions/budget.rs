//! How many instructions a packet of each case may take.
//!
//! The cases are those of `bench program`; `tests/instruction-budget.yaml` has a line for
//! each, with what each kernel took when the line was last reviewed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_saphyr::Spanned;

use crate::bench::report::{Case, Report};

/// The file's path, as people type it.
const FILE: &str = "tests/instruction-budget.yaml";
const TEXT: &str = include_str!("../../../instruction-budget.yaml");

/// Counts repeat exactly; what the compiler shuffles stays below this.
const ROOM: f64 = 0.02;

/// Cases, and for each a figure for every kernel series.
#[derive(Debug)]
pub struct Budget(BTreeMap<String, Spanned<BTreeMap<String, f64>>>);

impl Budget {
    /// The one that lies beside the tests.
    pub fn read() -> Result<Self> {
        Self::parse(TEXT)
    }

    fn parse(text: &str) -> Result<Self> {
        let lines: Option<_> =
            serde_saphyr::from_str(text).with_context(|| format!("cannot read {FILE}"))?;
        Ok(Self(lines.unwrap_or_default()))
    }

    /// What a case may cost on a kernel.
    pub fn of(&self, case: &str, kernel: &str) -> Option<f64> {
        self.0.get(case)?.value.get(series(kernel)).copied()
    }

    /// What is wrong with the cost of a case, if anything. A file without any line holds
    /// no case to anything; one with lines must have one for each.
    pub fn problem(&self, case: &str, kernel: &str, cost: f64) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let shown = cost.round();
        let series = series(kernel);
        let Some(budget) = self.of(case, kernel) else {
            return Some(match self.0.get(case) {
                Some(line) => format!(
                    "{case} has no budget on kernel {series} and takes {shown} instructions: \
                     add `\"{series}\": {shown}` to {FILE}:{}",
                    line.defined.line()
                ),
                None => format!(
                    "{case} has no budget: add the line `{case}: {{ \"{series}\": {shown} }}` \
                     to {FILE}"
                ),
            });
        };
        let share = cost / budget - 1.0;
        let line = self.0[case].defined.line();
        (cost - budget > (budget * ROOM).max(1.0)).then(|| {
            format!(
                "{case} takes {shown} instructions on kernel {series}, {:.1} % more than its \
                 budget of {budget}: if that cannot be helped, make it `\"{series}\": {shown}` \
                 in {FILE}:{line} (`cargo xtask bench instructions --update-budget` does) and \
                 say why",
                share * 100.0
            )
        })
    }

    /// Lines of cases that are gone.
    pub fn unused<'c>(&self, cases: impl IntoIterator<Item = &'c str>) -> Vec<String> {
        let known: Vec<_> = cases.into_iter().collect();
        let gone = self
            .0
            .iter()
            .filter(|(name, _)| !known.contains(&name.as_str()));
        gone.map(|(name, line)| {
            format!(
                "no case is called {name}: remove {FILE}:{}",
                line.defined.line()
            )
        })
        .collect()
    }

    /// What `cargo xtask test` makes a table of: `counted: KERNEL COUNT of BUDGET CASE`.
    pub fn line(&self, case: &str, kernel: &str, cost: f64) -> String {
        let budget = self.of(case, kernel);
        let budget = budget.map_or("none".to_owned(), |budget| format!("{budget:.0}"));
        format!("counted: {kernel} {cost:.0} of {budget} {case}")
    }
}

/// The file with a report's costs: lines of the cases that it has, in its order, and
/// figures of other kernels as they were.
fn rewritten(text: &str, report: &Report) -> Result<String> {
    let before = Budget::parse(text)?;
    let mut lines: Vec<(&str, BTreeMap<String, f64>)> = Vec::new();
    for (case, cost) in costs(report) {
        let kernel = case
            .parameters
            .get("kernel")
            .unwrap_or(&report.machine.kernel);
        let at = lines.iter().position(|(name, _)| *name == case.name);
        let at = at.unwrap_or_else(|| {
            let known = before.0.get(&case.name).map(|line| line.value.clone());
            lines.push((case.name.as_str(), known.unwrap_or_default()));
            lines.len() - 1
        });
        lines[at].1.insert(series(kernel).to_owned(), cost.round());
    }
    let mut text: String = text
        .split_inclusive('\n')
        .take_while(|line| line.starts_with('#'))
        .collect();
    for (name, figures) in lines {
        let figures: Vec<_> = figures
            .iter()
            .map(|(kernel, cost)| format!("\"{kernel}\": {cost}"))
            .collect();
        text += &format!("{name}: {{ {} }}\n", figures.join(", "));
    }
    Ok(text)
}

/// Writes it into the checkout.
pub(super) fn write(report: &Report) -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/instruction-budget.yaml");
    std::fs::write(path, rewritten(TEXT, report)?).with_context(|| format!("cannot write {FILE}"))
}

/// The cases of a report that have a budget: not the floors, and each one's cost.
pub fn costs(report: &Report) -> impl Iterator<Item = (&Case, f64)> {
    report.cases.iter().filter_map(|case| {
        let is_case = case
            .parameters
            .get("kind")
            .is_some_and(|kind| kind == "case");
        Some((case, *case.derived.get("cost").filter(|_| is_case)?))
    })
}

/// `6.12` of `6.12.117+deb12-amd64`.
pub(super) fn series(release: &str) -> &str {
    let second = release.match_indices('.').nth(1);
    let end = second.map_or(release.len(), |(at, _)| at);
    &release[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "# figures\nVIP: { \"6.1\": 100, \"6.12\": 200 }\nsmall: { \"6.1\": 10 }\n";

    #[test]
    fn the_file_can_be_read() {
        Budget::read().unwrap();
    }

    #[test]
    fn a_file_without_lines_holds_nobody_to_anything() {
        let budget = Budget::parse("# to be counted\n").unwrap();
        assert_eq!(budget.problem("VIP", "6.12.1", 500.0), None);
        let line = budget.line("VIP", "6.12.1", 500.0);
        assert_eq!(line, "counted: 6.12.1 500 of none VIP");
    }

    #[test]
    fn two_in_a_hundred_are_room_and_more_is_a_problem() {
        let budget = Budget::parse(LINES).unwrap();
        let problem = |cost| budget.problem("VIP", "6.12.117+deb12-amd64", cost);
        assert_eq!(problem(204.0), None);
        assert_eq!(problem(100.0), None);
        let said = problem(210.0).unwrap();
        for part in [
            "VIP takes 210",
            "6.12,",
            "5.0 %",
            "`\"6.12\": 210`",
            "yaml:2",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert_eq!(
            budget.problem("small", "6.1.0", 11.0),
            None,
            "one is nothing"
        );
        assert!(budget.problem("small", "6.1.0", 11.5).is_some());
    }

    #[test]
    fn cases_and_lines_must_fit_each_other() {
        let budget = Budget::parse(LINES).unwrap();
        let missing = budget.problem("small", "6.12.1", 7.2).unwrap();
        assert!(missing.contains("`\"6.12\": 7`"), "{missing}");
        let missing = budget.problem("new", "6.12.1", 7.2).unwrap();
        assert!(missing.contains("`new: { \"6.12\": 7 }`"), "{missing}");
        let gone = budget.unused(["VIP"]);
        assert!(
            gone[0].contains("small") && gone[0].contains("yaml:3"),
            "{gone:?}"
        );
    }

    #[test]
    fn figures_of_other_kernels_stay_and_lines_without_a_case_go() {
        let mut case = Case::new("VIP", "instructions/packet", vec![1.0]).with("kind", "case");
        case.derive("cost", 206.6);
        let mut report = Report::begin("instructions").unwrap();
        report
            .cases
            .push(case.with("kernel", "6.12.117+deb12-amd64"));
        assert_eq!(
            rewritten(LINES, &report).unwrap(),
            "# figures\nVIP: { \"6.1\": 100, \"6.12\": 207 }\n"
        );
    }

    #[test]
    fn the_series_is_two_numbers() {
        assert_eq!(series("6.1.0-56-amd64"), "6.1");
        assert_eq!(series("6.12"), "6.12");
    }
}
