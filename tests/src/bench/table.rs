//! Results for people, in the terminal and on pages.

use comfy_table::{CellAlignment, Table, presets};

use super::{
    report::{Case, Report},
    targets,
};

/// What the terminal shows: the figures, how near they are to what is aimed at, and
/// how they came about.
pub(super) fn text(report: &Report) -> String {
    let mut parts: Vec<_> = tables(report)
        .into_iter()
        .map(|mut table| table.load_preset(presets::NOTHING).to_string())
        .collect();
    parts.extend(targets::text(report));
    parts.push(foot(report));
    parts.join("\n\n")
}

/// What a page shows of the figures.
pub(super) fn markdown(report: &Report) -> String {
    let tables = tables(report).into_iter();
    let tables: Vec<_> = tables
        .map(|mut table| table.load_preset(presets::ASCII_MARKDOWN).to_string())
        .collect();
    tables.join("\n\n")
}

fn tables(report: &Report) -> Vec<Table> {
    match report.bench.as_str() {
        "wire" => wire(report),
        "latency" => vec![latency(report)],
        "control" => vec![control(report)],
        _ => vec![program(report)],
    }
}

/// A table with its figures to the right.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// What a case has, in so many decimals.
fn derived(case: &Case, name: &str, decimals: usize) -> String {
    let value = case.derived.get(name);
    value.map_or(String::new(), |value| format!("{value:.decimals$}"))
}

fn percent(case: &Case, name: &str) -> String {
    let value = case.derived.get(name);
    value.map_or(String::new(), |value| format!("{:.1} %", value * 100.0))
}

fn flows(case: &Case) -> String {
    case.flows.map_or(String::new(), |flows| flows.to_string())
}

/// Nanoseconds or instructions a packet.
fn program(report: &Report) -> Table {
    let mut table = table(&["case", "flows", "least", "median", "cost", "of floor"]);
    for case in &report.cases {
        let kernel = case.parameters.get("kernel");
        let kernel = kernel.map_or(String::new(), |kernel| format!(", {kernel}"));
        let ratio = match case.derived.contains_key("of_floor_paired") {
            true => "of_floor_paired",
            false => "of_floor",
        };
        table.add_row([
            format!("{}{kernel}", case.name),
            flows(case),
            format!("{:.0}", case.least),
            format!("{:.0}", case.median),
            derived(case, "cost", 0),
            derived(case, ratio, 2),
        ]);
    }
    table
}

fn wire(report: &Report) -> Vec<Table> {
    let is_hardware = report
        .cases
        .iter()
        .any(|case| case.derived.contains_key("of_line_rate"));
    let mut header = vec!["contestant", "flows", "Mpps", "ns", "lost"];
    header.extend(match is_hardware {
        true => &["of line rate"][..],
        false => &["of push", "of nftables"],
    });
    let mut packets = table(&header);
    let mut connections = table(&["whole TCP connections", "a second"]);
    for case in &report.cases {
        if case.unit == "connections/s" {
            connections.add_row([case.name.clone(), format!("{:.0}", case.median)]);
            continue;
        }
        let mut row = vec![
            case.name.clone(),
            flows(case),
            format!("{:.3}", case.median / 1e6),
            derived(case, "ns", 0),
            percent(case, "lost"),
        ];
        row.extend(match is_hardware {
            true => vec![percent(case, "of_line_rate")],
            false => vec![derived(case, "of_push", 3), derived(case, "of_nftables", 2)],
        });
        packets.add_row(row);
    }
    match connections.is_empty() {
        true => vec![packets],
        false => vec![packets, connections],
    }
}

fn latency(report: &Report) -> Table {
    let times = [
        "p50",
        "p99",
        "p99.9",
        "added_p50",
        "added_p99",
        "added_p99.9",
    ];
    let mut table = table(&[
        "contestant",
        "load",
        "kpps",
        "p50 ns",
        "p99 ns",
        "p99.9 ns",
        "added p50",
        "added p99",
        "added p99.9",
        "lost",
    ]);
    for case in &report.cases {
        let rate = case.derived.get("packets_per_second").unwrap_or(&f64::NAN);
        let mut row = vec![
            case.name.clone(),
            case.parameters.get("load").cloned().unwrap_or_default(),
            format!("{:.0}", rate / 1e3),
        ];
        row.extend(times.map(|name| derived(case, name, 0)));
        row.push(percent(case, "lost"));
        table.add_row(row);
    }
    table
}

/// The agent's times and memory.
fn control(report: &Report) -> Table {
    let mut table = table(&["", "least", "median"]);
    for case in &report.cases {
        let shown = |figure: f64| match case.unit.as_str() {
            "s" => format!("{figure:.3} s"),
            "bytes" => format!("{:.1} MiB", figure / f64::from(1 << 20)),
            unit => format!("{figure:.0} {unit}"),
        };
        table.add_row([case.name.clone(), shown(case.least), shown(case.median)]);
    }
    table
}

/// Where and how it was measured.
fn foot(report: &Report) -> String {
    let settings: Vec<_> = report
        .settings
        .iter()
        .map(|(name, value)| format!("{value} {name}"))
        .collect();
    let mut lines = vec![format!(
        "{}; kernel {}, {}; commit {}",
        settings.join(", "),
        report.machine.kernel,
        report.machine.processor,
        report.commit,
    )];
    lines.extend(report.notes.iter().cloned());
    lines.extend(report.machine.caveat());
    lines.join("\n")
}
