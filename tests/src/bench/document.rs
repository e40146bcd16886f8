//! docs/benchmarks.md, written from reports that lie next to it. No figure on it was
//! typed by anybody.

use std::{
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::{plot, report::Report, table, targets};

/// Benches in the order of the page, with a sentence each.
const BENCHES: [(&str, &str, &str); 5] = [
    (
        "program",
        "The program alone",
        "Nanoseconds a packet of the XDP program, without any device.",
    ),
    (
        "wire",
        "Through a wire",
        "Packets a second through real veths, beside what others reach there.",
    ),
    (
        "latency",
        "On the way",
        "How long a frame takes from the moment when it is due to its arrival.",
    ),
    (
        "instructions",
        "Instructions",
        "Instructions a packet on an emulated machine: the same everywhere.",
    ),
    (
        "control",
        "The agent",
        "How long the agent takes for large topologies and for changes, and what it needs.",
    ),
];

/// Where reports and plots of the page are, in the checkout.
pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks")
}

/// The reports of the page.
fn reports() -> Result<Vec<Report>> {
    let files = BENCHES.map(|(bench, ..)| directory().join(format!("{bench}.json")));
    let there = files.iter().filter(|file| file.exists());
    let reports = there.map(|file| {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        Report::parse(&text).with_context(|| file.display().to_string())
    });
    reports.collect()
}

/// The page; none where nothing was measured for it.
pub fn page() -> Result<Option<String>> {
    let reports = reports()?;
    if reports.is_empty() {
        return Ok(None);
    }
    Ok(Some(written(&reports)?))
}

fn written(reports: &[Report]) -> Result<String, fmt::Error> {
    let mut page = String::from(HEAD);
    summary(&mut page, reports)?;
    for (bench, title, sentence) in BENCHES {
        let Some(report) = reports.iter().find(|report| report.bench == bench) else {
            continue;
        };
        write!(page, "\n## {title}\n\n{sentence}\n\n")?;
        writeln!(page, "{}\n", table::markdown(report))?;
        for note in &report.notes {
            writeln!(page, "- {note}")?;
        }
        for plot in plot::plots(report) {
            write!(page, "\n![{}](benchmarks/{}.svg)\n", plot.title, plot.name)?;
        }
        provenance(&mut page, report)?;
    }
    Ok(page)
}

/// What is aimed at, first of all.
fn summary(page: &mut String, reports: &[Report]) -> fmt::Result {
    let reached: Vec<_> = reports.iter().flat_map(targets::reached).collect();
    if reached.is_empty() {
        return Ok(());
    }
    writeln!(page, "\n## Targets\n\n| Ratio | Target | Measured | |")?;
    writeln!(page, "|---|---|---|---|")?;
    for target in reached {
        let mark = if target.is_met { "met" } else { "missed" };
        let (what, goal, value) = (target.what, target.goal, target.value);
        writeln!(page, "| {what} | {goal} | {value:.2} | {mark} |")?;
    }
    Ok(())
}

/// Where a report comes from, and how to get it again.
fn provenance(page: &mut String, report: &Report) -> fmt::Result {
    let machine = &report.machine;
    write!(
        page,
        "\n`{}` at commit `{}`, {}. {} x {}, {} MiB, kernel {}",
        report.command,
        report.commit,
        day(report.begun),
        machine.processors,
        machine.processor,
        machine.memory_mib,
        machine.kernel,
    )?;
    if let Some(emulator) = &machine.emulator {
        write!(page, ", emulated by {emulator}")?;
    }
    writeln!(page, "; spectre_v2: {}.", machine.spectre_v2)?;
    if let Some(caveat) = machine.caveat() {
        writeln!(page, "\n**{caveat}**\n")?;
    }
    writeln!(
        page,
        "Every round is in [{0}.json](benchmarks/{0}.json).",
        report.bench
    )
}

/// Year, month and day (UTC) of so many seconds since 1970.
fn day(seconds: u64) -> String {
    // Years begin in March, so that the leap day comes last.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

const HEAD: &str = "\
<!-- Written by `cargo xtask bench --document` from docs/benchmarks/*.json: measure anew, or
     change tests/src/bench/document.rs and type `cargo xtask docs`. -->

# Benchmarks

`cargo xtask bench` measures all of this on your machine, as root, in its own network
namespaces; `cargo xtask bench --quick` takes a look in a minute. Absolute figures move from
machine to machine; ratios within one run are what counts. Each figure is the median of
rounds in which the candidates took turns, if nothing else is said.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::Case;

    #[test]
    fn days_are_the_calendars() {
        for (seconds, expected) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (1_709_251_199, "2024-02-29"),
            (1_795_219_200, "2026-11-21"),
        ] {
            assert_eq!(day(seconds), expected);
        }
    }

    #[test]
    fn the_page_tells_where_figures_come_from() {
        let mut report = Report::begin("wire").unwrap();
        report.command = "cargo xtask bench wire".into();
        report.commit = "0123456789ab".into();
        report
            .cases
            .push(Case::new("Lingyun VIP", "packets/s", vec![4e6]).of_flows(65_536));
        let page = written(&[report]).unwrap();
        for word in [
            "`cargo xtask bench wire`",
            "0123456789ab",
            "4.000",
            "throughput.svg",
        ] {
            assert!(page.contains(word), "{word} is not in:\n{page}");
        }
    }
}
