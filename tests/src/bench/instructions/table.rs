//! The result for people.

use comfy_table::{CellAlignment, Table, presets};

use super::budget;
use crate::bench::report::Report;

pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        "kernel", "case", "median", "cost", "alone", "of floor", "budget", "share",
    ]);
    for case in &report.cases {
        let kernel = case.parameters.get("kernel").map_or("", String::as_str);
        let figure = |name: &str, digits: usize| {
            let value = case.derived.get(name);
            value.map_or(String::new(), |value| format!("{value:.digits$}"))
        };
        let share = match (case.derived.get("cost"), case.derived.get("budget")) {
            (Some(cost), Some(budget)) => format!("{:.1} %", 100.0 * cost / budget),
            _ => String::new(),
        };
        table.add_row([
            budget::series(kernel).to_owned(),
            case.name.clone(),
            format!("{:.1}", case.median),
            figure("cost", 1),
            figure("alone", 1),
            figure("of_floor", 2),
            figure("budget", 0),
            share,
        ]);
    }
    for column in 2..8 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{table}\n\ninstructions a packet; kernels {}; {}; {}; commit {}\n{}",
        report.machine.kernel,
        report.machine.emulator.as_deref().unwrap_or("no emulator"),
        report.machine.spectre_v2,
        report.commit,
        report.notes.join("\n")
    )
}
