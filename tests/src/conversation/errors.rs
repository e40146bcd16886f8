//! ICMP errors about what instances send and get behind shared addresses.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Told, World, conversations,
    gateways::carried,
    holds,
    packet::{ACK, Kind, Packet, packet, udp},
    site::{HANDOVER, SHARED, SHARES, SHOP_1, SHOP_2, TIMEOUTS, Vm},
    world::{VTEPS, same, same_tunnel},
};
use crate::{
    cases::{
        Program,
        site::{CLIENT, from_border, to_border, to_host},
    },
    packet::Frame,
};

conversations! {
    snat_translates_errors_from_outside: [
        "RFC 4787 REQ-13", "RFC 5382 REQ-9", "RFC 5508 REQ-4"
    ];
    snat_translates_errors_of_instances: ["RFC 5508 REQ-5"];
    snat_hands_errors_over: ["RFC 5508 REQ-4"];
    snat_takes_errors_between_instances: ["RFC 5508 REQ-7", "RFC 7857 12"];
    snat_drops_errors_about_nothing: ["RFC 5508 REQ-4"];
    snat_drops_errors_that_quote_too_little: [];
    snat_errors_change_no_mapping: ["RFC 4787 REQ-12", "RFC 5382 REQ-10", "RFC 5508 REQ-6"];
}

/// A router on the way to the client, which is not the client.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 88, 99, 7);

/// IP header and the least of layer 4 (RFC 792).
const LEAST: usize = 28;

/// How much an error quotes: the least, to around the checksums, all.
const LENGTHS: [usize; 5] = [LEAST, 36, 38, 40, usize::MAX];

/// Unreachable, too long (which tells an MTU), expired, malformed.
const KINDS: [(u8, u8, u16); 5] = [(3, 1, 0), (3, 3, 0), (3, 4, 1_400), (11, 0, 0), (12, 0, 0)];

const ABOVE_IP: [Kind; 3] = [Kind::Udp, Kind::Tcp(ACK), Kind::Echo];

/// An error about a packet, behind an IP header.
fn error(ip: Frame, (kind, code, mtu): (u8, u8, u16), quoted: &Frame, length: usize) -> Frame {
    ip.icmp(kind, code).mtu(mtu).quote(quoted, length)
}

/// An error from a router, about what an instance sent behind a shared address.
fn from_router(about: Packet, port: u16, length: usize) -> Frame {
    let ip = from_border().ipv4(ROUTER, SHARED);
    error(ip, KINDS[0], &about.on_its_way(SHARED, port), length)
}

/// The same as the instance gets it.
fn got(vm: Vm, kind: (u8, u8, u16), about: Packet, length: usize) -> Frame {
    let ip = to_host(vm.host, vm.vni)
        .eth(vm.router_mac(), vm.mac())
        .ipv4(ROUTER, vm.ip)
        .ttl(63);
    error(ip, kind, &about.on_its_way(vm.ip, about.near), length)
}

fn snat_translates_errors_from_outside(world: &mut World) -> Told {
    for above in ABOVE_IP {
        let about = packet(above, 4_000, 53);
        let port = world.leaves(0, SHOP_1, SHARED, about)?;
        for kind in KINDS {
            for length in LENGTHS {
                let ip = from_border().ipv4(ROUTER, SHARED);
                let sent = error(ip, kind, &about.on_its_way(SHARED, port), length);
                let seen = world.send(0, Program::Public, &sent.bytes())?;
                same_tunnel(&got(SHOP_1, kind, about, length), &seen.output)
                    .map_err(|error| format!("{kind:?} about {above:?}, {length}: {error}"))?;
                let count = seen.counters.values().next().map(|count| count.in_packets);
                holds(
                    "it is counted",
                    seen.counters.len() == 1 && count == Some(1),
                )?;
            }
        }
    }
    Ok(())
}

fn snat_translates_errors_of_instances(world: &mut World) -> Told {
    for above in ABOVE_IP {
        let about = packet(above, 4_000, 53);
        let port = world.leaves(0, SHOP_1, SHARED, about)?;
        for kind in KINDS {
            for length in LENGTHS {
                let sent = error(
                    about.from(SHOP_1),
                    kind,
                    &about.on_its_way_back(SHOP_1.ip, about.near),
                    length,
                );
                let expected = error(
                    to_border().ipv4(SHARED, CLIENT).ttl(63),
                    kind,
                    &about.on_its_way_back(SHARED, port),
                    length,
                );
                let seen = world.send(0, Program::Underlay, &sent.bytes())?;
                same(&expected, &seen.output)
                    .map_err(|error| format!("{kind:?} about {above:?}, {length}: {error}"))?;
            }
        }
    }
    Ok(())
}

fn snat_hands_errors_over(world: &mut World) -> Told {
    for (owner, other) in [(0, 1), (1, 0)] {
        for above in ABOVE_IP {
            let about = packet(above, 4_000, 53);
            let port = world.leaves(owner, SHOP_2, SHARED, about)?;
            for length in LENGTHS {
                let sent = from_router(about, port, length);
                let handed = world.send(other, Program::Public, &sent.bytes())?;
                let tunnel = crate::packet::eth(
                    crate::cases::site::UNDERLAY_MAC,
                    crate::cases::site::SPINE_MAC,
                )
                .vxlan(VTEPS[other], VTEPS[owner], HANDOVER)
                .id(0);
                same_tunnel(&tunnel.wrapping(sent), &handed.output)?;
                let arrived = carried(&handed.output);
                let seen = world.send(owner, Program::Underlay, &arrived)?;
                same_tunnel(&got(SHOP_2, KINDS[0], about, length), &seen.output)
                    .map_err(|error| format!("about {above:?}, {length}: {error}"))?;
            }
        }
    }
    Ok(())
}

/// What one instance says of another's packet leaves for the border router, which sends
/// it back: neither learns the other's private address.
fn snat_takes_errors_between_instances(world: &mut World) -> Told {
    let client = world.leaves(0, SHOP_1, SHARED, udp(4_000, 9))?;
    let server = world.leaves(0, SHOP_2, SHARED, udp(5_000, 9))?;
    // As the server got it, as it says so outside, and as the client gets that.
    let got_there = Packet {
        far: SHARED,
        far_port: client,
        ..udp(5_000, 0)
    };
    let quoted = got_there.on_its_way_back(SHOP_2.ip, 5_000);
    let sent = error(got_there.from(SHOP_2), KINDS[1], &quoted, LEAST);
    let left = error(
        to_border().ipv4(SHARED, SHARED).ttl(63),
        KINDS[1],
        &got_there.on_its_way_back(SHARED, server),
        LEAST,
    );
    let seen = world.send(0, Program::Underlay, &sent.bytes())?;
    same(&left, &seen.output)?;
    let returned = error(
        from_border().ipv4(SHARED, SHARED),
        KINDS[1],
        &got_there.on_its_way_back(SHARED, server),
        LEAST,
    );
    let its_own = Packet {
        far: SHARED,
        far_port: server,
        ..udp(4_000, 0)
    };
    let ip = to_host(SHOP_1.host, SHOP_1.vni)
        .eth(SHOP_1.router_mac(), SHOP_1.mac())
        .ipv4(SHARED, SHOP_1.ip)
        .ttl(63);
    let delivered = error(ip, KINDS[1], &its_own.on_its_way(SHOP_1.ip, 4_000), LEAST);
    let seen = world.send(0, Program::Public, &returned.bytes())?;
    same_tunnel(&delivered, &seen.output)
}

fn snat_drops_errors_about_nothing(world: &mut World) -> Told {
    let about = udp(4_000, 53);
    let port = world.leaves(0, SHOP_1, SHARED, about)?;
    let mut ends = |frame: Frame, reason| world.ends(0, Program::Public, &frame, reason);
    // A port that nobody has, one that no gateway has, and one of another protocol.
    ends(from_router(about, 1_030, LEAST), Reason::SnatNoMapping)?;
    let unowned = ((SHARES - 1) << 16) / SHARES + 9;
    let unowned = from_router(about, unowned as u16, LEAST);
    ends(unowned, Reason::SnatNoOwner)?;
    let other = packet(Kind::Tcp(ACK), 4_000, 53);
    ends(from_router(other, port, LEAST), Reason::SnatNoMapping)?;
    let other = packet(Kind::Other(132), 4_000, 53);
    ends(from_router(other, port, LEAST), Reason::SnatProtocol)?;
    // The instance cannot have sent a packet from another's address.
    let ip = from_border().ipv4(ROUTER, SHARED);
    let foreign = error(ip, KINDS[0], &about.on_its_way(CLIENT, port), LEAST);
    ends(foreign, Reason::IcmpMismatch)?;
    // An instance that sent nothing.
    let quoted = about.on_its_way_back(SHOP_2.ip, about.near);
    let sent = error(about.from(SHOP_2), KINDS[0], &quoted, LEAST);
    world.ends(0, Program::Underlay, &sent, Reason::SnatNoMapping)
}

fn snat_drops_errors_that_quote_too_little(world: &mut World) -> Told {
    let about = udp(4_000, 53);
    let port = world.leaves(0, SHOP_1, SHARED, about)?;
    let quoted = |frame: Frame| {
        let ip = from_border().ipv4(ROUTER, SHARED);
        error(ip, KINDS[0], &frame, usize::MAX)
    };
    let answered = to_border().ipv4(SHARED, CLIENT).echo_reply(port, 1);
    let later = to_border().ipv4(SHARED, CLIENT).last_fragment(9);
    let later = later.protocol(17).payload_of(30);
    for frame in [
        from_router(about, port, LEAST - 1),
        quoted(answered),
        quoted(later),
    ] {
        world.ends(0, Program::Public, &frame, Reason::IcmpQuote)?;
    }
    let later = to_border().ipv4(CLIENT, SHOP_1.ip).last_fragment(9);
    let later = later.protocol(17).payload_of(30);
    let sent = error(about.from(SHOP_1), KINDS[0], &later, usize::MAX);
    world.ends(0, Program::Underlay, &sent, Reason::IcmpQuote)
}

/// Neither ended nor kept alive by an error.
fn snat_errors_change_no_mapping(world: &mut World) -> Told {
    for above in [Kind::Udp, Kind::Tcp(ACK)] {
        let about = packet(above, 4_000, 53);
        let lifetime = match above {
            Kind::Udp => TIMEOUTS.udp,
            _ => TIMEOUTS.tcp_transitory,
        };
        let port = world.leaves(0, SHOP_1, SHARED, about)?;
        let frame = from_router(about, port, LEAST);
        world.wait(lifetime / 2);
        world.send(0, Program::Public, &frame.bytes())?;
        let again = world.leaves(0, SHOP_1, SHARED, about)?;
        holds("it has the same port", again == port)?;
        world.wait(lifetime - 5);
        let seen = world.send(0, Program::Public, &frame.bytes())?;
        same_tunnel(&got(SHOP_1, KINDS[0], about, LEAST), &seen.output)?;
        world.wait(10);
        world.ends(0, Program::Public, &frame, Reason::SnatNoMapping)?;
    }
    Ok(())
}
