//! What is told after the order: the journey, the verdict, the row, the counters.

use std::process::ExitCode;

use comfy_table::{CellAlignment, Table, presets};
use lingyun::status::{Status, Traffic};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    journey::{Claim, lab::Placed, render_claims},
    lab::Lab,
};

/// All that came out.
pub(super) struct Report {
    /// The order and its way.
    pub placed: Placed,
    /// The story's table, line by line.
    pub claims: Vec<Claim>,
    /// The row in the database.
    pub row: String,
    /// What the gateways counted.
    pub gateways: Vec<Count>,
}

/// What a gateway carried for one backend during the order.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Count {
    gateway: String,
    service: String,
    backend: String,
    traffic: Traffic,
}

impl Report {
    /// For people.
    pub(super) fn text(&self, width: usize, colour: bool) -> String {
        let placed = &self.placed;
        format!(
            "\n{}\n\nTHE STORY  its table, held against what was captured\n{}\n\nTHE ORDER  answered with {}\n{}\n\n\
             THE ROW\n{}\n\nTHE GATEWAYS  counted for this order\n{}\n",
            placed.journey.render(width, colour).trim_end(),
            render_claims(&self.claims, width, colour).trim_end(),
            placed.status,
            indent(&placed.answer.to_string()),
            indent(&self.row),
            indent(&self.counts()),
        )
    }

    /// For scripts.
    pub(super) fn json(&self, lab: &Lab) -> Value {
        json!({
            "run": lab.run().to_string(),
            "ok": self.claims.iter().all(|claim| claim.ok),
            "status": self.placed.status,
            "order": self.placed.answer,
            "row": self.row.lines().collect::<Vec<_>>(),
            "journey": self.placed.journey,
            "claims": self.claims,
            "gateways": self.gateways,
        })
    }

    /// Success only if every claim holds.
    pub(super) fn verdict(&self) -> ExitCode {
        match self.claims.iter().all(|claim| claim.ok) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        }
    }

    fn counts(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        table.set_header([
            "gateway", "service", "backend", "in", "bytes", "out", "bytes",
        ]);
        for count in &self.gateways {
            let Traffic {
                in_packets,
                in_bytes,
                out_packets,
                out_bytes,
            } = count.traffic;
            table.add_row(
                [
                    count.gateway.clone(),
                    count.service.clone(),
                    count.backend.clone(),
                ]
                .into_iter()
                .chain(
                    [in_packets, in_bytes, out_packets, out_bytes].map(|number| number.to_string()),
                ),
            );
        }
        for column in 3..7 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.to_string()
    }
}

/// What was carried between two looks at the gateways; backends without traffic are left out.
pub(super) fn difference(before: &[Status], after: &[Status]) -> Vec<Count> {
    let mut counts = Vec::new();
    for (old, new) in before.iter().zip(after) {
        for (old_service, service) in old.load_balancers.iter().zip(&new.load_balancers) {
            for (was, is) in old_service.backends.iter().zip(&service.backends) {
                let traffic = Traffic {
                    in_packets: is.traffic.in_packets.saturating_sub(was.traffic.in_packets),
                    in_bytes: is.traffic.in_bytes.saturating_sub(was.traffic.in_bytes),
                    out_packets: is
                        .traffic
                        .out_packets
                        .saturating_sub(was.traffic.out_packets),
                    out_bytes: is.traffic.out_bytes.saturating_sub(was.traffic.out_bytes),
                };
                if traffic != Traffic::default() {
                    counts.push(Count {
                        gateway: new.node.clone(),
                        service: format!("{} {}/{}", service.vip, service.protocol, service.port),
                        backend: format!("{} {}:{}", is.instance, is.address, is.port),
                        traffic,
                    });
                }
            }
        }
    }
    counts
}

fn indent(text: &str) -> String {
    text.lines()
        .map(|line| format!("    {}", line.trim_end()))
        .collect::<Vec<_>>()
        .join("\n")
}
