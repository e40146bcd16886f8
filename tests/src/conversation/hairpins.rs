//! From an instance behind a shared address to a public address of the same site: to
//! services, to floating IPs, and to each other.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Told, World, address_of, conversations,
    gateways::carried,
    holds,
    packet::{ACK, Kind, Packet, SYN, packet},
    site::{HANDOVER, LAB_2, SHARED, SHOP_1, Vm},
    world::{VTEPS, same_tunnel},
};
use crate::{
    cases::{
        Program,
        site::{
            BASTION, DNS, FLOATING, HOST_A, SHOP, SPINE_MAC, UNDERLAY_MAC, VIP, mac_of, to_host,
        },
    },
    harness::Action,
    packet::eth,
};

conversations! {
    snat_hairpins: ["RFC 4787 REQ-9", "RFC 5382 REQ-8", "RFC 5508 REQ-7"];
    snat_hairpins_by_the_other_gateway: ["RFC 4787 REQ-9", "RFC 5382 REQ-8"];
    snat_reaches_services_of_its_own_gateway: [];
    snat_reaches_floating_ips_of_its_own_gateway: [];
    snat_addresses_answer_echo_from_inside: [];
}

/// A packet as an instance gets it from another instance's public address and port.
fn from(far: (Ipv4Addr, u16), kind: Kind, near: u16) -> Packet {
    Packet {
        far: far.0,
        far_port: far.1,
        ..packet(kind, near, 0)
    }
}

/// Each sees the other's public address and port, not the private ones.
fn snat_hairpins(world: &mut World) -> Told {
    let lab = address_of(world, LAB_2)?;
    for kind in [Kind::Udp, Kind::Tcp(ACK)] {
        let server = world.leaves(0, SHOP_1, SHARED, packet(kind, 4_000, 1))?;
        // The client's port is known by what the server gets.
        let to_server = packet(kind, 5_000, server).with(SHARED);
        let seen = world.send(0, Program::Underlay, &to_server.sent(LAB_2).bytes())?;
        let client = client_port(&seen.output)?;
        let got = from((lab, client), kind, 4_000);
        same_tunnel(&got.delivered(SHOP_1), &seen.output)?;
        holds("both ends are counted", seen.counters.len() == 2)?;
        let answered = world.send(0, Program::Underlay, &got.sent(SHOP_1).bytes())?;
        same_tunnel(&to_server.delivered(LAB_2), &answered.output)?;
    }
    Ok(())
}

/// Source port of the inner packet of a tunnel frame.
fn client_port(frame: &[u8]) -> Told<u16> {
    let bytes = frame.get(84..86).ok_or("nothing was delivered")?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
}

/// The server's port is the second gateway's, the client's packets come to the first.
fn snat_hairpins_by_the_other_gateway(world: &mut World) -> Told {
    let lab = address_of(world, LAB_2)?;
    for kind in [Kind::Udp, Kind::Tcp(SYN)] {
        let server = world.leaves(1, SHOP_1, SHARED, packet(kind, 4_000, 1))?;
        let to_server = packet(kind, 5_000, server).with(SHARED);
        let handed = world.send(0, Program::Underlay, &to_server.sent(LAB_2).bytes())?;
        let client = client_port(&handed.output)?;
        // The MACs are still the instance's: between gateways they say nothing.
        let inner = eth(LAB_2.mac(), LAB_2.router_mac());
        let inner = to_server.rest(inner.ipv4(lab, SHARED).ttl(63), true, client);
        let tunnel = eth(UNDERLAY_MAC, SPINE_MAC)
            .vxlan(VTEPS[0], VTEPS[1], HANDOVER)
            .id(0);
        same_tunnel(&tunnel.wrapping(inner), &handed.output)?;
        let arrived = carried(&handed.output);
        let seen = world.send(1, Program::Underlay, &arrived)?;
        let got = from((lab, client), kind, 4_000);
        // Two gateways are two hops.
        let later = Packet {
            ttl: got.ttl - 1,
            ..got
        };
        same_tunnel(&later.delivered(SHOP_1), &seen.output)?;
    }
    Ok(())
}

fn snat_reaches_services_of_its_own_gateway(world: &mut World) -> Told {
    // The name server is the service's only backend.
    let server = (VIP, 53);
    let asked = packet(Kind::Udp, 5_000, server.1).with(server.0);
    let seen = world.send(0, Program::Underlay, &asked.sent(SHOP_1).bytes())?;
    let client = client_port(&seen.output)?;
    let delivered = to_host(HOST_A, SHOP)
        .eth(SHOP_1.router_mac(), mac_of(SHOP, DNS))
        .ipv4(SHARED, DNS)
        .ttl(63)
        .udp(client, 5_353)
        .payload_of(asked.payload);
    same_tunnel(&delivered, &seen.output)?;
    let dns = Vm { ip: DNS, ..SHOP_1 };
    let answer = Packet {
        far: SHARED,
        far_port: client,
        ..packet(Kind::Udp, 5_353, 0)
    };
    let answered = world.send(0, Program::Underlay, &answer.sent(dns).bytes())?;
    same_tunnel(&asked.delivered(SHOP_1), &answered.output)
}

fn snat_reaches_floating_ips_of_its_own_gateway(world: &mut World) -> Told {
    let bastion = Vm {
        ip: BASTION,
        ..SHOP_1
    };
    for kind in [Kind::Udp, Kind::Tcp(SYN), Kind::Echo] {
        let asked = packet(kind, 5_000, 22).with(FLOATING);
        let seen = world.send(0, Program::Underlay, &asked.sent(SHOP_1).bytes())?;
        holds("it arrives", matches!(seen.action, Action::Redirect(_)))?;
        if kind == Kind::Echo {
            continue;
        }
        let client = client_port(&seen.output)?;
        let got = from((SHARED, client), kind, 22);
        same_tunnel(&got.delivered(bastion), &seen.output)?;
        let answered = world.send(0, Program::Underlay, &got.sent(bastion).bytes())?;
        same_tunnel(&asked.delivered(SHOP_1), &answered.output)?;
    }
    Ok(())
}

fn snat_addresses_answer_echo_from_inside(world: &mut World) -> Told {
    let asked = packet(Kind::Echo, 5_000, 1).with(SHARED);
    let observed = world.send(0, Program::Underlay, &asked.sent(SHOP_1).bytes())?;
    let reasons: Vec<_> = observed.reasons.keys().copied().collect();
    holds("it is answered", reasons == [Reason::InnerEchoReply])?;
    holds("by the gateway", observed.action == Action::Transmit)
}
