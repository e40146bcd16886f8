//! Next hops: tunnels to hosts, uplinks to the public network, devices.

use std::{collections::BTreeMap, net::IpAddr};

use gateway_common::{
    ALL_UPLINK_SLOTS, Address, Interface, Macs, NextHop, Tunnel, VXLAN_OVERHEAD_V4,
    VXLAN_OVERHEAD_V6, macs,
};
use gateway_ebpf::{
    checksum,
    family::{Family, V6},
    headers::{Ethernet, Ipv4, Ipv6, Vxlan},
};
use zerocopy::IntoBytes;

use super::{Indices, Tables, address};
use crate::{
    config::{Gateway, Mac, Topology},
    reachability::{self, Reachability},
};

/// Largest MTU whose frames surely come in one buffer, whatever the driver: half a page,
/// less what a driver keeps for itself.
const SINGLE_BUFFER: u32 = 1900;

/// Whether frames of an interface may come in several buffers.
pub fn has_jumbo(reach: &Reachability) -> bool {
    let mut interfaces = reach.interfaces.values();
    interfaces.any(|interface| interface.mtu > SINGLE_BUFFER)
}

/// Port of the only interface, if a gateway has no other: the first. 0 is nobody's.
pub(super) fn only_port(gateway: &Gateway) -> u32 {
    let mut names = gateway.public.iter().chain(&gateway.underlay);
    let first = names.next();
    names.all(|name| Some(name) == first).into()
}

/// Adds ports, interfaces, tunnels and uplinks.
pub(super) fn add(
    tables: &mut Tables,
    topology: &Topology,
    gateway: &Gateway,
    reach: &Reachability,
    indices: &Indices<IpAddr>,
) {
    let mut ports = BTreeMap::new();
    for name in gateway.public.iter().chain(&gateway.underlay) {
        let Some(interface) = reach.interfaces.get(name) else {
            continue;
        };
        ports.entry(name.as_str()).or_insert_with(|| {
            tables.ports.push(interface.ifindex);
            tables.ports.len() as u32 - 1
        });
    }
    tables.interfaces = interfaces(gateway, reach);
    let hosts = topology.hosts.iter();
    let hosts = hosts.map(|host| (topology.anycast_vtep, host.vtep));
    // Only SNAT has anything to tell the other gateways.
    let peers = match topology.snat.pools.is_empty() {
        true => &[][..],
        false => &topology.gateways,
    };
    let peers = peers.iter().map(|peer| (gateway.vtep, peer.vtep));
    for (index, (from, to)) in hosts.chain(peers).enumerate() {
        let hops = reach.tunnels.get(&to).map_or(&[][..], |hops| hops);
        let link = link(pick(hops, index), reach, &ports).unwrap_or_default();
        let place = indices.get(&to).expect("every tunnel has an index");
        tables.tunnels[place as usize] = tunnel(topology, (from, to), link);
    }
    let hops = [&reach.uplinks, &reach.uplinks_v6];
    for (hops, slots) in hops.into_iter().zip(uplink_slots(&mut tables.uplinks)) {
        for (number, slot) in slots.iter_mut().enumerate() {
            *slot = uplink(pick(hops, number), reach, &ports);
        }
    }
}

/// The public interfaces, or the VLANs on each.
fn interfaces(gateway: &Gateway, reach: &Reachability) -> Vec<Interface> {
    let known = |name: &String| Some((name.clone(), reach.interfaces.get(name)?));
    let interfaces = gateway.public.iter().filter_map(known);
    let untagged = [0];
    let vlans = match &gateway.public_vlans[..] {
        [] => &untagged,
        vlans => vlans,
    };
    let records = interfaces.flat_map(|(name, interface)| {
        vlans.iter().map(move |&id| {
            // What sits on the VLAN has addresses, and may have a MAC, of its own.
            let (mac, v4, v6) = match (id, reach.vlan(&name, id)) {
                (0, _) => (interface.mac, interface.v4, interface.v6),
                (_, Some(vlan)) => (vlan.mac, vlan.v4, vlan.v6),
                (_, None) => (interface.mac, None, None),
            };
            Interface {
                ifindex: interface.ifindex,
                mac: mac.0,
                vlan: id.to_be(),
                v4: v4.map_or([0; 4], |ip| address(ip.into())),
                v6: v6.map_or([0; 4], |ip| address(ip.into())),
                ..Interface::default()
            }
        })
    });
    records.collect()
}

/// The slots of each family.
fn uplink_slots(uplinks: &mut [NextHop; ALL_UPLINK_SLOTS as usize]) -> [&mut [NextHop]; 2] {
    uplinks.split_at_mut(V6::UPLINKS as usize).into()
}

/// One of the usable next hops, spread by index.
fn pick(hops: &[reachability::NextHop], index: usize) -> Option<&reachability::NextHop> {
    let usable: Vec<_> = hops.iter().filter(|hop| hop.is_usable()).collect();
    (!usable.is_empty()).then(|| usable[index % usable.len()])
}

/// What a usable next hop means on the wire.
#[derive(Clone, Copy, Default)]
struct Wire {
    macs: Macs,
    mtu: u32,
    port: u32,
    vlan: u16,
}

/// What a usable next hop means on the wire; a VLAN's frames leave by the interface that
/// it is on.
fn link(
    hop: Option<&reachability::NextHop>,
    reach: &Reachability,
    ports: &BTreeMap<&str, u32>,
) -> Option<Wire> {
    let hop = hop?;
    let Mac(to) = hop.mac?;
    let (device, id, Mac(from), mtu, up) = match reach.vlans.get(&hop.interface) {
        Some(vlan) => (&vlan.parent, vlan.id, vlan.mac, vlan.mtu, vlan.up),
        None => {
            let interface = reach.interfaces.get(&hop.interface)?;
            (
                &hop.interface,
                0,
                interface.mac,
                interface.mtu,
                interface.up,
            )
        }
    };
    let &port = ports.get(device.as_str())?;
    up.then_some(Wire {
        macs: macs(to, from),
        mtu,
        port,
        vlan: id.to_be(),
    })
}

/// The outer headers from one VTEP to another; port 0 when there is no way.
fn tunnel(topology: &Topology, (from, to): (IpAddr, IpAddr), wire: Wire) -> Tunnel {
    let (source, destination) = (address(from), address(to));
    let (headers, overhead, checksum) = match from.is_ipv4() {
        true => {
            let ip = outer_v4(source[0], destination[0]);
            let sum = checksum::sum(ip.as_bytes());
            (
                template(wire.macs, Ethernet::IPV4, ip.as_bytes()),
                VXLAN_OVERHEAD_V4,
                sum,
            )
        }
        false => {
            let ip = outer_v6(source, destination);
            let sum = datagram_sum(source, destination);
            (
                template(wire.macs, Ethernet::IPV6, ip.as_bytes()),
                VXLAN_OVERHEAD_V6,
                sum,
            )
        }
    };
    let (words, end) = headers.split_at(48);
    Tunnel {
        headers: zerocopy::transmute!(<[u8; 48]>::try_from(words).expect("48 bytes")),
        headers_end: zerocopy::transmute!(<[u8; 6]>::try_from(end).expect("6 bytes")),
        mtu: wire.mtu.saturating_sub(overhead).min(u16::MAX.into()) as u16,
        port: wire.port,
        flags: match topology.udp_checksum {
            true => Tunnel::FLAG_UDP_CHECKSUM,
            false => 0,
        },
        checksum,
    }
}

/// An Ethernet header with an IP header behind it, filled up with zeroes.
fn template(macs: Macs, kind: u16, ip: &[u8]) -> [u8; 54] {
    let ethernet = Ethernet { macs, kind };
    let mut bytes = [0; 54];
    let (first, rest) = bytes.split_at_mut(Ethernet::LEN);
    first.copy_from_slice(ethernet.as_bytes());
    rest[..ip.len()].copy_from_slice(ip);
    bytes
}

/// What never changes in an outer IPv4 header. With don't-fragment set the ID may be 0
/// (RFC 6864, section 4.1).
const fn outer_v4(source: u32, destination: u32) -> Ipv4 {
    Ipv4 {
        version_ihl: Ipv4::VERSION_IHL,
        tos: 0,
        length: 0,
        id: 0,
        fragment: Ipv4::DONT_FRAGMENT,
        ttl: Vxlan::TTL,
        protocol: Ipv4::UDP,
        checksum: 0,
        source,
        destination,
    }
}

/// The same over IPv6.
fn outer_v6(source: Address, destination: Address) -> Ipv6 {
    Ipv6 {
        version_class_flow: (6_u32 << 28).to_be(),
        payload_length: 0,
        next_header: Ipv4::UDP,
        hop_limit: Vxlan::TTL,
        source: V6::address(&source),
        destination: V6::address(&destination),
    }
}

/// Sum of what never changes in an outer UDP datagram over IPv6, pseudo header included.
fn datagram_sum(source: Address, destination: Address) -> u16 {
    let pseudo = checksum::add(
        checksum::sum(source.as_bytes()),
        checksum::sum(destination.as_bytes()),
    );
    let rest = [u16::from(Ipv4::UDP).to_be(), Vxlan::PORT];
    let flags = checksum::halves(Vxlan::FLAGS);
    checksum::add(pseudo, checksum::sum([rest, flags].as_bytes()))
}

/// A next hop on the public side; port 0 when there is none.
fn uplink(
    hop: Option<&reachability::NextHop>,
    reach: &Reachability,
    ports: &BTreeMap<&str, u32>,
) -> NextHop {
    let wire = link(hop, reach, ports).unwrap_or_default();
    NextHop {
        macs: wire.macs,
        mtu: wire.mtu.min(u16::MAX.into()) as u16,
        vlan: wire.vlan,
        port: wire.port,
        ..NextHop::default()
    }
}
