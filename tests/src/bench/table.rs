//! The result for people.

use comfy_table::{CellAlignment, Table, presets};

use super::program::Results;

pub(super) fn render(results: &Results) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(["case", "flows", "least", "median", "cost", "of floor"]);
    for row in &results.rows {
        let ratio = row
            .of_floor_paired
            .map_or(String::new(), |ratio| format!("{ratio:.2}"));
        table.add_row([
            row.name.clone(),
            row.flows.to_string(),
            format!("{:.0} ns", row.least_ns),
            format!("{:.0} ns", row.median_ns),
            format!("{:.0} ns", row.cost_ns),
            ratio,
        ]);
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!(
        "{table}\n\n\
         {} rounds of {} packets each, candidates in turn; kernel {}, {}\n\
         cost: least of all rounds, less generator and XDP_TX\n\
         of floor: cost of a case over that of a constant push (or pop) and redirect, median of rounds",
        results.rounds, results.packets, results.kernel, results.processor
    )
}
