//! Ports run out: by quota, or because none is left; and who gets one that is free again.

use gateway_common::Reason;

use super::{
    Told, World, conversations, holds,
    packet::{Kind, packet, udp},
    site::{QUOTA, SHARED, SHOP_1, SHOP_2, STRICT, STRICT_1, TIMEOUTS},
};

conversations! {
    snat_stops_a_tenant_at_its_quota: ["RFC 6888 REQ-4"];
    snat_counts_what_a_tenant_uses: ["RFC 6888 REQ-4"];
    snat_drops_by_name_when_ports_run_out: ["RFC 6888 REQ-11", "RFC 6888 REQ-13"];
    snat_lets_a_freed_port_rest: ["RFC 6888 REQ-8"];
}

fn snat_stops_a_tenant_at_its_quota(world: &mut World) -> Told {
    let quota = QUOTA as u16;
    let mut ports = Vec::new();
    for near in 0..quota {
        ports.push(world.leaves(0, STRICT_1, STRICT, udp(6_000 + near, 53))?);
    }
    for near in quota..quota + 50 {
        world.stays(0, STRICT_1, udp(6_000 + near, 53), Reason::SnatQuota)?;
    }
    // What it has it keeps, and others are none the worse.
    for near in 0..quota {
        let again = world.both_ways(0, STRICT_1, STRICT, udp(6_000 + near, 53))?;
        holds("the port stays", again == ports[near as usize])?;
    }
    world.leaves(0, SHOP_1, SHARED, udp(6_000, 53))?;
    // What is over is no more counted, once somebody has looked.
    if world.is_kernel() {
        world.wait(TIMEOUTS.udp + TIMEOUTS.hold + 9);
        world.sweep()?;
        world.leaves(0, STRICT_1, STRICT, udp(9_999, 53))?;
    }
    Ok(())
}

fn snat_counts_what_a_tenant_uses(world: &mut World) -> Told {
    let total = |world: &World| world.used(0).iter().sum::<u64>();
    holds("nothing is used", total(world) == 0)?;
    for near in 0..50 {
        for kind in [Kind::Udp, Kind::Tcp(2), Kind::Echo] {
            world.leaves(0, SHOP_1, SHARED, packet(kind, near, 53))?;
            world.leaves(0, SHOP_1, SHARED, packet(kind, near, 54))?;
        }
    }
    holds("each mapping is counted once", total(world) == 150)?;
    // The instance takes up again what had expired: still one each.
    world.wait(TIMEOUTS.udp + 9);
    for near in 0..50 {
        world.leaves(0, SHOP_1, SHARED, udp(near, 53))?;
    }
    holds("each mapping is counted once", total(world) == 150)
}

fn snat_drops_by_name_when_ports_run_out(world: &mut World) -> Told {
    // The first share holds 15,360 ports that are handed out.
    let (mut left, mut first, mut last) = (0, None, None);
    for vm in [SHOP_1, SHOP_2] {
        for near in 0..9_000 {
            match world.passes(vm, udp(near, 53))? {
                true => left += 1,
                false => {
                    first.get_or_insert(left);
                    last = Some((vm, near));
                }
            }
        }
    }
    holds("no port is given twice", left <= 15_360)?;
    holds("most ports are given", left >= 14_000)?;
    holds(
        "nobody is refused long before that",
        first.is_some_and(|at| at > 11_000),
    )?;
    let (vm, near) = last.ok_or("nobody was refused")?;
    world.stays(0, vm, udp(near, 53), Reason::SnatExhausted)?;
    // Echo and TCP have ports of their own.
    world.both_ways(0, SHOP_1, SHARED, packet(Kind::Echo, 1, 53))?;
    Ok(())
}

fn snat_lets_a_freed_port_rest(world: &mut World) -> Told {
    let mut refused = 0;
    for near in 0..15_360 {
        refused += usize::from(!world.passes(SHOP_1, udp(near, 53))?);
    }
    holds("nearly all are given", refused < 1_500)?;
    world.wait(TIMEOUTS.udp + 9);
    // They have expired, and rest: another instance gets only what was never used.
    let mut early = 0;
    for near in 0..2_000 {
        early += usize::from(world.passes(SHOP_2, udp(near, 53))?);
    }
    holds("none that rests is given to another", early <= refused)?;
    world.wait(TIMEOUTS.hold);
    for near in 2_000..2_100 {
        world.leaves(0, SHOP_2, SHARED, udp(near, 53))?;
    }
    Ok(())
}
