//! How long mappings live, by protocol and by what TCP does.

use gateway_common::Reason::SnatNoMapping;

use super::{
    Told, World, conversations, holds,
    packet::{ACK, FIN, Kind, Packet, RST, SYN, packet, tcp, udp},
    site::{LAB_1, SHARED, SHOP_1, TIMEOUTS, WIDE},
};

/// A tick of the program's clock may be a little longer than a second, and a mapping's
/// last use lies anywhere in it.
const SLACK: u32 = 3;

conversations! {
    snat_keeps_udp_for_its_time: ["RFC 4787 REQ-5"];
    snat_keeps_echo_for_its_time: ["RFC 5508 REQ-2"];
    snat_keeps_opening_tcp_for_its_time: ["RFC 5382 REQ-5", "RFC 7857 2.1"];
    snat_keeps_established_tcp_for_its_time: ["RFC 5382 REQ-5", "RFC 7857 2.1"];
    snat_keeps_half_closed_tcp: ["RFC 5382 REQ-5", "RFC 7857 2"];
    snat_shortens_the_time_after_both_fins: ["RFC 5382 REQ-5", "RFC 7857 2.1"];
    snat_shortens_the_time_after_a_reset: ["RFC 7857 2.2"];
    snat_goes_on_after_a_forged_reset: ["RFC 7857 2.2"];
    snat_is_kept_alive_from_inside: ["RFC 4787 REQ-6"];
    snat_is_kept_alive_from_outside_only_if_told_to: ["RFC 4787 REQ-6", "RFC 7857 7"];
    snat_gives_an_instance_its_old_port_back: ["RFC 6888 REQ-8"];
}

/// What was said last lives for so long and no longer.
fn lives(world: &mut World, packet: Packet, port: u16, seconds: u32) -> Told {
    world.wait(seconds - SLACK);
    let silent = Packet {
        kind: match packet.kind {
            Kind::Tcp(_) => Kind::Tcp(ACK),
            kind => kind,
        },
        ..packet
    };
    // Echo and UDP from outside keep nothing alive here, TCP does: so it is asked once.
    match packet.kind {
        Kind::Tcp(_) => {}
        _ => world.returns(0, SHOP_1, (SHARED, port), silent)?,
    }
    world.wait(2 * SLACK);
    world
        .is_refused(0, (SHARED, port), silent, SnatNoMapping)
        .map_err(|error| format!("after {seconds} s: {error}"))
}

/// It is still there when that time is nearly over.
fn outlives(world: &mut World, packet: Packet, port: u16, seconds: u32) -> Told {
    world.wait(seconds - SLACK);
    world
        .returns(0, SHOP_1, (SHARED, port), packet)
        .map_err(|error| format!("after {seconds} s: {error}"))
}

fn snat_keeps_udp_for_its_time(world: &mut World) -> Told {
    holds("it is what the RFC asks for", TIMEOUTS.udp >= 120)?;
    let packet = udp(4_000, 53);
    let port = world.leaves(0, SHOP_1, SHARED, packet)?;
    lives(world, packet, port, TIMEOUTS.udp)
}

fn snat_keeps_echo_for_its_time(world: &mut World) -> Told {
    holds("it is what the RFC asks for", TIMEOUTS.icmp >= 60)?;
    let packet = packet(Kind::Echo, 4_000, 53);
    let port = world.leaves(0, SHOP_1, SHARED, packet)?;
    lives(world, packet, port, TIMEOUTS.icmp)
}

fn of(flags: u8) -> Packet {
    tcp(flags, 4_000, 443)
}

fn open(world: &mut World) -> Told<u16> {
    let port = world.leaves(0, SHOP_1, SHARED, of(SYN))?;
    world.returns(0, SHOP_1, (SHARED, port), of(SYN | ACK))?;
    world.leaves(0, SHOP_1, SHARED, of(ACK))?;
    Ok(port)
}

fn snat_keeps_opening_tcp_for_its_time(world: &mut World) -> Told {
    holds(
        "it is what the RFC asks for",
        TIMEOUTS.tcp_transitory >= 240,
    )?;
    let port = world.leaves(0, SHOP_1, SHARED, of(SYN))?;
    lives(world, of(SYN), port, TIMEOUTS.tcp_transitory)?;
    let port = world.leaves(0, SHOP_1, SHARED, of(SYN))?;
    outlives(world, of(SYN | ACK), port, TIMEOUTS.tcp_transitory)?;
    // Answered, but that answer was not: still opening.
    lives(world, of(SYN), port, TIMEOUTS.tcp_transitory)
}

fn snat_keeps_established_tcp_for_its_time(world: &mut World) -> Told {
    let least = 2 * 3_600 + 4 * 60;
    holds(
        "it is what the RFC asks for",
        TIMEOUTS.tcp_established >= least,
    )?;
    let port = open(world)?;
    outlives(world, of(ACK), port, TIMEOUTS.tcp_established)?;
    lives(world, of(ACK), port, TIMEOUTS.tcp_established)
}

fn snat_keeps_half_closed_tcp(world: &mut World) -> Told {
    let port = open(world)?;
    world.leaves(0, SHOP_1, SHARED, of(FIN | ACK))?;
    outlives(world, of(ACK), port, TIMEOUTS.tcp_established)
}

fn snat_shortens_the_time_after_both_fins(world: &mut World) -> Told {
    let port = open(world)?;
    world.leaves(0, SHOP_1, SHARED, of(FIN | ACK))?;
    world.returns(0, SHOP_1, (SHARED, port), of(FIN | ACK))?;
    world.leaves(0, SHOP_1, SHARED, of(ACK).payload(0))?;
    lives(world, of(ACK), port, TIMEOUTS.tcp_transitory)
}

fn snat_shortens_the_time_after_a_reset(world: &mut World) -> Told {
    let port = open(world)?;
    world.returns(0, SHOP_1, (SHARED, port), of(RST | ACK))?;
    lives(world, of(ACK), port, TIMEOUTS.tcp_transitory)?;
    let port = open(world)?;
    world.leaves(0, SHOP_1, SHARED, of(RST))?;
    lives(world, of(ACK), port, TIMEOUTS.tcp_transitory)
}

fn snat_goes_on_after_a_forged_reset(world: &mut World) -> Told {
    let port = open(world)?;
    world.returns(0, SHOP_1, (SHARED, port), of(RST))?;
    // The instance knows better, and sends on.
    world.leaves(0, SHOP_1, SHARED, of(ACK).payload(100))?;
    outlives(world, of(ACK), port, TIMEOUTS.tcp_established)
}

fn snat_is_kept_alive_from_inside(world: &mut World) -> Told {
    let packet = udp(4_000, 53);
    let port = world.leaves(0, SHOP_1, SHARED, packet)?;
    for _ in 0..5 {
        world.wait(TIMEOUTS.udp - SLACK);
        let again = world.leaves(0, SHOP_1, SHARED, packet)?;
        holds("the port stays", again == port)?;
    }
    world.returns(0, SHOP_1, (SHARED, port), packet)
}

fn snat_is_kept_alive_from_outside_only_if_told_to(world: &mut World) -> Told {
    let packet = udp(4_000, 53);
    let port = world.leaves(0, SHOP_1, SHARED, packet)?;
    world.wait(TIMEOUTS.udp - SLACK);
    world.returns(0, SHOP_1, (SHARED, port), packet)?;
    world.wait(2 * SLACK);
    world.is_refused(0, (SHARED, port), packet, SnatNoMapping)?;
    // The third tenant's pool says `refresh: both`.
    let address = super::lab_address(world)?;
    holds("it is of the pool", WIDE.contains(&address))?;
    let port = world.leaves(0, LAB_1, address, packet)?;
    for _ in 0..3 {
        world.wait(TIMEOUTS.udp - SLACK);
        world.returns(0, LAB_1, (address, port), packet)?;
    }
    Ok(())
}

fn snat_gives_an_instance_its_old_port_back(world: &mut World) -> Told {
    let packet = udp(4_000, 53);
    let port = world.leaves(0, SHOP_1, SHARED, packet)?;
    world.wait(TIMEOUTS.udp + SLACK);
    world.is_refused(0, (SHARED, port), packet, SnatNoMapping)?;
    let again = world.leaves(0, SHOP_1, SHARED, packet)?;
    holds("it is the same one", again == port)?;
    world.returns(0, SHOP_1, (SHARED, port), packet)
}
