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

/// How a sentence about the UDP checksum of a tunnel over IPv6 begins.
const TUNNEL_CHECKSUM: &str = "UDP checksum at byte 60:";

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
    let mut wrong = wrong_checksums(&outcome.frame);
    if topology.udp_checksum {
        // A tunnel's own follows those inside, also where they are wrong in a place where
        // a walk through the frame does not see them.
        wrong.retain(|sentence| !sentence.starts_with(TUNNEL_CHECKSUM));
    }
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
    let part = *walk(frame).get(1)?;
    let bytes = |at: usize, length: usize| frame.get(part.at + at..part.at + at + length);
    match part.kind {
        Kind::Ipv4 => Some(<[u8; 4]>::try_from(bytes(12, 4)?).ok()?.into()),
        Kind::Ipv6 => Some(<[u8; 16]>::try_from(bytes(8, 16)?).ok()?.into()),
        _ => None,
    }
}

fn is_public(topology: &Topology, address: IpAddr) -> bool {
    let services = topology.load_balancers.iter().map(|service| service.vip);
    let floating = topology.floating_ips.iter().map(|floating| floating.ip);
    services.chain(floating).any(|public| public == address)
}
