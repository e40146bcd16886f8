//! A gateway between two interfaces of this machine, measured against line rate.
//!
//! Frames for a VIP leave by one interface and are counted at another; what is in
//! between is a gateway on its own machine, or a cable.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use lingyun::config::Mac;
use nix::net::if_::if_nametoindex;
use serde_json::Value;

use super::{
    ends::{Arriving, Pace, Sink, Source, pin_to},
    processor,
};
use crate::{
    bench::{
        cases::inbound,
        interrupt,
        report::{Case, Report},
    },
    cases::site::CLIENT,
    lab::Stand,
    packet::eth,
};

/// Interfaces to measure between.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Interfaces {
    /// No veths: send out of this interface. Everything that it carries else is disturbed.
    #[arg(long, value_name = "IFACE", requires_all = ["rx", "to", "vip"])]
    tx: Option<String>,
    /// Count what arrives at this interface, and drop all of it.
    #[arg(long, value_name = "IFACE", requires = "tx")]
    rx: Option<String>,
    /// MAC of the gateway's public interface.
    #[arg(long, value_name = "MAC", requires = "tx", value_parser = mac)]
    to: Option<Mac>,
    /// A VIP of the gateway that serves tcp/443.
    #[arg(long, value_name = "ADDRESS", requires = "tx")]
    vip: Option<Ipv4Addr>,
    /// Use interfaces that have an address or carry the default route.
    #[arg(long, requires = "tx")]
    yes_really: bool,
}

fn mac(text: &str) -> Result<Mac, String> {
    let bytes: Result<Vec<_>, _> = text
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect();
    let bytes = bytes.ok().and_then(|bytes| bytes.try_into().ok());
    bytes
        .map(Mac)
        .ok_or_else(|| format!("`{text}` is no MAC such as 02:00:00:00:00:01"))
}

/// Bits of a frame on the wire that are in no buffer: preamble, start, checksum, gap.
const AROUND: u64 = (7 + 1 + 4 + 12) * 8;

/// A namespace whose loopback device the source is attached to.
const REST: &str = "rest";

impl Interfaces {
    /// Whether real interfaces are to be used.
    pub(super) const fn are_given(&self) -> bool {
        self.tx.is_some()
    }

    /// Sends in rounds; frames a second and their share of line rate.
    pub(super) fn measure(&self, rounds: usize, duration: Duration) -> Result<Report> {
        let (Some(tx), Some(rx), Some(to), Some(vip)) = (&self.tx, &self.rx, self.to, self.vip)
        else {
            bail!("--tx, --rx, --to and --vip go together");
        };
        if !self.yes_really {
            [tx, rx].into_iter().try_for_each(|name| is_idle(name))?;
        }
        let own = describe(tx)?;
        let own = own["address"]
            .as_str()
            .context("an interface without MAC")?;
        let own = mac(own).map_err(anyhow::Error::msg)?;
        let sample = inbound(
            &eth(own.0, to.0)
                .ipv4(CLIENT, vip)
                .tcp(40_000, 443)
                .payload_of(10),
        );
        let sink = Sink::new(&sample, rx, Arriving::Frames, 60, Pace::Full)?;
        let stand = Stand::new()?;
        stand.node(REST)?;
        let bits = sample.frame.len() as u64 * 8 + AROUND;
        let line_rate = speed(tx)?.map(|bits_per_second| bits_per_second / bits as f64);
        let mut report = Report::begin("wire")?;
        report.notes.push(format!(
            "64-byte TCP frames by live frames out of {tx}, counted at {rx}; line rate counts \
             preamble, checksum and gap"
        ));
        for flows in super::FLOWS {
            let mut source = Source::new(&sample, flows, if_nametoindex(tx.as_str())?, Pace::Full)?;
            stand.enter(REST, || source.stay_attached("lo"))??;
            let (mut rates, mut sent_all) = (Vec::new(), 0);
            let before_all = sink.count()?;
            for _ in 0..rounds {
                interrupt::check()?;
                pin_to(processor())?;
                let before = sink.count()?;
                let (sent, time) = source.send_for(duration)?;
                sent_all += sent;
                rates.push((sink.count()? - before) as f64 / time.as_secs_f64());
            }
            let arrived = sink.count()? - before_all;
            ensure!(
                arrived > 0,
                "nothing that was sent out of {tx} arrived at {rx}"
            );
            let mut case = Case::new(format!("{tx} to {rx}"), "packets/s", rates).of_flows(flows);
            case.derive("ns", 1e9 / case.median);
            case.derive("lost", 1.0 - arrived as f64 / sent_all as f64);
            if let Some(line_rate) = line_rate {
                case.derive("of_line_rate", case.median / line_rate);
            }
            report.cases.push(case);
        }
        stand.down()?;
        Ok(report)
    }
}

/// Refuses an interface that somebody may need.
fn is_idle(name: &str) -> Result<()> {
    let has_address = describe(name)?["addr_info"]
        .as_array()
        .is_some_and(|addresses| addresses.iter().any(|address| address["scope"] != "link"));
    ensure!(
        !has_address,
        "{name} has an address: measuring disturbs all its traffic; --yes-really does it all the same"
    );
    for family in ["-4", "-6"] {
        let routes = ip(&[family, "route", "show", "default"])?;
        let routes = routes.as_array().map_or(&[][..], Vec::as_slice);
        let uses = |route: &Value| {
            let hops = route["nexthops"].as_array().map_or(&[][..], Vec::as_slice);
            route["dev"] == name || hops.iter().any(|hop| hop["dev"] == name)
        };
        ensure!(
            !routes.iter().any(uses),
            "{name} carries the default route: you may be connected through it; --yes-really \
             measures all the same"
        );
    }
    Ok(())
}

fn describe(name: &str) -> Result<Value> {
    let found = ip(&["address", "show", "dev", name])?;
    found
        .get(0)
        .cloned()
        .with_context(|| format!("there is no interface {name}"))
}

fn ip(words: &[&str]) -> Result<Value> {
    let output = Command::new("ip").arg("-json").args(words).output();
    let output = output.context("cannot run `ip`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", words.join(" "));
    match output.stdout.trim_ascii() {
        [] => Ok(Value::Array(Vec::new())),
        json => Ok(serde_json::from_slice(json)?),
    }
}

/// Bits a second of a link, if the driver tells.
fn speed(name: &str) -> Result<Option<f64>> {
    let output = Command::new("ethtool").arg(name).output();
    let output = output.context("cannot run `ethtool`, which tells an interface's speed")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let value = text.lines().find_map(|line| {
        let value = line.trim().strip_prefix("Speed: ")?;
        value.strip_suffix("Mb/s")?.parse::<f64>().ok()
    });
    Ok(value.map(|megabits| megabits * 1e6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_read() {
        assert_eq!(mac("02:00:00:00:00:a1"), Ok(Mac([2, 0, 0, 0, 0, 0xa1])));
        assert!(mac("02:00").is_err() && mac("x").is_err());
    }

    #[test]
    fn loopback_is_refused() {
        let error = is_idle("lo").unwrap_err().to_string();
        assert!(error.contains("--yes-really"), "{error}");
        assert!(is_idle("no-such-device").is_err());
    }
}
