//! What the fixtures say of the verifier's work, as one table of all kernels.

use std::collections::BTreeMap;

/// Of programs that take less than this, no budget is called generous.
const SMALL: u64 = 500;

/// What one program cost one kernel's verifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    kernel: String,
    program: String,
    count: u64,
    /// None if the program has no budget yet.
    budget: Option<u64>,
}

impl Verified {
    /// Reads `verified: KERNEL PROGRAM COUNT of BUDGET`, behind a test's name or alone.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (_, words) = line.split_once("verified: ")?;
        match words.split_whitespace().collect::<Vec<_>>()[..] {
            [kernel, program, count, "of", budget] => Some(Self {
                kernel: kernel.to_owned(),
                program: program.to_owned(),
                count: count.parse().ok()?,
                budget: budget.parse().ok(),
            }),
            _ => None,
        }
    }
}

/// The table's lines, and notes below it; nothing if nothing was counted.
pub(super) fn table(all: &[Verified]) -> Vec<String> {
    if all.is_empty() {
        return Vec::new();
    }
    let mut kernels: Vec<&str> = Vec::new();
    let mut programs: BTreeMap<&str, Vec<&Verified>> = BTreeMap::new();
    for verified in all {
        if !kernels.contains(&verified.kernel.as_str()) {
            kernels.push(&verified.kernel);
        }
        programs
            .entry(&verified.program)
            .or_default()
            .push(verified);
    }
    let first = programs.keys().map(|name| name.len()).max().unwrap_or(0);
    let mut head = format!("verifier {:>1$}", "", first.saturating_sub(9));
    for kernel in &kernels {
        head += &format!("  {kernel}");
    }
    let mut lines = vec![head + "  budget"];
    let mut notes = Vec::new();
    for (program, counts) in programs {
        let mut line = format!("{program:<0$}", first.max(9));
        for kernel in &kernels {
            let found = counts.iter().find(|verified| verified.kernel == *kernel);
            let count = found.map_or("-".to_owned(), |verified| verified.count.to_string());
            line += &format!("  {count:>0$}", kernel.len());
        }
        let budget = counts.iter().find_map(|verified| verified.budget);
        let shown = budget.map_or("none".to_owned(), |budget| budget.to_string());
        lines.push(format!("{line}  {shown:>6}"));
        let most = counts.iter().map(|verified| verified.count).max();
        if let (Some(budget), Some(most)) = (budget, most)
            && budget > 2 * most.max(SMALL)
        {
            notes.push(format!(
                "the budget of {program} is generous: no kernel here took more than {most} of \
                 {budget}; lower it in tests/verifier-budget.yaml"
            ));
        }
    }
    lines.extend(notes);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Verified> {
        lines
            .iter()
            .filter_map(|line| Verified::parse(line))
            .collect()
    }

    #[test]
    fn a_line_is_read_wherever_it_stands() {
        let found = read(&[
            "test kernel::the_verifier ... verified: 6.1.0-56-amd64 lingyun_public 5642 of 7000",
            "verified: 6.1.0-56-amd64 lingyun_new 12 of none",
            "verified: nothing",
            "measured: 12",
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].count, found[0].budget), (5_642, Some(7_000)));
        assert_eq!(
            (found[1].program.as_str(), found[1].budget),
            ("lingyun_new", None)
        );
    }

    #[test]
    fn the_table_has_a_column_for_each_kernel() {
        let table = table(&read(&[
            "verified: 6.1.0-56-amd64 lingyun_public 5642 of 7000",
            "verified: 6.1.0-56-amd64 lingyun_underlay 100 of 5000",
            "verified: 6.12 lingyun_public 5643 of 7000",
        ]));
        assert_eq!(
            table[..3],
            [
                "verifier          6.1.0-56-amd64  6.12  budget",
                "lingyun_public              5642  5643    7000",
                "lingyun_underlay             100     -    5000",
            ]
        );
        assert_eq!(table.len(), 4);
        assert!(
            table[3].contains("lingyun_underlay is generous") && table[3].contains("100 of 500")
        );
    }

    #[test]
    fn a_small_program_may_have_room() {
        let table = table(&read(&["verified: 6.1 public_refuse 41 of 1000"]));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn nothing_counted_prints_nothing() {
        assert!(table(&[]).is_empty());
    }
}
