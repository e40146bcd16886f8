//! Floods from sources that nobody has heard of.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{
    Client, Segment, Service,
    world::{World, frame},
};

/// Connections that are under way when a flood comes.
const CONNECTIONS: u16 = 200;

/// First packets from so many sources, in the steady state: nothing is written.
pub fn in_steady_state(world: &mut World, sources: u32) -> Result<()> {
    world.set(&[(0, 1), (1, 1), (2, 1)])?;
    for _ in 0..4 {
        world.pass(200)?;
    }
    let before = world.events()?;
    pour(world, sources)?;
    let after = world.events()?;
    ensure!(
        before == after,
        "{sources} first packets were no news: {before:?}, then {after:?}"
    );
    Ok(())
}

/// The same while all slots are tracked: connections that began before and after the
/// change stay where they are, and none of them is forgotten.
pub fn in_tracked_slots(world: &mut World, sources: u32) -> Result<()> {
    let say =
        |world: &mut World, port, segment| world.send(Service::Web, Client::port(port), segment);
    for port in 0..CONNECTIONS {
        ensure!(say(world, port, Segment::Syn(1))? == Some(0), "{port}");
    }
    world.set(&[(1, 1)])?;
    for port in CONNECTIONS..2 * CONNECTIONS {
        ensure!(say(world, port, Segment::Syn(1))? == Some(1), "{port}");
        ensure!(say(world, port, Segment::Ack(2))? == Some(1), "{port}");
    }
    let [_, remembered, _] = world.events()?;
    pour(world, sources)?;
    for port in 0..2 * CONNECTIONS {
        let member = usize::from(port >= CONNECTIONS);
        let reached = say(world, port, Segment::Ack(3))?;
        ensure!(
            reached == Some(member),
            "connection {port} of {member} reaches {reached:?} after the flood"
        );
    }
    let [begun, still, _] = world.events()?;
    ensure!(begun >= u64::from(sources), "{begun} were remembered");
    ensure!(still == remembered, "no flow had to be remembered again");
    Ok(())
}

/// First packets from so many sources.
fn pour(world: &mut World, sources: u32) -> Result<()> {
    const SOURCE: std::ops::Range<usize> = 14 + 12..14 + 16;
    // The program never looks at checksums: it changes them by what it changes.
    let mut frame = frame(Service::Web, Client::port(9), Segment::Syn(7)).bytes();
    let start = Instant::now();
    for source in 0..sources {
        frame[SOURCE].copy_from_slice(&(0x0100_0000 + source).to_be_bytes());
        ensure!(world.send_frame(&frame)?, "source {source} is sent on");
    }
    println!("measured: {sources} sources in {:.1?}", start.elapsed());
    Ok(())
}

/// More flows than can be remembered at a time: those that say something are kept.
pub fn of_whole_connections(world: &mut World) -> Result<()> {
    const LIMIT: u16 = 1_024;
    let say =
        |world: &mut World, port, segment| world.send(Service::Web, Client::port(port), segment);
    world.set(&[(1, 1)])?;
    let alive = 0..64;
    for port in alive.clone() {
        say(world, port, Segment::Syn(1))?;
        say(world, port, Segment::Ack(2))?;
    }
    for port in 100..100 + 4 * LIMIT {
        say(world, port, Segment::Syn(1))?;
        say(world, port, Segment::Ack(2))?;
        if port % 64 == 0 {
            for port in alive.clone() {
                let reached = say(world, port, Segment::Ack(3))?;
                ensure!(reached == Some(1), "connection {port} reaches {reached:?}");
            }
        }
    }
    Ok(())
}
