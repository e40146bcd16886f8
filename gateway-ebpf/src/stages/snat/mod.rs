//! Egress NAT: instances without a public address of their own share one.
//!
//! Whatever an instance's port talks to, it appears behind one public port (RFC 4787,
//! REQ-1: endpoint-independent mapping). A public address's port space is split into
//! shares, one a gateway: a share's gateway alone hands its ports out and knows who
//! has them, and any gateway can tell from a port whose it is.
//!
//! A mapping is one slot of `SNAT_PORTS`: owner and state, in the place that the
//! public port's number names ([`place`]). Which places an instance's port may have
//! follows from a hash, so a packet of either direction finds its mapping in one cache
//! line. [`claim`] makes mappings, [`state`] follows them, and an expired one is taken
//! over in place, whether or not an agent is there to free it.

mod claim;
pub mod place;
pub mod state;

use gateway_common::{
    Endpoint, Instance, Macs, Note, Reason, SnatAddress, SnatClass, SnatOwner, SnatPeer,
    SnatSetting, SnatState, Step,
};

use super::{parse::Flow, rewrite::Rewrite, source::Sender, vxlan::Inside};
use crate::{
    atomic, checksum,
    family::{Family, Side},
    headers::{Icmp, Ipv4, Tcp},
    packet::{Exit, Packet, Tables},
};
use place::{Place, Probe, Region};

/// A mapping that exists.
#[derive(Clone, Copy)]
pub struct Mapping<'t> {
    /// The public address.
    pub shared: &'t SnatAddress,
    /// The instance.
    pub instance: &'t Instance,
    /// The instance's port, or its echo identifier, as it lies in the packet.
    pub inner: u16,
    /// The public one.
    pub outer: u16,
    class: SnatClass,
    place: Place,
}

/// An instance's port, and where its mapping may lie.
#[derive(Clone, Copy)]
struct Sought<'t> {
    region: Region<'t>,
    owner: SnatOwner,
    port: u16,
}

impl<'t> Sought<'t> {
    #[inline(always)]
    fn new<F: Family, T: Tables>(
        tables: &'t T,
        sender: &Sender<'t>,
        flow: &Flow<F>,
        port: u16,
    ) -> Result<Self, Reason> {
        let instance = sender.instance;
        if instance.snat == 0 {
            return Err(Reason::NoReverse);
        }
        let shared = address(tables, instance.snat)?;
        let class = class::<F>(flow.protocol)?;
        if flow.is_fragment() {
            return Err(Reason::Fragment);
        }
        Ok(Self {
            region: Region::new(tables, shared, class),
            owner: SnatOwner::new(sender.index, instance.snat_tag, port),
            port,
        })
    }

    /// Its place among the first `most` buckets, if it has one.
    #[inline(always)]
    fn find<T: Tables>(&self, tables: &T, most: u32) -> Result<Place, Reason> {
        let mut probe = Probe::new(tables, self.owner, self.region.class);
        let mut round = 0;
        while round < most {
            let bucket = self.region.bucket(&mut probe);
            let ports = tables.snat_ports(bucket).ok_or(Reason::Internal)?;
            let mut slot = 0;
            while slot < ports.owners.len() {
                if atomic::load(&ports.owners[slot]) == self.owner.0 {
                    return Ok(Place::new(bucket, slot as u32));
                }
                slot += 1;
            }
            round += 1;
        }
        Ok(Place::NONE)
    }

    /// Whether what is mapped at a place is not any more.
    #[inline(always)]
    fn is_expired<T: Tables>(&self, tables: &T, place: Place) -> Result<bool, Reason> {
        let ports = tables.snat_ports(place.bucket).ok_or(Reason::Internal)?;
        let state = SnatState(atomic::load(&ports.states[place.slot()]));
        let (shared, class) = (self.region.shared, self.region.class);
        Ok(state::is_expired(shared, class, state, tick(tables)))
    }

    #[inline(always)]
    fn mapping<T: Tables>(&self, tables: &T, sender: &Sender<'t>, place: Place) -> Mapping<'t> {
        Mapping {
            shared: self.region.shared,
            instance: sender.instance,
            inner: self.port,
            outer: self.region.port(tables, place),
            class: self.region.class,
            place,
        }
    }
}

/// What a packet is mapped by, if it is of a protocol that can be.
#[inline(always)]
pub fn class<F: Family>(protocol: u8) -> Result<SnatClass, Reason> {
    match protocol {
        Ipv4::TCP => Ok(SnatClass::Tcp),
        Ipv4::UDP => Ok(SnatClass::Udp),
        protocol if protocol == F::ICMP => Ok(SnatClass::Echo),
        _ => Err(Reason::SnatProtocol),
    }
}

/// The mapping of what an instance sends from `port` (for ICMP: with this echo
/// identifier). Without `FULL`, the step goes on that can also make one.
#[inline(always)]
pub fn outbound_mapping<'t, F: Family, T: Tables, const FULL: bool>(
    tables: &'t T,
    sender: &Sender<'t>,
    flow: &Flow<F>,
    port: u16,
) -> Result<Mapping<'t>, Exit> {
    let sought = Sought::new(tables, sender, flow, port)?;
    let most = if FULL { Probe::FULL } else { Probe::FAST };
    let found = sought.find(tables, most)?;
    let place = if !found.is_none() && !sought.is_expired(tables, found)? {
        found
    } else if FULL {
        let owner = (sought.owner, found);
        claim::claim(
            tables,
            &sought.region,
            sender.instance,
            owner,
            flow.tcp_flags,
        )?
    } else {
        return Err(Exit::Continue(Step::InsideFull));
    };
    Ok(sought.mapping(tables, sender, place))
}

/// The mapping that an instance's port has already. `flow` is the packet's that an error
/// of the instance speaks of.
#[inline(always)]
pub fn known_mapping<'t, F: Family, T: Tables>(
    tables: &'t T,
    sender: &Sender<'t>,
    flow: &Flow<F>,
    port: u16,
) -> Result<Mapping<'t>, Reason> {
    let sought = Sought::new(tables, sender, flow, port)?;
    let found = sought.find(tables, Probe::FULL)?;
    if found.is_none() || sought.is_expired(tables, found)? {
        return Err(Reason::SnatNoMapping);
    }
    Ok(sought.mapping(tables, sender, found))
}

/// The mapping of a public port (or echo identifier) as it lies in the packet. Another
/// gateway's port is left to the step that hands the packet over.
///
/// `endpoint` is of kind [`Endpoint::SNAT`]. It serves a packet's destination as well
/// as the source in the packet that an ICMP error speaks of; whether the sender is
/// welcome is for [`arrive`] to say.
#[inline(always)]
pub fn inbound_mapping<'t, F: Family, T: Tables>(
    tables: &'t T,
    endpoint: Endpoint,
    flow: &Flow<F>,
    port: u16,
) -> Result<Mapping<'t>, Exit> {
    if flow.is_fragment() {
        return Err(Reason::Fragment.into());
    }
    let shared = address(tables, endpoint.index())?;
    let class = class::<F>(flow.protocol)?;
    let share = place::share(tables, port);
    if share != tables.snat(SnatSetting::SHARE) {
        tables.note(Note::Share, share);
        return Err(Exit::Continue(Step::HandOver));
    }
    let region = Region::new(tables, shared, class);
    let Some(place) = region.find(tables, port) else {
        return Err(Reason::SnatNoMapping.into());
    };
    let bucket = tables.snat_ports(place.bucket).ok_or(Reason::Internal)?;
    let owner = SnatOwner(atomic::load(&bucket.owners[place.slot()]));
    let state = SnatState(atomic::load(&bucket.states[place.slot()]));
    if !owner.is_valid() || state::is_expired(shared, class, state, tick(tables)) {
        return Err(Reason::SnatNoMapping.into());
    }
    let instance = tables.instance(owner.instance()).ok_or(Reason::Internal)?;
    // An instance that is gone, or another one with its index.
    if instance.flags & Instance::FLAG_VALID == 0
        || instance.snat_tag & SnatOwner::TAG != owner.tag()
    {
        return Err(Reason::SnatNoMapping.into());
    }
    Ok(Mapping {
        shared,
        instance,
        inner: owner.port(),
        outer: port,
        class,
        place,
    })
}

/// Notes that the instance sends: the mapping lives on (RFC 4787, REQ-6), and whom it
/// sends to may answer where the pool filters.
#[inline(always)]
pub fn leave<F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &P,
    at: usize,
    tables: &T,
    mapping: &Mapping<'_>,
    flow: &Flow<F>,
) -> Result<(), Exit> {
    if mapping.shared.flags & SnatAddress::FILTERS != 0 {
        if !FULL {
            return Err(Exit::Continue(Step::InsideFull));
        }
        let peer = peer::<F, T>(tables, mapping, flow.destination, flow.destination_port())?;
        let now = tick(tables);
        if tables.snat_peer(&peer) != Some(now) {
            tables.set_snat_peer(&peer, now);
        }
    }
    match follow::<F, P, T, FULL>(packet, at, tables, mapping, flow, true)? {
        true => Ok(()),
        false => Err(Exit::Continue(Step::InsideFull)),
    }
}

/// Notes that somebody sends to the instance, if the pool lets them.
#[inline(always)]
pub fn arrive<F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &P,
    at: usize,
    tables: &T,
    mapping: &Mapping<'_>,
    flow: &Flow<F>,
) -> Result<(), Exit> {
    if mapping.shared.flags & SnatAddress::FILTERS != 0 {
        if !FULL {
            return Err(Exit::Continue(Step::PublicFull));
        }
        let peer = peer::<F, T>(tables, mapping, flow.source, flow.source_port())?;
        let now = tick(tables);
        let age = |last: u32| now.wrapping_sub(last) as i32;
        let lifetime = state::longest(mapping.shared, mapping.class);
        match tables.snat_peer(&peer) {
            Some(last) if age(last) <= lifetime as i32 => {
                if last != now && keeps_alive(mapping) {
                    tables.set_snat_peer(&peer, now);
                }
            }
            _ => return Err(Reason::SnatFiltered.into()),
        }
    }
    match follow::<F, P, T, FULL>(packet, at, tables, mapping, flow, false)? {
        true => Ok(()),
        false => Err(Exit::Continue(Step::PublicFull)),
    }
}

/// Identifier of an echo message of this type.
#[inline(always)]
pub fn echo<P: Packet>(packet: &P, l4: usize, kind: u8) -> Result<Option<u16>, Reason> {
    let icmp = packet.need::<Icmp>(l4)?;
    Ok((icmp.kind == kind && icmp.code == 0).then_some(icmp.id))
}

impl<'t> Mapping<'t> {
    /// The instance's network; `macs` are those that its router sends with.
    #[inline(always)]
    pub fn inside<'m>(&self, macs: &'m Macs) -> Inside<'m> {
        Inside {
            macs,
            vni: self.instance.vni,
        }
    }

    /// What a packet from the instance becomes.
    #[inline(always)]
    pub fn outward<F: Family>(&self) -> Rewrite<'t> {
        let addresses = checksum::add(!(self.instance.sum as u16), self.shared.sum as u16);
        self.rewrite::<F>(
            Side::Source,
            &self.shared.address,
            self.outer,
            addresses,
            checksum::delta(&[self.inner], &[self.outer]),
        )
    }

    /// What a packet for the public address becomes.
    #[inline(always)]
    pub fn inward<F: Family>(&self) -> Rewrite<'t> {
        let addresses = checksum::add(!(self.shared.sum as u16), self.instance.sum as u16);
        self.rewrite::<F>(
            Side::Destination,
            &self.instance.address,
            self.inner,
            addresses,
            checksum::delta(&[self.outer], &[self.inner]),
        )
    }

    #[inline(always)]
    fn rewrite<F: Family>(
        &self,
        side: Side,
        address: &'t gateway_common::Address,
        port: u16,
        addresses: u16,
        ports: u16,
    ) -> Rewrite<'t> {
        let covers = F::ICMP_COVERS_ADDRESSES || !matches!(self.class, SnatClass::Echo);
        Rewrite {
            side,
            address,
            port,
            keep_port: false,
            l3_delta: checksum::add(addresses, checksum::TTL_DELTA),
            l4_delta: if covers {
                checksum::add(addresses, ports)
            } else {
                ports
            },
        }
    }
}

/// Ticks, about a second each.
#[inline(always)]
pub fn tick<T: Tables>(tables: &T) -> u32 {
    (tables.now() >> (tables.snat(SnatSetting::TICK_SHIFT) & 63)) as u32
}

#[inline(always)]
fn address<T: Tables>(tables: &T, index: u32) -> Result<&SnatAddress, Reason> {
    let shared = tables.snat_address(index).ok_or(Reason::Internal)?;
    if shared.flags & SnatAddress::FLAG_VALID == 0 {
        return Err(Reason::NoReverse);
    }
    Ok(shared)
}

/// Whether what comes in keeps a mapping alive: TCP's acknowledgements come from both
/// sides, and of other protocols the pool may trust them.
#[inline(always)]
fn keeps_alive(mapping: &Mapping<'_>) -> bool {
    matches!(mapping.class, SnatClass::Tcp)
        || mapping.shared.flags & SnatAddress::FLAG_REFRESH_INBOUND != 0
}

/// Follows what becomes of a mapping; false when that takes the full step.
#[inline(always)]
fn follow<F: Family, P: Packet, T: Tables, const FULL: bool>(
    packet: &P,
    at: usize,
    tables: &T,
    mapping: &Mapping<'_>,
    flow: &Flow<F>,
    outward: bool,
) -> Result<bool, Exit> {
    let bucket = tables
        .snat_ports(mapping.place.bucket)
        .ok_or(Reason::Internal)?;
    let word = &bucket.states[mapping.place.slot()];
    let old = atomic::load(word);
    let (state, now) = (SnatState(old), tick(tables));
    let mut phase = state.phase();
    if flow.protocol == Ipv4::TCP {
        let steady = phase & SnatState::PHASE == SnatState::ESTABLISHED
            && flow.tcp_flags & state::EVENTS == 0;
        if !steady && !FULL {
            return Ok(false);
        }
        if !steady {
            let tcp = packet.need::<Tcp>(at + flow.l4())?;
            let header = (tcp.offset_flags as u8 >> 4) as usize * 4;
            let payload = flow.length as usize > flow.l4() + header;
            phase = state::next(phase, flow.tcp_flags, outward, payload);
        }
    } else if !outward && !keeps_alive(mapping) {
        return Ok(true);
    }
    // Once a tick at most: a steady flow leaves the line clean. Who else wrote in
    // between knew as much.
    if phase != state.phase() || now != state.tick() {
        let _ = atomic::replace(word, old, SnatState::new(phase, now, state.account()).0);
    }
    Ok(true)
}

#[inline(always)]
fn peer<F: Family, T: Tables>(
    tables: &T,
    mapping: &Mapping<'_>,
    address: F::Address,
    port: u16,
) -> Result<SnatPeer, Reason> {
    let bucket = tables
        .snat_ports(mapping.place.bucket)
        .ok_or(Reason::Internal)?;
    let [a, b, c, d] = F::words(address);
    let by_port = mapping.shared.flags & SnatAddress::FLAG_FILTER_PORT != 0;
    let port = if by_port { port as u64 } else { 0 };
    Ok(SnatPeer {
        owner: atomic::load(&bucket.owners[mapping.place.slot()]),
        address: [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32],
        class_port: (mapping.class as u64) << 32 | port,
    })
}
