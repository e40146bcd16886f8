//! The result for people.

use comfy_table::{CellAlignment, Table, presets};

use super::report::Report;

pub(super) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["case", "flows", "least", "median", "cost", "of floor"]);
    for case in &report.cases {
        let ratio = case.derived.get("of_floor_paired");
        table.add_row([
            case.name.clone(),
            case.flows.map_or(String::new(), |flows| flows.to_string()),
            format!("{:.0} ns", case.least),
            format!("{:.0} ns", case.median),
            format!("{:.0} ns", case.derived.get("cost").unwrap_or(&f64::NAN)),
            ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
        ]);
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let setting = |name| report.settings.get(name).copied().unwrap_or(0);
    format!(
        "{table}\n\n\
         {} rounds of {} packets each, candidates in turn; kernel {}, {}; commit {}\n{}",
        setting("rounds"),
        setting("packets"),
        report.machine.kernel,
        report.machine.processor,
        report.commit,
        report.notes.join("\n")
    )
}
