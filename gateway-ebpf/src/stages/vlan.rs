//! 802.1Q on the public side: the tag goes before the other stages look, and comes back
//! on what is answered or passed. What leaves by a VLAN gets its tag from the next hop.

use gateway_common::{Note, Outcome, Reason};

use super::arrival;
use crate::{
    headers::{Ethernet, Tagged},
    packet::{Packet, Tables, Verdict},
};

/// The VLAN identifier in a tag; priority and "drop eligible" are the rest.
const IDENTIFIER: u16 = 0x0fffu16.to_be();

/// Whether the frame has an 802.1Q tag.
#[inline(always)]
pub fn has_tag<P: Packet>(packet: &P) -> Result<bool, Reason> {
    Ok(packet.need::<Ethernet>(0)?.kind == Ethernet::VLAN)
}

/// Takes the tag off a frame of a VLAN of ours, and notes it.
#[inline(always)]
pub fn take_off<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<(), Reason> {
    match packet.need::<Ethernet>(0)?.kind {
        Ethernet::VLAN => {}
        Ethernet::QINQ => return Err(Reason::VlanTagged),
        _ => return Err(Reason::Untagged),
    }
    let tag = packet.need::<Tagged>(0)?.control;
    if arrival::interface(tables, packet.ingress(), tag & IDENTIFIER).is_none() {
        return Err(Reason::VlanTagged);
    }
    let macs = packet.need::<Ethernet>(0)?.macs;
    packet.need_mut::<Ethernet>(Tagged::TAG)?.set_macs(&macs);
    packet.pop(Tagged::TAG)?;
    tables.note(Note::Tag, tag as u32);
    Ok(())
}

/// Puts the tag back on a frame that goes to where it came from, or to the kernel.
#[inline(always)]
pub fn put_back<P: Packet, T: Tables>(packet: &mut P, tables: &T, verdict: Verdict) -> Verdict {
    let Verdict::End(reason) = verdict else {
        return verdict;
    };
    if reason.outcome() == Outcome::Dropped {
        return verdict;
    }
    match put_on(packet, tables.noted(Note::Tag) as u16) {
        Ok(()) => verdict,
        Err(reason) => Verdict::End(reason),
    }
}

#[inline(always)]
fn put_on<P: Packet>(packet: &mut P, tag: u16) -> Result<(), Reason> {
    packet.push(Tagged::TAG)?;
    let macs = packet.need::<Ethernet>(Tagged::TAG)?.macs;
    let header = packet.need_mut::<Tagged>(0)?;
    header.set_macs(&macs);
    header.tag = Ethernet::VLAN;
    header.control = tag;
    Ok(())
}

/// The VLAN that a frame of this interface came in by, as the table of interfaces has it.
#[inline(always)]
pub fn of_arrival<T: Tables>(tables: &T) -> u16 {
    match tables.tagged() {
        true => tables.noted(Note::Tag) as u16 & IDENTIFIER,
        false => 0,
    }
}

/// Bytes of a frame that were taken off it before its step, for the counters.
#[inline(always)]
pub fn bytes_taken_off<T: Tables>(tables: &T, is_public: bool) -> usize {
    match is_public && tables.tagged() {
        true => Tagged::TAG,
        false => 0,
    }
}
