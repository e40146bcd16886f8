//! What must be written to get from the tables that the kernel holds to those it
//! should hold, in an order in which no packet ever sees a half state. Pure.
//!
//! A record is in place before anything points to it, and nothing points to a
//! record before it is taken away: devices, next hops, records, ring slots, new
//! keys; then old keys, then, when no packet can still be on its way there, what
//! they pointed to.

use std::{cmp::Reverse, collections::BTreeMap};

use gateway_common::{
    Address, Backend, Instance, Interface, MAX_INTERFACES, NextHop, PrefixKey, Range, SnatAddress,
    SourceNat, Tunnel, map,
};

use crate::model::{Entries, Rules, Tables};

/// One of the exact-match tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTable {
    /// `ENDPOINTS`.
    Endpoints,
    /// `INSTANCE_KEYS`.
    InstanceKeys,
    /// `REVERSE`.
    Reverse,
    /// `GUARDED`.
    Guarded,
}

impl KeyTable {
    /// The map.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Endpoints => map::ENDPOINTS,
            Self::InstanceKeys => map::INSTANCE_KEYS,
            Self::Reverse => map::REVERSE,
            Self::Guarded => map::GUARDED,
        }
    }

    fn of(self, tables: &mut Tables) -> &mut Entries {
        match self {
            Self::Endpoints => &mut tables.endpoints,
            Self::InstanceKeys => &mut tables.instance_keys,
            Self::Reverse => &mut tables.reverse,
            Self::Guarded => &mut tables.guard.guarded,
        }
    }
}

/// One write to one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A device: kernel's index, 0 for none.
    Port(u32, u32),
    /// An interface of ours.
    Interface(u32, Interface),
    /// A tunnel.
    Tunnel(u32, Tunnel),
    /// A next hop on the public side.
    Uplink(u32, NextHop),
    /// A backend.
    Backend(u32, Backend),
    /// An instance.
    Instance(u32, Instance),
    /// A reverse translation.
    SourceNat(u32, SourceNat),
    /// An address that instances share, with timeouts in seconds.
    SnatAddress(u32, SnatAddress),
    /// Most public ports of an account; 0 is no limit.
    SnatQuota(u32, u64),
    /// The tunnel towards the gateway that owns a share.
    SnatShare(u32, u64),
    /// Epoch of a ring slot that begins to be tracked, or 0.
    Epoch(u32, u32),
    /// A ring slot.
    Ring(u32, u64),
    /// A word of the filter of public addresses.
    Filter(u32, u64),
    /// A range that is inside, with its prefix length.
    InsertRange(u32, Range),
    /// A range that is not inside any more.
    RemoveRange(u32, Range),
    /// A guard.
    Guard(u32, Rules),
    /// A word of the bits that tell which sources the lists have a say about.
    Hint(u32, u64),
    /// What the lists say of a prefix; 0 is "not listed".
    Prefix(PrefixKey, u32),
    /// A key's value, new or changed.
    Insert(KeyTable, u64, u64),
    /// A key that goes.
    Remove(KeyTable, u64),
    /// What is known of an IPv6 address in a scope, new or changed.
    InsertAddress(u32, Address, u64),
    /// An IPv6 address that goes.
    RemoveAddress(u32, Address),
    /// Waits until every packet is through that may have seen what was there before.
    Wait,
}

impl Write {
    /// Performs the write on tables in memory.
    pub fn apply(&self, tables: &mut Tables) {
        fn set<T: Copy + Default>(list: &mut Vec<T>, index: u32, element: T) {
            if list.len() <= index as usize {
                list.resize(index as usize + 1, T::default());
            }
            list[index as usize] = element;
        }
        match *self {
            Self::Port(index, element) => set(&mut tables.ports, index, element),
            Self::Interface(index, element) => set(&mut tables.interfaces, index, element),
            Self::Tunnel(index, element) => set(&mut tables.tunnels, index, element),
            Self::Uplink(index, element) => tables.uplinks[index as usize] = element,
            Self::Backend(index, element) => set(&mut tables.backends, index, element),
            Self::Instance(index, element) => set(&mut tables.instances, index, element),
            Self::SourceNat(index, element) => set(&mut tables.source_nats, index, element),
            Self::SnatAddress(index, element) => set(&mut tables.snat.addresses, index, element),
            Self::SnatQuota(index, element) => set(&mut tables.snat.quotas, index, element),
            Self::SnatShare(index, element) => set(&mut tables.snat.shares, index, element),
            Self::Epoch(index, element) => set(&mut tables.epochs, index, element),
            Self::Ring(index, element) => set(&mut tables.ring, index, element),
            Self::Filter(index, element) => set(&mut tables.filter, index, element),
            Self::InsertRange(bits, range) => {
                tables.ranges.insert((bits, range));
            }
            Self::RemoveRange(bits, range) => {
                tables.ranges.remove(&(bits, range));
            }
            Self::Guard(index, element) => set(&mut tables.guard.rules, index, element),
            Self::Hint(index, element) => set(&mut tables.guard.hints, index, element),
            Self::Prefix(key, 0) => {
                tables.guard.prefixes.remove(&key);
            }
            Self::Prefix(key, verdict) => {
                tables.guard.prefixes.insert(key, verdict);
            }
            Self::Wait => {}
            Self::Insert(table, key, value) => {
                table.of(tables).insert(key, value);
            }
            Self::Remove(table, key) => {
                table.of(tables).remove(&key);
            }
            Self::InsertAddress(scope, ip, value) => {
                tables.addresses.insert((scope, ip), value);
            }
            Self::RemoveAddress(scope, ip) => {
                tables.addresses.remove(&(scope, ip));
            }
        }
    }
}

/// The writes that lead from `now` to `wanted`. The configuration is not among
/// them: it is fixed while a program is loaded.
pub fn diff(now: &Tables, wanted: &Tables) -> Vec<Write> {
    let mut writes = Vec::new();
    let out = &mut writes;
    list(out, &now.ports, &wanted.ports, Write::Port);
    // Interfaces are few and end with an empty one: all slots, always.
    let padded = |tables: &Tables| -> Vec<Interface> {
        let mut interfaces = tables.interfaces.clone();
        interfaces.resize(MAX_INTERFACES as usize, Interface::default());
        interfaces
    };
    list(out, &padded(now), &padded(wanted), Write::Interface);
    list(out, &now.tunnels, &wanted.tunnels, Write::Tunnel);
    list(out, &now.uplinks, &wanted.uplinks, Write::Uplink);
    // A range counts before an instance's record sends packets to be looked at there:
    // what nobody has yet is dropped, and does not leave.
    let ranges = |from: &Tables, to: &Tables| -> Vec<(u32, Range)> {
        from.ranges.difference(&to.ranges).copied().collect()
    };
    let fresh = ranges(wanted, now).into_iter();
    out.extend(fresh.map(|(bits, range)| Write::InsertRange(bits, range)));
    list(out, &now.snat.shares, &wanted.snat.shares, Write::SnatShare);
    list(out, &now.snat.quotas, &wanted.snat.quotas, Write::SnatQuota);
    // Records that something points to already change in place; those that go are
    // emptied last, when nothing points to them any more.
    let mut gone = Vec::new();
    records(
        out,
        &mut gone,
        &now.snat.addresses,
        &wanted.snat.addresses,
        Write::SnatAddress,
    );
    records(
        out,
        &mut gone,
        &now.backends,
        &wanted.backends,
        Write::Backend,
    );
    records(
        out,
        &mut gone,
        &now.instances,
        &wanted.instances,
        Write::Instance,
    );
    records(
        out,
        &mut gone,
        &now.source_nats,
        &wanted.source_nats,
        Write::SourceNat,
    );
    // A slot has its epoch before it is tracked, and keeps it until it no longer is.
    records(out, &mut gone, &now.epochs, &wanted.epochs, Write::Epoch);
    records(out, &mut gone, &now.ring, &wanted.ring, Write::Ring);
    records(
        out,
        &mut gone,
        &now.guard.rules,
        &wanted.guard.rules,
        Write::Guard,
    );
    prefixes(out, &now.guard.prefixes, &wanted.guard.prefixes);
    list(out, &now.guard.hints, &wanted.guard.hints, Write::Hint);
    let guarded = (KeyTable::Guarded, &now.guard.guarded, &wanted.guard.guarded);
    let tables = [
        guarded,
        (KeyTable::Endpoints, &now.endpoints, &wanted.endpoints),
        (
            KeyTable::InstanceKeys,
            &now.instance_keys,
            &wanted.instance_keys,
        ),
        (KeyTable::Reverse, &now.reverse, &wanted.reverse),
    ];
    for (table, now, wanted) in tables {
        let new = inserts(now, wanted);
        out.extend(new.map(|(key, value)| Write::Insert(table, key, value)));
    }
    // IPv6 addresses point to services by number, as keys do to records.
    let addresses = (&now.addresses, &wanted.addresses);
    let new = inserts(addresses.0, addresses.1);
    out.extend(new.map(|((scope, ip), value)| Write::InsertAddress(scope, ip, value)));
    let old = removals(addresses.0, addresses.1);
    out.extend(old.map(|(scope, ip)| Write::RemoveAddress(scope, ip)));
    for (table, now, wanted) in tables {
        out.extend(removals(now, wanted).map(|key| Write::Remove(table, key)));
    }
    list(out, &now.filter, &wanted.filter, Write::Filter);
    // Not while a packet may still go by an instance's old record.
    let stale = ranges(now, wanted).into_iter();
    gone.extend(stale.map(|(bits, range)| Write::RemoveRange(bits, range)));
    if !gone.is_empty() {
        out.push(Write::Wait);
    }
    out.append(&mut gone);
    writes
}

/// Changed and new elements; elements beyond the wanted end become empty.
fn changes<T: Copy + Default + PartialEq>(
    now: &[T],
    wanted: &[T],
) -> impl Iterator<Item = (u32, T)> {
    let at = |list: &[T], index: usize| list.get(index).copied().unwrap_or_default();
    (0..now.len().max(wanted.len()))
        .map(move |index| (index as u32, at(now, index), at(wanted, index)))
        .filter(|(_, now, wanted)| now != wanted)
        .map(|(index, _, wanted)| (index, wanted))
}

/// Writes all changes.
fn list<T: Copy + Default + PartialEq>(
    out: &mut Vec<Write>,
    now: &[T],
    wanted: &[T],
    write: impl Fn(u32, T) -> Write,
) {
    out.extend(changes(now, wanted).map(|(index, element)| write(index, element)));
}

/// Writes all changes, with what goes kept apart.
fn records<T: Copy + Default + PartialEq>(
    out: &mut Vec<Write>,
    gone: &mut Vec<Write>,
    now: &[T],
    wanted: &[T],
    write: impl Fn(u32, T) -> Write,
) {
    for (index, element) in changes(now, wanted) {
        let list = if element == T::default() {
            &mut *gone
        } else {
            &mut *out
        };
        list.push(write(index, element));
    }
}

/// Longer prefixes come before shorter ones and go after them: a hole in a range is
/// there as long as the range is.
fn prefixes(
    out: &mut Vec<Write>,
    now: &BTreeMap<PrefixKey, u32>,
    wanted: &BTreeMap<PrefixKey, u32>,
) {
    let mut come: Vec<_> = wanted
        .iter()
        .filter(|&(key, verdict)| now.get(key) != Some(verdict))
        .collect();
    come.sort_by_key(|(key, _)| Reverse(key.length));
    out.extend(
        come.into_iter()
            .map(|(&key, &verdict)| Write::Prefix(key, verdict)),
    );
    // Keys are in the order of their lengths.
    let go = now.keys().filter(|key| !wanted.contains_key(key));
    out.extend(go.map(|&key| Write::Prefix(key, 0)));
}

/// Entries that are new or have another value.
fn inserts<K: Copy + Ord>(
    now: &BTreeMap<K, u64>,
    wanted: &BTreeMap<K, u64>,
) -> impl Iterator<Item = (K, u64)> {
    let entries = wanted.iter().map(|(&key, &value)| (key, value));
    entries.filter(|(key, value)| now.get(key) != Some(value))
}

/// Keys that go.
fn removals<K: Copy + Ord>(
    now: &BTreeMap<K, u64>,
    wanted: &BTreeMap<K, u64>,
) -> impl Iterator<Item = K> {
    now.keys().copied().filter(|key| !wanted.contains_key(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_tables() -> impl Strategy<Value = Tables> {
        let numbers = || prop::collection::vec(0u32..4, 0..6);
        let entries = || prop::collection::btree_map(1u64..9, 1u64..4, 0..6);
        let ranges = prop::collection::btree_set(0u32..6, 0..4);
        (
            numbers(),
            numbers(),
            numbers(),
            entries(),
            entries(),
            ranges,
        )
            .prop_map(
                |(ports, tunnels, backends, endpoints, reverse, ranges)| Tables {
                    addresses: reverse
                        .iter()
                        .map(|(&key, &value)| ((key as u32 % 2, [key as u32; 4]), value))
                        .collect(),
                    filter: tunnels.iter().map(|&word| u64::from(word)).collect(),
                    instances: ports
                        .iter()
                        .map(|&network| Instance {
                            network,
                            ..Instance::default()
                        })
                        .collect(),
                    ranges: ranges
                        .into_iter()
                        .map(|vni| (56, Range::new(vni, 4, [vni, 0, 0, 0])))
                        .collect(),
                    ring: backends.iter().map(|&b| u64::from(b)).collect(),
                    epochs: ports.clone(),
                    ports,
                    tunnels: tunnels
                        .into_iter()
                        .map(|port| Tunnel {
                            port,
                            ..Tunnel::default()
                        })
                        .collect(),
                    backends: backends
                        .into_iter()
                        .map(|counter| Backend {
                            counter,
                            ..Backend::default()
                        })
                        .collect(),
                    endpoints,
                    reverse,
                    ..Tables::default()
                },
            )
    }

    proptest! {
        /// Whatever was there, applying the diff leaves nothing more to do.
        #[test]
        fn applying_a_diff_converges(mut now in any_tables(), wanted in any_tables()) {
            let writes = diff(&now, &wanted);
            for write in &writes {
                write.apply(&mut now);
            }
            prop_assert_eq!(diff(&now, &wanted), vec![]);
            prop_assert_eq!(&now.endpoints, &wanted.endpoints);
            prop_assert_eq!(&now.reverse, &wanted.reverse);
            prop_assert_eq!(&now.ranges, &wanted.ranges);
            prop_assert_eq!(&now.addresses, &wanted.addresses);
        }

        /// What an instance sends inside never leaves in between: ranges are inside
        /// before its record says so, and as long as it does.
        #[test]
        fn ranges_outlive_the_records_that_lead_there(now in any_tables(), wanted in any_tables()) {
            let writes = diff(&now, &wanted);
            let first = |wanted: fn(&Write) -> bool| writes.iter().position(wanted);
            let last = |wanted: fn(&Write) -> bool| writes.iter().rposition(wanted);
            let filled = first(|w| matches!(w, Write::Instance(_, i) if *i != Instance::default()));
            if let (Some(inserted), Some(filled)) = (last(|w| matches!(w, Write::InsertRange(..))), filled) {
                prop_assert!(inserted < filled);
            }
            let changed = last(|w| matches!(w, Write::Instance(_, i) if *i != Instance::default()));
            if let (Some(changed), Some(removed)) = (changed, first(|w| matches!(w, Write::RemoveRange(..)))) {
                prop_assert!(changed < removed);
            }
        }

        /// A service is there before an address leads to it, and as long.
        #[test]
        fn services_outlive_their_addresses(now in any_tables(), wanted in any_tables()) {
            let writes = diff(&now, &wanted);
            let last = |which: fn(&Write) -> bool| writes.iter().rposition(which);
            let first = |which: fn(&Write) -> bool| writes.iter().position(which);
            let inserted = last(|w| matches!(w, Write::Insert(..)));
            if let (Some(inserted), Some(address)) = (inserted, first(|w| matches!(w, Write::InsertAddress(..)))) {
                prop_assert!(inserted < address);
            }
            let removed = first(|w| matches!(w, Write::Remove(..)));
            if let (Some(removed), Some(address)) = (removed, last(|w| matches!(w, Write::RemoveAddress(..)))) {
                prop_assert!(address < removed);
            }
        }

        /// Keys go before the records they point to are emptied, and come after
        /// the records are there.
        #[test]
        fn records_outlive_their_keys(now in any_tables(), wanted in any_tables()) {
            let writes = diff(&now, &wanted);
            let position = |wanted: fn(&Write) -> bool| writes.iter().position(wanted);
            let last = |wanted: fn(&Write) -> bool| writes.iter().rposition(wanted);
            let emptied = position(|w| matches!(w, Write::Backend(_, b) if *b == Backend::default()));
            if let (Some(emptied), Some(removed)) = (emptied, last(|w| matches!(w, Write::Remove(..)))) {
                prop_assert!(removed < emptied);
            }
            let filled = last(|w| matches!(w, Write::Backend(_, b) if *b != Backend::default()));
            if let (Some(filled), Some(inserted)) = (filled, position(|w| matches!(w, Write::Insert(..)))) {
                prop_assert!(filled < inserted);
            }
        }
    }

    #[test]
    fn equal_tables_need_nothing() {
        assert_eq!(diff(&Tables::default(), &Tables::default()), []);
    }
}
