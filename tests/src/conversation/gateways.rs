//! Two gateways: each hands out its own ports, and hands over what is the other's.

use std::collections::BTreeSet;

use gateway_common::Reason;

use super::{
    Told, World, conversations, holds,
    packet::{ACK, Kind, Packet, SYN, packet, tcp, udp},
    site::{HANDOVER, OTHER_VTEP, SHARED, SHARES, SHOP_1, SHOP_2},
    world::{VTEPS, same_tunnel},
};
use crate::{
    cases::{
        Program,
        site::{ANYCAST, HOST_A, OWN_VTEP, SPINE_MAC, UNDERLAY_MAC},
    },
    harness::Action,
    packet::{Frame, eth},
};

conversations! {
    snat_gateways_hand_out_ports_of_their_own: [];
    snat_returns_come_back_by_any_gateway: [];
    snat_hands_over_nothing_twice: [];
    snat_takes_nothing_over_from_strangers: [];
    snat_drops_what_no_gateway_hands_out: [];
}

fn snat_gateways_hand_out_ports_of_their_own(world: &mut World) -> Told {
    let share = |port: u16| (usize::from(port) * SHARES) >> 16;
    let mut seen = BTreeSet::new();
    for gateway in [0, 1] {
        for near in 1_000..1_100 {
            let port = world.both_ways(gateway, SHOP_1, SHARED, udp(near, 53))?;
            holds("the port is of its share", share(port) == gateway)?;
            holds("nobody else has it", seen.insert(port))?;
        }
    }
    Ok(())
}

/// The frame as it comes out of the underlay at the other gateway.
pub(super) fn carried(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[..6].copy_from_slice(&UNDERLAY_MAC);
    frame[6..12].copy_from_slice(&SPINE_MAC);
    frame
}

fn snat_returns_come_back_by_any_gateway(world: &mut World) -> Told {
    for (owner, other) in [(0, 1), (1, 0)] {
        for kind in [Kind::Udp, Kind::Tcp(SYN | ACK), Kind::Echo] {
            for vm in [SHOP_1, SHOP_2] {
                let near = 4_000 + owner as u16;
                let of = packet(kind, near, 53);
                let port = world.leaves(owner, vm, SHARED, packet(kind, near, 53))?;
                hand_over(world, (owner, other), vm, (of, port))?;
            }
        }
    }
    Ok(())
}

fn hand_over(
    world: &mut World,
    (owner, other): (usize, usize),
    vm: super::site::Vm,
    (packet, port): (Packet, u16),
) -> Told {
    let answer = packet.answer(SHARED, port).bytes();
    let handed = world.send(other, Program::Public, &answer)?;
    let what = |error| {
        format!(
            "{packet:?} from gateway {} to {}: {error}",
            other + 1,
            owner + 1
        )
    };
    let vteps = (VTEPS[other], VTEPS[owner]);
    same_tunnel(&packet.handed(vteps, SHARED, port), &handed.output).map_err(what)?;
    let arrived = carried(&handed.output);
    let delivered = world.send(owner, Program::Underlay, &arrived)?;
    holds(
        "it is sent on",
        matches!(delivered.action, Action::Redirect(_)),
    )?;
    same_tunnel(&packet.delivered(vm), &delivered.output).map_err(what)
}

/// A packet that was handed over, as it arrives.
fn arrives(from: std::net::Ipv4Addr, to: std::net::Ipv4Addr, inner: Frame) -> Frame {
    eth(SPINE_MAC, UNDERLAY_MAC)
        .vxlan(from, to, HANDOVER)
        .wrapping(inner)
}

fn snat_hands_over_nothing_twice(world: &mut World) -> Told {
    let port = world.leaves(0, SHOP_1, SHARED, udp(4_000, 53))?;
    let answer = udp(4_000, 53).answer(SHARED, port);
    // Gateway 1's port, handed to gateway 2: it must not come back.
    let frame = arrives(OWN_VTEP, OTHER_VTEP, answer);
    world.ends(1, Program::Underlay, &frame, Reason::HandedOverTwice)
}

fn snat_takes_nothing_over_from_strangers(world: &mut World) -> Told {
    let port = world.leaves(0, SHOP_1, SHARED, udp(4_000, 53))?;
    let answer = || udp(4_000, 53).answer(SHARED, port);
    for from in [HOST_A, ANYCAST, OWN_VTEP] {
        let frame = arrives(from, OWN_VTEP, answer());
        let reason = Reason::HandedOverByStranger;
        world.ends(0, Program::Underlay, &frame, reason)?;
    }
    // A gateway may, but only what is for an address that instances share.
    let frame = arrives(
        OTHER_VTEP,
        OWN_VTEP,
        udp(4_000, 53).answer(crate::cases::site::VIP, 443),
    );
    world.ends(0, Program::Underlay, &frame, Reason::NoService)?;
    let frame = arrives(OTHER_VTEP, OWN_VTEP, answer());
    let observed = world.send(0, Program::Underlay, &frame.bytes())?;
    same_tunnel(&udp(4_000, 53).delivered(SHOP_1), &observed.output)
}

fn snat_drops_what_no_gateway_hands_out(world: &mut World) -> Told {
    for share in 2..SHARES {
        let port = (share << 16) / SHARES + 77;
        let packet = tcp(ACK, 1, 80);
        world.is_refused(0, (SHARED, port as u16), packet, Reason::SnatNoOwner)?;
    }
    Ok(())
}
