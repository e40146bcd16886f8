//! Histories made by hand: what a tracked slot does, one sentence of the documents each.
//! Each starts with a world whose only backend is member 0; where it says "replaced",
//! member 0 has left the topology and keeps what it has, and another takes all new flows.

use anyhow::{Result, ensure};

use super::{
    Client, Segment, Service,
    world::{MEMBERS, World},
};
use Segment::{Ack, Datagram, Reset, Syn};
use Service::{Calls, Names, Sticky, Web};

/// A history and what it shows.
pub type Scenario = (&'static str, fn(&mut World) -> Result<()>);

/// All of them; each is given a world with member 0.
pub const ALL: &[Scenario] = &[
    (
        "the_steady_state_writes_nothing",
        the_steady_state_writes_nothing,
    ),
    (
        "a_first_packet_gets_the_new_backend_and_the_second_is_remembered",
        a_first_packet_gets_the_new_backend_and_the_second_is_remembered,
    ),
    (
        "a_first_packet_that_comes_again_goes_where_it_went",
        a_first_packet_that_comes_again_goes_where_it_went,
    ),
    (
        "an_established_connection_stays",
        an_established_connection_stays,
    ),
    (
        "a_connection_that_began_in_between_stays",
        a_connection_that_began_in_between_stays,
    ),
    (
        "flows_of_a_dead_backend_move_at_once",
        flows_of_a_dead_backend_move_at_once,
    ),
    (
        "udp_goes_to_the_new_backend_at_once",
        udp_goes_to_the_new_backend_at_once,
    ),
    ("udp_with_tracking_stays", udp_with_tracking_stays),
    (
        "a_forged_first_packet_moves_nobody",
        a_forged_first_packet_moves_nobody,
    ),
    (
        "a_second_packet_far_from_the_first_is_none",
        a_second_packet_far_from_the_first_is_none,
    ),
    (
        "packets_of_no_flow_write_nothing",
        packets_of_no_flow_write_nothing,
    ),
    (
        "without_a_backend_old_connections_go_on_and_new_ones_end",
        without_a_backend_old_connections_go_on_and_new_ones_end,
    ),
    (
        "a_quiet_slot_settles_and_a_used_one_does_not",
        a_quiet_slot_settles_and_a_used_one_does_not,
    ),
    (
        "a_slot_that_changes_twice_is_tracked_for_long_enough",
        a_slot_that_changes_twice_is_tracked_for_long_enough,
    ),
    (
        "after_the_longest_time_a_backend_is_dead",
        after_the_longest_time_a_backend_is_dead,
    ),
    (
        "flows_of_a_client_go_together_with_affinity",
        flows_of_a_client_go_together_with_affinity,
    ),
    (
        "a_restarted_agent_goes_on_with_every_flow",
        a_restarted_agent_goes_on_with_every_flow,
    ),
];

const ONE: Client = Client::port(40_001);
const TWO: Client = Client::port(40_002);

/// Sends a packet that must reach a member.
fn reaches(
    world: &mut World,
    to: (Service, Client),
    segment: Segment,
    member: usize,
) -> Result<()> {
    let reached = world.send(to.0, to.1, segment)?;
    ensure!(
        reached == Some(member),
        "{segment:?} of {to:?} reached {reached:?}, not {member}; {}",
        world.describe()
    );
    Ok(())
}

/// How often something happened to flows: first packets remembered, flows remembered.
fn writes(world: &World) -> Result<(u64, u64)> {
    let [begun, remembered, _] = world.events()?;
    Ok((begun, remembered))
}

/// Something must not have happened.
fn wrote(world: &World, begun: u64, remembered: u64) -> Result<()> {
    let found = writes(world)?;
    ensure!(
        found == (begun, remembered),
        "first packets and flows remembered: {found:?}, not {:?}",
        (begun, remembered)
    );
    Ok(())
}

fn the_steady_state_writes_nothing(world: &mut World) -> Result<()> {
    world.set(&[(0, 1), (1, 1), (2, 1)])?;
    // What has changed is over.
    for _ in 0..4 {
        world.pass(200)?;
    }
    let before = world.events()?;
    for port in 1..400 {
        let client = Client::port(port);
        for service in [Web, Sticky] {
            let member = world.send(service, client, Syn(9))?;
            ensure!(world.send(service, client, Ack(10))? == member, "{port}");
            ensure!(world.send(service, client, Reset(11))? == member, "{port}");
        }
        world.send(Names, client, Datagram)?;
        world.send(Calls, client, Datagram)?;
    }
    ensure!(world.events()? == before, "nothing is looked up");
    Ok(())
}

fn a_first_packet_gets_the_new_backend_and_the_second_is_remembered(
    world: &mut World,
) -> Result<()> {
    world.set(&[(1, 1)])?;
    reaches(world, (Web, ONE), Syn(500), 1)?;
    wrote(world, 1, 0)?;
    reaches(world, (Web, ONE), Ack(501), 1)?;
    wrote(world, 1, 1)?;
    for sequence in 502..600 {
        reaches(world, (Web, ONE), Ack(sequence), 1)?;
    }
    reaches(world, (Web, ONE), Reset(600), 1)?;
    // The number wraps around.
    reaches(world, (Web, TWO), Syn(u32::MAX), 1)?;
    reaches(world, (Web, TWO), Ack(0), 1)?;
    wrote(world, 2, 2)
}

fn a_first_packet_that_comes_again_goes_where_it_went(world: &mut World) -> Result<()> {
    world.set(&[(1, 1)])?;
    reaches(world, (Web, ONE), Syn(500), 1)?;
    reaches(world, (Web, ONE), Syn(500), 1)?;
    wrote(world, 1, 0)?;
    world.set(&[(2, 1)])?;
    reaches(world, (Web, ONE), Syn(500), 1)?;
    wrote(world, 1, 0)?;
    // Another connection from the same port.
    reaches(world, (Web, ONE), Syn(700), 2)?;
    reaches(world, (Web, ONE), Ack(701), 2)?;
    wrote(world, 2, 1)
}

fn an_established_connection_stays(world: &mut World) -> Result<()> {
    reaches(world, (Web, ONE), Syn(1), 0)?;
    reaches(world, (Web, ONE), Ack(2), 0)?;
    for members in [&[(1, 1)][..], &[(1, 1), (2, 3)], &[(3, 1)], &[(0, 1)]] {
        world.set(members)?;
        for sequence in 3..20 {
            reaches(world, (Web, ONE), Ack(sequence), 0)?;
        }
    }
    wrote(world, 0, 0)
}

fn a_connection_that_began_in_between_stays(world: &mut World) -> Result<()> {
    world.set(&[(1, 1)])?;
    reaches(world, (Web, ONE), Syn(1), 1)?;
    reaches(world, (Web, ONE), Ack(2), 1)?;
    reaches(world, (Web, TWO), Syn(1), 1)?;
    // Back to the backend that the slot had before.
    world.set(&[(0, 1)])?;
    reaches(world, (Web, ONE), Ack(3), 1)?;
    reaches(world, (Web, TWO), Ack(2), 1)?;
    reaches(world, (Web, Client::port(7)), Syn(1), 0)?;
    world.set(&[(2, 1), (3, 1)])?;
    reaches(world, (Web, ONE), Ack(4), 1)?;
    reaches(world, (Web, TWO), Ack(3), 1)?;
    reaches(world, (Web, Client::port(7)), Ack(2), 0)
}

fn flows_of_a_dead_backend_move_at_once(world: &mut World) -> Result<()> {
    reaches(world, (Web, ONE), Syn(1), 0)?;
    world.set(&[(0, 1), (1, 1)])?;
    world.drain(0, true)?;
    reaches(world, (Web, ONE), Ack(2), 1)?;
    reaches(world, (Web, TWO), Syn(1), 1)?;
    // And if the one is dead that took over.
    world.set(&[(0, 1), (1, 1), (2, 1)])?;
    world.drain(2, false)?;
    reaches(world, (Web, TWO), Ack(2), 1)?;
    world.set(&[(0, 1), (1, 1), (2, 1), (3, 1)])?;
    world.drain(1, true)?;
    reaches(world, (Web, ONE), Ack(3), 3)?;
    reaches(world, (Web, TWO), Ack(3), 3)?;
    // A remembered flow that moved stays where it is now.
    world.set(&[(0, 1), (1, 1), (2, 1), (3, 1), (4, 1)])?;
    world.drain(3, false)?;
    reaches(world, (Web, TWO), Ack(4), 3)
}

fn udp_goes_to_the_new_backend_at_once(world: &mut World) -> Result<()> {
    reaches(world, (Names, ONE), Datagram, 0)?;
    world.set(&[(1, 1)])?;
    reaches(world, (Names, ONE), Datagram, 1)?;
    world.set(&[(2, 1)])?;
    reaches(world, (Names, ONE), Datagram, 2)?;
    wrote(world, 0, 0)
}

fn udp_with_tracking_stays(world: &mut World) -> Result<()> {
    reaches(world, (Calls, ONE), Datagram, 0)?;
    world.set(&[(1, 1)])?;
    reaches(world, (Calls, ONE), Datagram, 0)?;
    wrote(world, 1, 0)?;
    reaches(world, (Calls, ONE), Datagram, 0)?;
    wrote(world, 1, 1)?;
    // Whoever was there has been heard of by now: others are new.
    world.pass(130)?;
    reaches(world, (Calls, ONE), Datagram, 0)?;
    reaches(world, (Calls, TWO), Datagram, 1)?;
    world.set(&[(2, 1)])?;
    reaches(world, (Calls, ONE), Datagram, 0)?;
    reaches(world, (Calls, TWO), Datagram, 1)?;
    reaches(world, (Calls, Client::port(7)), Datagram, 2)
}

fn a_forged_first_packet_moves_nobody(world: &mut World) -> Result<()> {
    reaches(world, (Web, ONE), Syn(1), 0)?;
    world.set(&[(1, 1)])?;
    reaches(world, (Web, TWO), Syn(1), 1)?;
    reaches(world, (Web, TWO), Ack(2), 1)?;
    // Of a flow that nothing is remembered of: a guess of its number that is off.
    reaches(world, (Web, ONE), Syn(3_000_000_000), 1)?;
    reaches(world, (Web, ONE), Ack(2), 0)?;
    reaches(world, (Web, ONE), Ack(2_000_000), 0)?;
    // Of one that is remembered.
    world.set(&[(2, 1)])?;
    reaches(world, (Web, TWO), Syn(7), 1)?;
    reaches(world, (Web, TWO), Ack(3), 1)?;
    wrote(world, 2, 1)
}

fn a_second_packet_far_from_the_first_is_none(world: &mut World) -> Result<()> {
    world.set(&[(1, 1)])?;
    reaches(world, (Web, ONE), Syn(1_000), 1)?;
    for sequence in [0, 999, 1_000, 1_000 + (1 << 20), 0x8000_0000] {
        reaches(world, (Web, ONE), Ack(sequence), 0)?;
    }
    wrote(world, 1, 0)?;
    reaches(world, (Web, ONE), Ack(1_000 + (1 << 20) - 1), 1)?;
    wrote(world, 1, 1)
}

fn packets_of_no_flow_write_nothing(world: &mut World) -> Result<()> {
    world.set(&[(1, 1)])?;
    for port in 1..2_000 {
        let sequence = u32::from(port) * 77_777;
        reaches(world, (Web, Client::port(port)), Ack(sequence), 0)?;
        reaches(world, (Web, Client::port(port)), Reset(sequence), 0)?;
    }
    wrote(world, 0, 0)
}

fn without_a_backend_old_connections_go_on_and_new_ones_end(world: &mut World) -> Result<()> {
    world.set(&[(0, 0)])?;
    reaches(world, (Web, ONE), Ack(2), 0)?;
    ensure!(world.send(Web, TWO, Syn(1))?.is_none(), "nobody takes it");
    reaches(world, (Web, TWO), Ack(2), 0)?;
    wrote(world, 0, 0)?;
    world.drain(0, true)?;
    ensure!(world.send(Web, ONE, Ack(3))?.is_none(), "nobody is left");
    wrote(world, 0, 0)?;
    world.set(&[(0, 0), (1, 1)])?;
    reaches(world, (Web, ONE), Ack(3), 1)
}

fn a_quiet_slot_settles_and_a_used_one_does_not(world: &mut World) -> Result<()> {
    world.set(&[(1, 1)])?;
    reaches(world, (Web, ONE), Ack(2), 0)?;
    for sequence in 3..8 {
        world.pass(200)?;
        world.tick();
        reaches(world, (Web, ONE), Ack(sequence), 0)?;
    }
    // Rings have two slots here: one was used, the others have settled.
    ensure!(world.tracked_slots() == 1, "{}", world.describe());
    world.pass(299)?;
    world.pass(299)?;
    ensure!(world.tracked_slots() == 1, "{}", world.describe());
    world.pass(1)?;
    ensure!(world.tracked_slots() == 0, "{}", world.describe());
    reaches(world, (Web, ONE), Ack(9), 1)?;
    wrote(world, 0, 0)
}

/// What begins at a backend leaves no mark as long as new flows go there: when they go
/// elsewhere, the slot counts as used.
fn a_slot_that_changes_twice_is_tracked_for_long_enough(world: &mut World) -> Result<()> {
    world.set(&[(1, 1)])?;
    world.pass(290)?;
    reaches(world, (Web, ONE), Syn(1), 1)?;
    reaches(world, (Web, ONE), Ack(2), 1)?;
    world.set(&[(2, 1)])?;
    world.pass(20)?;
    reaches(world, (Web, ONE), Ack(3), 1)?;
    world.tick();
    world.pass(290)?;
    reaches(world, (Web, ONE), Ack(4), 1)
}

fn after_the_longest_time_a_backend_is_dead(world: &mut World) -> Result<()> {
    world.times(300, 600)?;
    world.set(&[(1, 1)])?;
    reaches(world, (Web, ONE), Ack(2), 0)?;
    for sequence in 0..5 {
        world.tick();
        world.pass(119)?;
        reaches(world, (Web, ONE), Ack(3 + sequence), 0)?;
    }
    world.pass(10)?;
    reaches(world, (Web, ONE), Ack(9), 1)
}

fn flows_of_a_client_go_together_with_affinity(world: &mut World) -> Result<()> {
    let all: Vec<_> = (0..MEMBERS).map(|member| (member, 1)).collect();
    world.set(&all)?;
    let mut members = std::collections::BTreeSet::new();
    for last in 1..60 {
        let client = |port| Client([198, 51, 100, last].into(), port);
        let member = world.send(Sticky, client(1), Syn(1))?;
        for port in 2..20 {
            let other = world.send(Sticky, client(port), Syn(1))?;
            ensure!(
                other == member,
                "198.51.100.{last} has {member:?}, {other:?}"
            );
        }
        members.insert(member);
    }
    ensure!(members.len() > MEMBERS / 2, "clients spread: {members:?}");
    Ok(())
}

fn a_restarted_agent_goes_on_with_every_flow(world: &mut World) -> Result<()> {
    world.set(&[(1, 1)])?;
    reaches(world, (Web, ONE), Syn(1), 1)?;
    reaches(world, (Web, ONE), Ack(2), 1)?;
    // It dies between two writes.
    world.begin_set(&[(2, 1), (3, 1)])?;
    world.write(world.pending() / 2)?;
    world.restart()?;
    reaches(world, (Web, ONE), Ack(3), 1)?;
    reaches(world, (Web, TWO), Ack(3), 0)?;
    world.set(&[(4, 1)])?;
    reaches(world, (Web, ONE), Ack(4), 1)?;
    reaches(world, (Web, TWO), Ack(4), 0)?;
    reaches(world, (Web, Client::port(7)), Syn(4), 4)
}
