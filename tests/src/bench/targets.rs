//! What the figures are to be, and what they are: the ratios that are aimed at.

use super::report::Report;

/// A ratio that is aimed at.
pub(super) struct Target {
    /// In words.
    pub what: &'static str,
    goal: Goal,
    /// Which bench tells.
    bench: &'static str,
    value: fn(&Report) -> Option<f64>,
}

enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// A target with what was measured.
pub(super) struct Reached {
    pub what: &'static str,
    pub goal: String,
    pub value: f64,
    pub is_met: bool,
}

const ALL: [Target; 7] = [
    Target {
        what: "VIP TCP / constant 50-byte push",
        goal: Goal::AtMost(1.5),
        bench: "program",
        value: |report| Some(vip(report, FLOWS)? / floor(report, "floor_push")?),
    },
    Target {
        what: "VIP TCP / constant 50-byte push and redirect",
        goal: Goal::AtMost(1.5),
        bench: "program",
        value: |report| Some(vip(report, FLOWS)? / floor(report, "floor_push_redirect")?),
    },
    Target {
        what: "VIP TCP at 1M flows / at 1 flow",
        goal: Goal::AtMost(1.1),
        bench: "program",
        value: |report| Some(vip(report, 1 << 20)? / vip(report, 1)?),
    },
    Target {
        what: "reverse NAT and pop / constant pop and redirect",
        goal: Goal::AtMost(2.0),
        bench: "program",
        value: |report| {
            let reverse = cost(report, "reverse NAT", FLOWS)?;
            Some(reverse / floor(report, "floor_pop_redirect")?)
        },
    },
    Target {
        what: "VIP TCP with 10k VIPs / with 1",
        goal: Goal::AtMost(1.5),
        bench: "program",
        value: |report| Some(cost(report, "VIP TCP, 10k VIPs of 1", FLOWS)? / vip(report, FLOWS)?),
    },
    Target {
        what: "wire: Lingyun / constant push and redirect, 64k flows",
        goal: Goal::AtLeast(0.94),
        bench: "wire",
        value: |report| lingyun(report, "of_push"),
    },
    Target {
        what: "wire: Lingyun / nftables and kernel vxlan, 64k flows",
        goal: Goal::AtLeast(11.0),
        bench: "wire",
        value: |report| lingyun(report, "of_nftables"),
    },
];

/// Flows where their number is not the point.
const FLOWS: usize = 1 << 16;

/// The targets that a report tells about.
pub(super) fn reached(report: &Report) -> Vec<Reached> {
    let told = ALL.iter().filter(|target| target.bench == report.bench);
    let reached = told.filter_map(|target| {
        let value = (target.value)(report).filter(|value| value.is_finite())?;
        let (goal, is_met) = match target.goal {
            Goal::AtMost(goal) => (format!("<= {goal}"), value <= goal),
            Goal::AtLeast(goal) => (format!(">= {goal}"), value >= goal),
        };
        Some(Reached {
            what: target.what,
            goal,
            value,
            is_met,
        })
    });
    reached.collect()
}

/// For the terminal; nothing where a report tells of no target.
pub(super) fn text(report: &Report) -> Option<String> {
    let lines = reached(report).into_iter().map(|target| {
        let mark = if target.is_met { "met   " } else { "missed" };
        let Reached {
            what, goal, value, ..
        } = target;
        format!("{mark}  {what}: {value:.2} (target {goal})")
    });
    let lines: Vec<_> = lines.collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Nanoseconds of a case without the generator.
fn cost(report: &Report, name: &str, flows: usize) -> Option<f64> {
    let case = report.case(name, Some(flows))?;
    case.derived.get("cost").copied()
}

fn vip(report: &Report, flows: usize) -> Option<f64> {
    cost(report, "VIP TCP", flows)
}

/// A floor is told once, with the flows of the case that came first.
fn floor(report: &Report, name: &str) -> Option<f64> {
    let case = report.cases.iter().find(|case| case.name == name)?;
    case.derived.get("cost").copied()
}

fn lingyun(report: &Report, ratio: &str) -> Option<f64> {
    let mut cases = report.cases.iter();
    let case = cases.find(|case| case.name.starts_with("Lingyun") && case.flows == Some(FLOWS))?;
    case.derived.get(ratio).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Case;

    #[test]
    fn a_target_is_met_or_missed() {
        let mut report = Report::begin("wire").unwrap();
        assert!(reached(&report).is_empty());
        let mut case = Case::new("Lingyun VIP", "packets/s", vec![1.0]).of_flows(FLOWS);
        case.derive("of_push", 0.95);
        case.derive("of_nftables", 9.0);
        report.cases.push(case);
        let met: Vec<_> = reached(&report)
            .iter()
            .map(|target| target.is_met)
            .collect();
        assert_eq!(met, [true, false]);
    }
}
