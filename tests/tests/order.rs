//! The story: one order through the whole lab, packet by packet.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use gateway_tests::{
    journey::{
        lab::{Placed, Purchase, place},
        render_claims,
    },
    lab::{Lab, Options, Progress},
};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::unistd::geteuid;

/// Width of the tables in a failure's report.
const WIDTH: usize = 120;

fn main() {
    let missing = (!geteuid().is_root()).then_some("needs root for network namespaces");
    let name = match missing {
        Some(missing) => format!("every_order_takes_the_storys_way (skipped: {missing})"),
        None => "every_order_takes_the_storys_way".to_owned(),
    };
    let test = || every_order().map_err(|error| Failed::from(format!("{error:#}")));
    let trial = Trial::test(name, test).with_ignored_flag(missing.is_some());
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

/// Several orders, so that both gateways, HAProxys and Controllers get their share.
fn every_order() -> Result<()> {
    let topology = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../topologies/order.yaml");
    let lab = Lab::up(&topology, Options::default(), &Progress::silent())?;
    for number in 0..8 {
        let purchase = Purchase {
            client: "phone".to_owned(),
            item: "teapot".to_owned(),
            quantity: 1,
            key: format!("order-{}-{number}", lab.run()),
        };
        let placed = place(&lab, &purchase).with_context(|| format!("order {number}"))?;
        if number == 0 {
            print!("{}", placed.journey.render(100, false));
        }
        check(&placed, &purchase).with_context(|| format!("order {number}"))?;
    }
    lab.down()
}

fn check(placed: &Placed, purchase: &Purchase) -> Result<()> {
    let Placed {
        status,
        answer,
        recording,
        journey,
    } = placed;
    ensure!(*status == 201, "{status}: {answer}");
    ensure!(
        answer["idempotency_key"] == *purchase.key,
        "another order came back: {answer}"
    );
    ensure!(
        recording.dropped == 0,
        "the capture lost {} frames",
        recording.dropped
    );
    let claims = journey.check();
    ensure!(
        claims.iter().all(|claim| claim.ok),
        "the journey is not the story's:\n{}{}",
        journey.render(WIDTH, false),
        render_claims(&claims, WIDTH, false)
    );
    ensure!(
        journey.database.len() >= 2,
        "the database was asked and answered"
    );
    // The file for Wireshark holds what tshark can read.
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("order.pcapng");
    recording.write_pcapng(&path)?;
    let read = Command::new("capinfos")
        .arg("-c")
        .arg("-M")
        .arg(&path)
        .output()?;
    let text = String::from_utf8_lossy(&read.stdout);
    let frames = recording.frames.len().to_string();
    ensure!(
        read.status.success() && text.contains(&frames),
        "capinfos: {text}, not {frames}"
    );
    Ok(())
}
