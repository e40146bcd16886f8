//! Who may send to a port that an instance sends from.

use std::net::Ipv4Addr;

use gateway_common::Reason::SnatFiltered;

use super::{
    Told, World, conversations, lab_address,
    packet::{Kind, SYN, packet},
    site::{LAB_1, SHARED, SHOP_1, STRICT, STRICT_1},
};

const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 66);

conversations! {
    snat_lets_anybody_answer: ["RFC 4787 REQ-8", "RFC 5382 REQ-3"];
    snat_lets_addresses_answer_that_were_sent_to: ["RFC 4787 REQ-8", "RFC 5382 REQ-3"];
    snat_lets_ports_answer_that_were_sent_to: ["RFC 4787 REQ-8", "RFC 7857 6"];
}

fn snat_lets_anybody_answer(world: &mut World) -> Told {
    for kind in [Kind::Udp, Kind::Tcp(SYN), Kind::Echo] {
        let port = world.leaves(0, SHOP_1, SHARED, packet(kind, 4_000, 53))?;
        let stranger = packet(kind, 4_000, 9).with(STRANGER);
        world.returns(0, SHOP_1, (SHARED, port), stranger)?;
    }
    Ok(())
}

fn snat_lets_addresses_answer_that_were_sent_to(world: &mut World) -> Told {
    let address = lab_address(world)?;
    for kind in [Kind::Udp, Kind::Tcp(SYN), Kind::Echo] {
        let known = packet(kind, 4_000, 53);
        let port = world.leaves(0, LAB_1, address, known)?;
        let back = (address, port);
        world.returns(0, LAB_1, back, known)?;
        world.returns(0, LAB_1, back, packet(kind, 4_000, 99))?;
        let stranger = packet(kind, 4_000, 53).with(STRANGER);
        world.is_refused(0, back, stranger, SnatFiltered)?;
        world.leaves(0, LAB_1, address, stranger)?;
        world.returns(0, LAB_1, back, stranger)?;
        // Another port of the instance sent nothing there.
        let other = packet(kind, 4_001, 53).with(super::site::OTHER_VTEP);
        let port = world.leaves(0, LAB_1, address, other)?;
        world.is_refused(0, (address, port), packet(kind, 4_001, 53), SnatFiltered)?;
    }
    Ok(())
}

fn snat_lets_ports_answer_that_were_sent_to(world: &mut World) -> Told {
    for kind in [Kind::Udp, Kind::Tcp(SYN)] {
        let known = packet(kind, 4_000, 53);
        let port = world.leaves(0, STRICT_1, STRICT, known)?;
        let back = (STRICT, port);
        world.returns(0, STRICT_1, back, known)?;
        world.is_refused(0, back, packet(kind, 4_000, 99), SnatFiltered)?;
        world.is_refused(0, back, known.with(STRANGER), SnatFiltered)?;
        world.leaves(0, STRICT_1, STRICT, packet(kind, 4_000, 99))?;
        world.returns(0, STRICT_1, back, packet(kind, 4_000, 99))?;
    }
    Ok(())
}
