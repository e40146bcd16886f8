//! Next hops: tunnels to hosts, uplinks to the public network, devices.

use std::{collections::BTreeMap, net::IpAddr};

use gateway_common::{Interface, Macs, NextHop, Tunnel, UPLINK_SLOTS, VXLAN_OVERHEAD_V4, macs};
use gateway_ebpf::{
    checksum,
    headers::{Ethernet, Ipv4, Vxlan},
};
use zerocopy::IntoBytes;

use super::{Indices, Tables, address, v4};
use crate::{
    config::{Gateway, Mac, Topology},
    reachability::{self, Reachability},
};

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
    tables.interfaces = gateway
        .public
        .iter()
        .filter_map(|name| reach.interfaces.get(name))
        .map(|interface| Interface {
            ifindex: interface.ifindex,
            mac: interface.mac.0,
            v4: interface.v4.map_or([0; 4], |ip| address(ip.into())),
            v6: interface.v6.map_or([0; 4], |ip| address(ip.into())),
            ..Interface::default()
        })
        .collect();
    for (index, host) in topology.hosts.iter().enumerate() {
        let hop = pick(
            reach.tunnels.get(&host.vtep).map_or(&[][..], |hops| hops),
            index,
        );
        let tunnel = tunnel(topology.anycast_vtep, host.vtep, hop, reach, &ports);
        let place = indices.get(&host.vtep).expect("every host has an index");
        tables.tunnels[place as usize] = tunnel;
    }
    for slot in 0..UPLINK_SLOTS as usize {
        tables.uplinks[slot] = uplink(pick(&reach.uplinks, slot), reach, &ports);
    }
}

/// One of the usable next hops, spread by index.
fn pick(hops: &[reachability::NextHop], index: usize) -> Option<&reachability::NextHop> {
    let usable: Vec<_> = hops.iter().filter(|hop| hop.is_usable()).collect();
    (!usable.is_empty()).then(|| usable[index % usable.len()])
}

/// What a usable next hop means on the wire: MACs, MTU, port.
fn link(
    hop: Option<&reachability::NextHop>,
    reach: &Reachability,
    ports: &BTreeMap<&str, u32>,
) -> Option<(Macs, u32, u32)> {
    let hop = hop?;
    let Mac(to) = hop.mac?;
    let interface = reach.interfaces.get(&hop.interface)?;
    let &port = ports.get(hop.interface.as_str())?;
    if !interface.up {
        return None;
    }
    Some((macs(to, interface.mac.0), interface.mtu, port))
}

/// The outer headers towards a VTEP; port 0 when there is no way.
fn tunnel(
    from: IpAddr,
    to: IpAddr,
    hop: Option<&reachability::NextHop>,
    reach: &Reachability,
    ports: &BTreeMap<&str, u32>,
) -> Tunnel {
    let (macs, mtu, port) = link(hop, reach, ports).unwrap_or_default();
    let template = Ipv4 {
        version_ihl: Ipv4::VERSION_IHL,
        tos: 0,
        length: 0,
        id: 0,
        fragment: Ipv4::DONT_FRAGMENT,
        ttl: Vxlan::TTL,
        protocol: Ipv4::UDP,
        checksum: 0,
        source: super::word(v4(from)),
        destination: super::word(v4(to)),
    };
    Tunnel {
        macs,
        kind: Ethernet::IPV4,
        mtu: mtu.saturating_sub(VXLAN_OVERHEAD_V4).min(u16::MAX.into()) as u16,
        source: address(from),
        destination: address(to),
        checksum: checksum::sum(template.as_bytes()),
        port,
        ..Tunnel::default()
    }
}

/// A next hop on the public side; port 0 when there is none.
fn uplink(
    hop: Option<&reachability::NextHop>,
    reach: &Reachability,
    ports: &BTreeMap<&str, u32>,
) -> NextHop {
    let (macs, mtu, port) = link(hop, reach, ports).unwrap_or_default();
    NextHop {
        macs,
        mtu: mtu.min(u16::MAX.into()) as u16,
        port,
        ..NextHop::default()
    }
}
