//! Out and back: who has which port, and that it is the same whatever it talks to.

use std::{collections::BTreeSet, net::Ipv4Addr};

use super::{
    Told, World, conversations, holds,
    packet::{ACK, FIN, Kind, Packet, SYN, echo, packet, tcp, udp},
    site::{LAB_1, LAB_2, SHARED, SHARES, SHOP_1, SHOP_2, STRICT, STRICT_1, Vm, WIDE},
};
use crate::cases::site::{CLIENT, VIP};

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 200);

/// Packets of every protocol that has ports, with odd and even lengths.
fn each_kind(near: u16) -> Vec<Packet> {
    let kinds = [Kind::Udp, Kind::PlainUdp, Kind::Tcp(SYN), Kind::Echo];
    let lengths = [0, 1, 20, 601];
    let all = kinds
        .into_iter()
        .flat_map(|kind| lengths.map(|length| packet(kind, near, 53).payload(length)));
    all.collect()
}

conversations! {
    snat_goes_out_and_comes_back: ["RFC 5508 REQ-1"];
    snat_maps_a_port_alike_whatever_it_talks_to: ["RFC 4787 REQ-1", "RFC 5382 REQ-1", "RFC 5508 REQ-1"];
    snat_pairs_an_instance_with_one_address: ["RFC 4787 REQ-2", "RFC 7857 4", "RFC 6888 REQ-2"];
    snat_keeps_the_parity_of_ports: ["RFC 4787 REQ-4"];
    snat_hands_out_no_well_known_port: ["RFC 4787 REQ-3"];
    snat_gives_each_flow_a_port_of_its_own: ["RFC 4787 REQ-3", "RFC 5382 REQ-7"];
    snat_gives_each_protocol_its_own_ports: ["RFC 7857 5"];
    snat_tells_tenants_apart_that_use_one_address: [];
    snat_ports_are_not_in_a_row: ["RFC 7857 9", "RFC 6888 REQ-15"];
    snat_leaves_services_and_floating_ips_alone: [];
    snat_keeps_a_tcp_connection: ["RFC 5382 REQ-2", "RFC 7857 2"];
    snat_takes_a_simultaneous_open: ["RFC 5382 REQ-2"];
}

fn snat_goes_out_and_comes_back(world: &mut World) -> Told {
    for vm in [SHOP_1, SHOP_2] {
        for packet in each_kind(40_000) {
            world.both_ways(0, vm, SHARED, packet)?;
        }
    }
    Ok(())
}

fn snat_maps_a_port_alike_whatever_it_talks_to(world: &mut World) -> Told {
    for kind in [Kind::Udp, Kind::Tcp(SYN), Kind::Echo] {
        let first = world.leaves(0, SHOP_1, SHARED, packet(kind, 5_000, 53))?;
        for far in [CLIENT, ELSEWHERE] {
            for far_port in [53, 54, 65_535] {
                let packet = packet(kind, 5_000, far_port).with(far);
                let port = world.both_ways(0, SHOP_1, SHARED, packet)?;
                holds("the port is the same", port == first)?;
            }
        }
    }
    Ok(())
}

fn snat_pairs_an_instance_with_one_address(world: &mut World) -> Told {
    for vm in [LAB_1, LAB_2] {
        let address = super::address_of(world, vm)?;
        holds("the address is of the pool", WIDE.contains(&address))?;
        for near in 1_001..1_050 {
            world.leaves(0, vm, address, udp(near, 53))?;
            world.leaves(0, vm, address, tcp(SYN, near, 80))?;
            world.leaves(1, vm, address, udp(near, 54))?;
        }
    }
    Ok(())
}

fn snat_keeps_the_parity_of_ports(world: &mut World) -> Told {
    for near in 3_000..3_200 {
        let port = world.leaves(0, SHOP_1, SHARED, udp(near, 53))?;
        holds("odd stays odd", port % 2 == near % 2)?;
    }
    Ok(())
}

fn snat_hands_out_no_well_known_port(world: &mut World) -> Told {
    for near in 0..400 {
        let port = world.leaves(0, SHOP_1, SHARED, udp(near, 53))?;
        holds("it is 1024 or more", port >= 1_024)?;
    }
    for port in [0, 22, 53, 1_023] {
        let reason = gateway_common::Reason::SnatNoMapping;
        world.is_refused(0, (SHARED, port), udp(0, 53), reason)?;
    }
    Ok(())
}

fn snat_gives_each_flow_a_port_of_its_own(world: &mut World) -> Told {
    let mut seen = BTreeSet::new();
    for vm in [SHOP_1, SHOP_2] {
        for near in 7_000..7_150 {
            let port = world.both_ways(0, vm, SHARED, udp(near, 53))?;
            holds("nobody else has the port", seen.insert((false, port)))?;
            let port = world.both_ways(0, vm, SHARED, tcp(SYN, near, 80))?;
            holds("nobody else has the port", seen.insert((true, port)))?;
        }
    }
    // And each still leads to whom it did.
    for vm in [SHOP_1, SHOP_2] {
        for near in 7_000..7_150 {
            let port = world.both_ways(0, vm, SHARED, udp(near, 99))?;
            holds("the port is one of them", seen.contains(&(false, port)))?;
        }
    }
    Ok(())
}

fn snat_gives_each_protocol_its_own_ports(world: &mut World) -> Told {
    let port = world.leaves(0, SHOP_1, SHARED, udp(5_000, 53))?;
    let reason = gateway_common::Reason::SnatNoMapping;
    world.is_refused(0, (SHARED, port), tcp(SYN | ACK, 5_000, 53), reason)?;
    world.is_refused(0, (SHARED, port), echo(5_000, 1), reason)?;
    world.returns(0, SHOP_1, (SHARED, port), udp(5_000, 53))
}

fn snat_tells_tenants_apart_that_use_one_address(world: &mut World) -> Told {
    let packet = udp(5_000, 53);
    let shop = world.leaves(0, SHOP_1, SHARED, packet)?;
    let strict = world.leaves(0, STRICT_1, STRICT, packet)?;
    world.returns(0, SHOP_1, (SHARED, shop), packet)?;
    world.returns(0, STRICT_1, (STRICT, strict), packet)
}

fn snat_ports_are_not_in_a_row(world: &mut World) -> Told {
    let mut ports = Vec::new();
    for near in 2_000..2_064 {
        ports.push(world.leaves(0, SHOP_1, SHARED, udp(near, 53))?);
    }
    let near = |pair: &[u16]| pair[0].abs_diff(pair[1]) < 8;
    let neighbours = ports.windows(2).filter(|pair| near(pair)).count();
    holds("hardly any is next to the one before", neighbours < 8)?;
    let span = u16::MAX / SHARES as u16;
    let low = ports.iter().filter(|port| **port < span / 2).count();
    holds("they are spread", (8..=56).contains(&low))
}

fn snat_leaves_services_and_floating_ips_alone(world: &mut World) -> Told {
    use crate::cases::site::{BASTION, FLOATING, HOST_A, SHOP};
    let bastion = Vm {
        vni: SHOP,
        ip: BASTION,
        host: HOST_A,
    };
    for (vm, near, public, port) in [(bastion, 99, FLOATING, 99), (SHOP_1, 8_443, VIP, 443)] {
        let packet = tcp(ACK, near, 50_000);
        let sent = packet.sent(vm).bytes();
        let observed = world.send(0, crate::cases::Program::Underlay, &sent)?;
        super::world::same(&packet.left(public, port), &observed.output)?;
    }
    // Another port of a backend is the instance's own business.
    world.both_ways(0, SHOP_1, SHARED, tcp(SYN, 8_444, 443))?;
    Ok(())
}

fn snat_keeps_a_tcp_connection(world: &mut World) -> Told {
    let of = |flags| tcp(flags, 33_000, 443);
    let port = world.leaves(0, SHOP_1, SHARED, of(SYN))?;
    world.returns(0, SHOP_1, (SHARED, port), of(SYN | ACK))?;
    for flags in [ACK, ACK, FIN | ACK, ACK] {
        let again = world.both_ways(0, SHOP_1, SHARED, of(flags))?;
        holds("the port stays", again == port)?;
    }
    Ok(())
}

fn snat_takes_a_simultaneous_open(world: &mut World) -> Told {
    let port = world.leaves(0, SHOP_1, SHARED, tcp(SYN, 33_000, 443))?;
    // The other side's SYN crosses ours.
    world.returns(0, SHOP_1, (SHARED, port), tcp(SYN, 33_000, 443))?;
    for _ in 0..2 {
        world.leaves(0, SHOP_1, SHARED, tcp(SYN | ACK, 33_000, 443))?;
        world.returns(0, SHOP_1, (SHARED, port), tcp(ACK, 33_000, 443))?;
    }
    Ok(())
}
