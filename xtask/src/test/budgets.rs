//! What suites say of what has a budget, as one table of all kernels: the verifier's
//! work with each program, and the instructions of each case's packet.

use std::collections::BTreeMap;

/// Of programs that take less than this, no budget is called generous.
const SMALL: u64 = 500;

/// What is held to a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The verifier's work: one budget for all kernels, with room.
    Verifier,
    /// A packet's instructions: what each kernel took when somebody last looked.
    Packet,
}

/// What one program or case cost one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    kind: Kind,
    kernel: String,
    name: String,
    count: u64,
    /// None if it has no budget yet.
    budget: Option<u64>,
}

impl Spent {
    /// Reads `verified: KERNEL PROGRAM COUNT of BUDGET` or
    /// `counted: KERNEL COUNT of BUDGET CASE`, behind a test's name or alone. A case's
    /// name has spaces.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let kinds = [("verified: ", Kind::Verifier), ("counted: ", Kind::Packet)];
        let (kind, words) = kinds
            .iter()
            .find_map(|(word, kind)| Some((*kind, line.split_once(word)?.1)))?;
        let words: Vec<_> = words.split_whitespace().collect();
        let (kernel, words) = words.split_first()?;
        let (name, count, budget) = match (kind, words) {
            (Kind::Verifier, &[name, count, "of", budget]) => (name.to_owned(), count, budget),
            (Kind::Packet, &[count, "of", budget, ref name @ ..]) if !name.is_empty() => {
                (name.join(" "), count, budget)
            }
            _ => return None,
        };
        Some(Self {
            kind,
            kernel: (*kernel).to_owned(),
            name,
            count: count.parse().ok()?,
            budget: budget.parse().ok(),
        })
    }

    fn budget(&self) -> String {
        self.budget
            .map_or("none".to_owned(), |budget| budget.to_string())
    }
}

impl Kind {
    const fn heading(self) -> &'static str {
        match self {
            Self::Verifier => "verifier",
            Self::Packet => "instructions a packet",
        }
    }
}

/// The tables' lines, and notes below them; nothing if nothing was counted.
pub(super) fn tables(all: &[Spent]) -> Vec<String> {
    let mut lines = Vec::new();
    for kind in [Kind::Verifier, Kind::Packet] {
        let of_kind: Vec<_> = all.iter().filter(|spent| spent.kind == kind).collect();
        if !of_kind.is_empty() {
            lines.extend(table(kind, &of_kind));
        }
    }
    lines
}

fn table(kind: Kind, all: &[&Spent]) -> Vec<String> {
    let mut kernels: Vec<&str> = Vec::new();
    let mut names: BTreeMap<&str, Vec<&Spent>> = BTreeMap::new();
    for spent in all {
        if !kernels.contains(&spent.kernel.as_str()) {
            kernels.push(&spent.kernel);
        }
        names.entry(&spent.name).or_default().push(spent);
    }
    let longest = names.keys().map(|name| name.len()).max().unwrap_or(0);
    let first = longest.max(kind.heading().len());
    let mut head = format!("{:<first$}", kind.heading());
    for kernel in &kernels {
        head += &format!("  {kernel:>14}");
    }
    if kind == Kind::Verifier {
        head += "  budget";
    }
    let mut lines = vec![head];
    let mut notes = Vec::new();
    for (name, counts) in names {
        let mut line = format!("{name:<first$}");
        for kernel in &kernels {
            let found = counts.iter().find(|spent| spent.kernel == *kernel);
            let cell = found.map_or("-".to_owned(), |spent| match kind {
                Kind::Verifier => spent.count.to_string(),
                Kind::Packet => format!("{} of {}", spent.count, spent.budget()),
            });
            line += &format!("  {cell:>0$}", kernel.len().max(14));
        }
        if kind == Kind::Verifier {
            line += &format!("  {:>6}", counts[0].budget());
            notes.extend(generous(name, &counts));
        }
        lines.push(line);
    }
    lines.extend(notes);
    lines
}

/// A budget that hides what it should show.
fn generous(program: &str, counts: &[&Spent]) -> Option<String> {
    let budget = counts.iter().find_map(|spent| spent.budget)?;
    let most = counts.iter().map(|spent| spent.count).max()?;
    (budget > 2 * most.max(SMALL)).then(|| {
        format!(
            "the budget of {program} is generous: no kernel here took more than {most} of \
             {budget}; lower it in tests/verifier-budget.yaml"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<Spent> {
        lines.iter().filter_map(|line| Spent::parse(line)).collect()
    }

    #[test]
    fn a_line_is_read_wherever_it_stands() {
        let found = read(&[
            "test kernel::the_verifier ... verified: 6.1.0-56-amd64 lingyun_public 5642 of 7000",
            "verified: 6.1.0-56-amd64 lingyun_new 12 of none",
            "verified: nothing",
            "counted: 6.12 12 of",
            "measured: 12",
        ]);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].count, found[0].budget), (5_642, Some(7_000)));
        assert_eq!(
            (found[1].name.as_str(), found[1].budget),
            ("lingyun_new", None)
        );
    }

    #[test]
    fn the_table_has_a_column_for_each_kernel() {
        let table = tables(&read(&[
            "verified: 6.1.0-56-amd64 lingyun_public 5642 of 7000",
            "verified: 6.1.0-56-amd64 lingyun_underlay 100 of 5000",
            "verified: 6.12 lingyun_public 5643 of 7000",
        ]));
        assert_eq!(
            table[..3],
            [
                "verifier          6.1.0-56-amd64            6.12  budget",
                "lingyun_public              5642            5643    7000",
                "lingyun_underlay             100               -    5000",
            ]
        );
        assert_eq!(table.len(), 4);
        assert!(
            table[3].contains("lingyun_underlay is generous") && table[3].contains("100 of 500")
        );
    }

    #[test]
    fn each_kernel_has_its_own_budget_of_instructions() {
        let table = tables(&read(&[
            "test VIP ... counted: 6.1.0-56-amd64 198 of 200 VIP TCP, 10k VIPs",
            "counted: 6.12.117+deb12-amd64 201 of none VIP TCP, 10k VIPs",
            "verified: 6.12 lingyun_public 5643 of 7000",
        ]));
        assert!(table[0].starts_with("verifier ") && table[1].starts_with("lingyun_public "));
        assert_eq!(
            table[2..],
            [
                "instructions a packet  6.1.0-56-amd64  6.12.117+deb12-amd64",
                "VIP TCP, 10k VIPs          198 of 200           201 of none",
            ]
        );
    }

    #[test]
    fn a_small_program_may_have_room() {
        let table = tables(&read(&["verified: 6.1 public_refuse 41 of 1000"]));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn nothing_counted_prints_nothing() {
        assert!(tables(&[]).is_empty());
    }
}
