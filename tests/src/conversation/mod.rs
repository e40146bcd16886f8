//! Conversations through egress NAT. Unlike a case, a conversation learns from what left
//! what must come back: which port it has is up to the gateway.
//!
//! `tests/stages.rs` has them with the library, `tests/fixtures.rs` in the kernel.
//! `docs/nat-conformance.md` is written from what they say they show.

pub mod conformance;
mod errors;
mod filtering;
mod gateways;
mod hairpins;
mod leaks;
mod limits;
mod mapping;
pub mod packet;
pub mod site;
mod timers;
mod world;

use std::net::Ipv4Addr;

use crate::cases::Program;
pub use world::{Told, World};

/// Something that is shown by talking through two gateways.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    /// What is shown.
    pub name: &'static str,
    /// Requirements that it shows, such as `RFC 4787 REQ-1`.
    pub shows: &'static [&'static str],
    /// Has the conversation.
    pub run: fn(&mut World) -> Told,
}

/// All conversations.
pub fn all() -> Vec<Conversation> {
    files().map(|(_, talks)| talks).concat()
}

/// Conversations by the file that they are in.
fn files() -> [(&'static str, &'static [Conversation]); 8] {
    [
        ("mapping", mapping::ALL),
        ("leaks", leaks::ALL),
        ("limits", limits::ALL),
        ("timers", timers::ALL),
        ("filtering", filtering::ALL),
        ("gateways", gateways::ALL),
        ("errors", errors::ALL),
        ("hairpins", hairpins::ALL),
    ]
}

/// Lists functions that have conversations.
macro_rules! conversations {
    ($($name:ident: [$($shows:literal),*];)*) => {
        pub(super) const ALL: &[super::Conversation] = &[$(super::Conversation {
            name: stringify!($name),
            shows: &[$($shows),*],
            run: $name,
        }),*];
    };
}

use conversations;

/// Whether something holds.
fn holds(what: &str, it: bool) -> Told {
    match it {
        true => Ok(()),
        false => Err(format!("it does not hold that {what}")),
    }
}

/// The address behind which an instance appears.
fn address_of(world: &mut World, vm: site::Vm) -> Told<Ipv4Addr> {
    let sent = packet::udp(9, 9).sent(vm).bytes();
    let left = world.send(0, Program::Underlay, &sent)?;
    let address = left.output.get(26..30).ok_or("nothing left")?;
    Ok(Ipv4Addr::new(
        address[0], address[1], address[2], address[3],
    ))
}

/// The address that the third tenant's first instance has.
fn lab_address(world: &mut World) -> Told<Ipv4Addr> {
    address_of(world, site::LAB_1)
}
