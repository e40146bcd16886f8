//! A private address never leaves, whatever is missing.

use gateway_common::{Instance, Reason, SnatAddress};

use super::{
    Told, World, conversations,
    packet::{ACK, Kind, RST, packet, tcp, udp},
    site::{SHARED, SHOP_1},
};

conversations! {
    snat_drops_protocols_without_ports: [];
    snat_drops_what_has_no_mapping_from_outside: [];
    snat_makes_no_mapping_for_a_reset: [];
    nothing_leaves_without_an_address_to_share: [];
    nothing_leaves_behind_an_address_that_is_gone: [];
    nothing_leaves_without_an_account: [];
    nothing_leaves_for_an_index_beyond_the_table: [];
    nothing_returns_to_an_instance_that_is_gone: [];
}

fn snat_drops_protocols_without_ports(world: &mut World) -> Told {
    for protocol in [0, 2, 47, 50, 132, 255] {
        let packet = packet(Kind::Other(protocol), 0, 0);
        world.stays(0, SHOP_1, packet, Reason::SnatProtocol)?;
        world.is_refused(0, (SHARED, 0), packet, Reason::SnatProtocol)?;
    }
    Ok(())
}

fn snat_drops_what_has_no_mapping_from_outside(world: &mut World) -> Told {
    world.leaves(0, SHOP_1, SHARED, udp(4_000, 53))?;
    for port in (1_024..16_384).step_by(512) {
        for kind in [Kind::Tcp(ACK), Kind::Echo] {
            let packet = packet(kind, 1, 53);
            world.is_refused(0, (SHARED, port), packet, Reason::SnatNoMapping)?;
        }
    }
    Ok(())
}

fn snat_makes_no_mapping_for_a_reset(world: &mut World) -> Told {
    world.stays(0, SHOP_1, tcp(RST, 4_000, 80), Reason::SnatNoMapping)?;
    world.stays(0, SHOP_1, tcp(RST | ACK, 4_000, 80), Reason::SnatNoMapping)
}

/// Breaks what the tables say of instances, sees what happens, and mends it.
fn with_instances(
    world: &mut World,
    change: fn(&mut Instance),
    talk: impl FnOnce(&mut World) -> Told,
) -> Told {
    let mut before = Vec::new();
    world.rewrite(0, |tables| {
        before.clone_from(&tables.instances);
        tables.instances.iter_mut().for_each(change);
    })?;
    let told = talk(world);
    world.rewrite(0, |tables| tables.instances = before)?;
    told
}

/// Breaks what the tables say of addresses.
fn with_addresses(
    world: &mut World,
    change: fn(&mut SnatAddress),
    talk: impl FnOnce(&mut World) -> Told,
) -> Told {
    let mut before = Vec::new();
    world.rewrite(0, |tables| {
        before.clone_from(&tables.snat.addresses);
        tables.snat.addresses.iter_mut().for_each(change);
    })?;
    let told = talk(world);
    world.rewrite(0, |tables| tables.snat.addresses = before)?;
    told
}

/// All of them, for an instance that has a mapping and for one that has none.
fn all_stay(world: &mut World, reason: Reason) -> Told {
    for near in [4_000, 4_001] {
        for kind in [Kind::Udp, Kind::Tcp(ACK), Kind::Echo] {
            world.stays(0, SHOP_1, packet(kind, near, 53), reason)?;
        }
    }
    Ok(())
}

fn nothing_leaves_without_an_address_to_share(world: &mut World) -> Told {
    world.leaves(0, SHOP_1, SHARED, udp(4_000, 53))?;
    let change = |instance: &mut Instance| instance.snat = 0;
    with_instances(world, change, |world| all_stay(world, Reason::NoReverse))
}

fn nothing_leaves_behind_an_address_that_is_gone(world: &mut World) -> Told {
    let port = world.leaves(0, SHOP_1, SHARED, udp(4_000, 53))?;
    let change = |address: &mut SnatAddress| *address = SnatAddress::default();
    with_addresses(world, change, |world| {
        all_stay(world, Reason::NoReverse)?;
        world.is_refused(0, (SHARED, port), udp(4_000, 53), Reason::NoReverse)
    })
}

fn nothing_leaves_without_an_account(world: &mut World) -> Told {
    let change = |instance: &mut Instance| instance.snat_account = 9_999;
    with_instances(world, change, |world| all_stay(world, Reason::Internal))
}

fn nothing_leaves_for_an_index_beyond_the_table(world: &mut World) -> Told {
    let change = |instance: &mut Instance| instance.snat = 9_999;
    with_instances(world, change, |world| all_stay(world, Reason::Internal))?;
    let change = |address: &mut SnatAddress| address.first = 1 << 24;
    with_addresses(world, change, |world| all_stay(world, Reason::Internal))
}

fn nothing_returns_to_an_instance_that_is_gone(world: &mut World) -> Told {
    let packet = udp(4_000, 53);
    let port = world.both_ways(0, SHOP_1, SHARED, packet)?;
    let back = (SHARED, port);
    let gone = |instance: &mut Instance| *instance = Instance::default();
    with_instances(world, gone, |world| {
        world.is_refused(0, back, packet, Reason::SnatNoMapping)
    })?;
    let another = |instance: &mut Instance| instance.snat_tag ^= 1;
    with_instances(world, another, |world| {
        world.is_refused(0, back, packet, Reason::SnatNoMapping)
    })?;
    world.returns(0, SHOP_1, back, packet)
}
