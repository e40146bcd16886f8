//! What holds for every frame, whatever the oracle says: it might be wrong, too.

use std::net::IpAddr;

use lingyun::config::Topology;

use super::subject::Outcome;
use crate::{
    harness::Action,
    oracle::{Fate, Way},
    packet::{
        walk::{Kind, walk},
        wrong_checksums,
    },
};

/// Nothing right becomes wrong, and nothing private leaves.
pub(super) fn check(
    topology: &Topology,
    input: &[u8],
    fate: &Fate,
    outcome: &Outcome,
) -> Result<(), String> {
    if matches!(outcome.action, Action::Drop | Action::Pass) {
        return Ok(());
    }
    let wrong = wrong_checksums(&outcome.frame);
    if !wrong.is_empty() && wrong_checksums(input).is_empty() {
        return Err(format!("what was right is wrong now: {}", wrong.join(", ")));
    }
    if let Fate::Sent {
        way: Way::Out(_), ..
    } = fate
        && let Some(source) = source(&outcome.frame)
        && !is_public(topology, source)
    {
        return Err(format!("{source} leaves, which is no public address"));
    }
    Ok(())
}

/// Where a frame's packet comes from.
fn source(frame: &[u8]) -> Option<IpAddr> {
    let part = walk(frame)
        .into_iter()
        .find(|part| part.kind == Kind::Ipv4)?;
    let octets: [u8; 4] = frame.get(part.at + 12..part.at + 16)?.try_into().ok()?;
    Some(octets.into())
}

fn is_public(topology: &Topology, address: IpAddr) -> bool {
    let services = topology.load_balancers.iter().map(|service| service.vip);
    let floating = topology.floating_ips.iter().map(|floating| floating.ip);
    services.chain(floating).any(|public| public == address)
}
