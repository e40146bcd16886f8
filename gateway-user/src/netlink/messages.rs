//! Netlink messages into the plain types of [`picture`](super::picture), and what
//! a notification makes stale. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourMessage,
        NeighbourState as Nud,
    },
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteNextHopFlags,
        RouteType, RouteVia,
    },
};

use super::picture::{Hop, Link, Neighbour, NeighbourKey, Picture, Route, VlanOn, Wanted};
use crate::{config::Mac, reachability::NeighbourState};

/// Which parts of the picture may no longer be true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stale {
    /// Interfaces; their loss takes routes and neighbours with it.
    pub(super) links: bool,
    /// Routes.
    pub(super) routes: bool,
    /// Neighbours.
    pub(super) neighbours: bool,
}

impl Stale {
    /// Everything.
    pub(super) const ALL: Self = Self {
        links: true,
        routes: true,
        neighbours: true,
    };
    const ROUTES: Self = Self {
        links: false,
        routes: true,
        neighbours: false,
    };
    const NEIGHBOURS: Self = Self {
        links: false,
        routes: false,
        neighbours: true,
    };
    const NOTHING: Self = Self {
        links: false,
        routes: false,
        neighbours: false,
    };

    /// Anything at all.
    pub(super) fn any(self) -> bool {
        self != Self::NOTHING
    }
}

impl std::ops::BitOrAssign for Stale {
    fn bitor_assign(&mut self, other: Self) {
        self.links |= other.links;
        self.routes |= other.routes;
        self.neighbours |= other.neighbours;
    }
}

/// What a notification makes stale. Most make nothing stale: a node that carries
/// a full BGP table sees thousands of route changes a minute that are not its own.
pub(super) fn stale_after(
    message: &RouteNetlinkMessage,
    picture: &Picture,
    wanted: &Wanted,
) -> Stale {
    use RouteNetlinkMessage as Message;
    match message {
        // The kernel says nothing of the IPv4 routes that go with a link or an
        // address, so these two make everything stale.
        Message::NewLink(link) | Message::DelLink(link) => {
            let named = link_name(link).is_some_and(|name| wanted.has_interface(name));
            let known = picture.links.contains_key(&link.header.index);
            let on_known = vlan(link).is_some_and(|on| picture.links.contains_key(&on.parent));
            if named || known || on_known {
                Stale::ALL
            } else {
                Stale::NOTHING
            }
        }
        Message::NewAddress(address) | Message::DelAddress(address) => {
            let known = picture.links.contains_key(&address.header.index);
            if known { Stale::ALL } else { Stale::NOTHING }
        }
        Message::NewNeighbour(message) | Message::DelNeighbour(message) => {
            let needed = picture.needed(wanted);
            let ours = neighbour_key(message).is_some_and(|key| needed.contains(&key));
            if ours {
                Stale::NEIGHBOURS
            } else {
                Stale::NOTHING
            }
        }
        Message::NewRoute(route) | Message::DelRoute(route) => {
            let prefix = prefix(route);
            let reaches = |prefix: IpNet| wanted.endpoints.iter().any(|ip| prefix.contains(ip));
            let outward = prefix.is_some_and(|p| p.prefix_len() <= picture.outward_len(wanted))
                && table(route) == u32::from(RouteHeader::RT_TABLE_MAIN);
            if outward || prefix.is_some_and(reaches) {
                Stale::ROUTES
            } else {
                Stale::NOTHING
            }
        }
        // Policy rules. (Next-hop objects have no type here; see `events`.)
        _ => Stale::ROUTES,
    }
}

/// An interface: its index and the rest.
pub(super) fn link(message: &LinkMessage) -> Option<(u32, Link)> {
    let find = |pick: fn(&LinkAttribute) -> Option<Mac>| message.attributes.iter().find_map(pick);
    let mac = find(|attribute| match attribute {
        LinkAttribute::Address(bytes) => mac(bytes),
        _ => None,
    });
    let mtu = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        });
    let up = LinkFlags::Up | LinkFlags::LowerUp;
    let link = Link {
        name: link_name(message)?.to_owned(),
        mac: mac.unwrap_or_default(),
        mtu: mtu?,
        up: message.header.flags.contains(up),
        vlan: vlan(message),
    };
    Some((message.header.index, link))
}

/// Which VLAN on which interface a link is, if it is one.
fn vlan(message: &LinkMessage) -> Option<VlanOn> {
    let attributes = || message.attributes.iter();
    // The parent's index is one of another network namespace.
    if attributes().any(|attribute| matches!(attribute, LinkAttribute::LinkNetNsId(_))) {
        return None;
    }
    let parent = attributes().find_map(|attribute| match attribute {
        LinkAttribute::Link(parent) => Some(*parent),
        _ => None,
    })?;
    let infos = attributes().filter_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => Some(infos),
        _ => None,
    });
    let data = infos.flatten().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let id = data.iter().find_map(|attribute| match attribute {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })?;
    Some(VlanOn { parent, id })
}

fn link_name(message: &LinkMessage) -> Option<&str> {
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.as_str()),
            _ => None,
        })
}

/// An address that others can answer to, and the interface that has it. Not one that is
/// still being tested, was found to be somebody else's, or is on its way out.
pub(super) fn address(message: &AddressMessage) -> Option<(u32, IpAddr)> {
    let unfit = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    let find =
        |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let flags = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
    let fit = message.header.scope == AddressScope::Universe
        && flags.is_none_or(|flags| !flags.intersects(unfit));
    // On a point-to-point link `Address` is the other end.
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let address = local.or_else(|| {
        find(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    });
    fit.then_some((message.header.index, address?))
}

/// A neighbour entry.
pub(super) fn neighbour(message: &NeighbourMessage) -> Option<(NeighbourKey, Neighbour)> {
    let attributes = || message.attributes.iter();
    let state = match message.header.state {
        Nud::Reachable => NeighbourState::Reachable,
        Nud::Stale | Nud::Delay | Nud::Probe => NeighbourState::Stale,
        Nud::Permanent | Nud::Noarp => NeighbourState::Permanent,
        Nud::Failed => NeighbourState::Failed,
        _ => NeighbourState::Incomplete,
    };
    let valid = !matches!(state, NeighbourState::Failed | NeighbourState::Incomplete);
    let mac = attributes().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) if valid => mac(bytes),
        _ => None,
    });
    let managed = attributes().any(|attribute| match attribute {
        NeighbourAttribute::ExtFlags(flags) => flags.contains(NeighbourExtFlags::Managed),
        _ => false,
    });
    Some((
        neighbour_key(message)?,
        Neighbour {
            mac,
            state,
            managed,
        },
    ))
}

fn neighbour_key(message: &NeighbourMessage) -> Option<NeighbourKey> {
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(ip)) => Some(IpAddr::V4(*ip)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(ip)) => Some(IpAddr::V6(*ip)),
            _ => None,
        });
    Some((message.header.ifindex, address?))
}

/// A unicast route; nothing for the other kinds.
pub(super) fn route(message: &RouteMessage) -> Option<Route> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let metric = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        });
    Some(Route {
        v6: message.header.address_family == AddressFamily::Inet6,
        prefix_len: message.header.destination_prefix_length,
        metric: metric.unwrap_or(0),
        hops: hops(message),
    })
}

/// The ways that a route offers: one, or those of a multipath route.
pub(super) fn hops(message: &RouteMessage) -> Vec<Hop> {
    let several = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::MultiPath(hops) => Some(hops),
            _ => None,
        });
    if let Some(several) = several {
        let dead = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
        let hops = several.iter().map(|hop| Hop {
            ifindex: hop.interface_index,
            gateway: gateway(&hop.attributes),
            alive: !hop.flags.intersects(dead),
        });
        return hops.collect();
    }
    let ifindex = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
    let dead = RouteFlags::Dead | RouteFlags::Linkdown;
    let hop = ifindex.map(|ifindex| Hop {
        ifindex,
        gateway: gateway(&message.attributes),
        alive: !message.header.flags.intersects(dead),
    });
    hop.into_iter().collect()
}

/// The route names a next-hop object and the kernel does not spell it out.
pub(super) fn is_opaque(message: &RouteMessage) -> bool {
    let object = |attribute: &RouteAttribute| matches!(attribute, RouteAttribute::NhId(_));
    message.header.kind == RouteType::Unicast
        && message.attributes.iter().any(object)
        && hops(message).is_empty()
}

/// The table that a route lies in; numbers above 255 come as an attribute.
pub(super) fn table(message: &RouteMessage) -> u32 {
    let long = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Table(table) => Some(*table),
            _ => None,
        });
    long.unwrap_or(u32::from(message.header.table))
}

/// The prefix of an IP route. A default route has no destination attribute.
pub(super) fn prefix(message: &RouteMessage) -> Option<IpNet> {
    let destination = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(address) => Some(address),
            _ => None,
        });
    let address = match (destination, message.header.address_family) {
        (Some(RouteAddress::Inet(ip)), _) => IpAddr::V4(*ip),
        (Some(RouteAddress::Inet6(ip)), _) => IpAddr::V6(*ip),
        (None, AddressFamily::Inet) => IpAddr::V4([0; 4].into()),
        (None, AddressFamily::Inet6) => IpAddr::V6([0; 16].into()),
        _ => return None,
    };
    IpNet::new(address, message.header.destination_prefix_length).ok()
}

/// The router; an IPv4 route may well have an IPv6 one (RFC 8950).
fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(ip))
        | RouteAttribute::Via(RouteVia::Inet(ip)) => Some(IpAddr::V4(*ip)),
        RouteAttribute::Gateway(RouteAddress::Inet6(ip))
        | RouteAttribute::Via(RouteVia::Inet6(ip)) => Some(IpAddr::V6(*ip)),
        _ => None,
    })
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

#[cfg(test)]
mod tests;
