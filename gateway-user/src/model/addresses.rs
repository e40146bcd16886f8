//! Addresses of both families as the tables hold them: IPv4 ones in the keys of services
//! and instances, IPv6 ones in a table of their own, which turns a public one into a
//! number and an inner one into an index.

use std::net::IpAddr;

use gateway_common::{Endpoint, EndpointKey, InstanceKey, Reference, WideSlot};

use super::{Course, ServiceId, Tables, address, word};
use crate::config::Mac;

/// Key of a service.
pub(super) fn service(course: &Course, id: &ServiceId) -> EndpointKey {
    let (protocol, port) = (id.protocol.number(), id.port.to_be());
    match id.vip {
        IpAddr::V4(v4) => EndpointKey::v4(word(v4), protocol, port),
        IpAddr::V6(v6) => EndpointKey::v6(course.public(&v6), protocol, port),
    }
}

/// Makes an address the gateway's own. A floating IP has precedence over what is
/// known of the address as a VIP.
pub(super) fn own(tables: &mut Tables, course: &Course, ip: IpAddr, endpoint: Endpoint) {
    let is_new = |held: Option<&u64>| held.is_none() || endpoint != Endpoint::address();
    match ip {
        IpAddr::V4(v4) => {
            let key = EndpointKey::address_v4(word(v4)).0;
            if is_new(tables.endpoints.get(&key)) {
                tables.endpoints.insert(key, endpoint.0);
            }
        }
        IpAddr::V6(v6) => {
            let key = (WideSlot::PUBLIC, address(ip));
            if is_new(tables.addresses.get(&key)) {
                let numbered = endpoint.numbered(course.public(&v6));
                tables.addresses.insert(key, numbered.0);
            }
        }
    }
}

/// Says who has an inner address; `vni` is the last word of the VXLAN header.
pub(super) fn add_inner(tables: &mut Tables, vni: u32, ip: IpAddr, who: Reference) {
    match ip {
        IpAddr::V4(v4) => {
            let key = InstanceKey::v4(vni, word(v4));
            tables.instance_keys.insert(key.0, who.0);
        }
        IpAddr::V6(_) => {
            tables.addresses.insert((vni, address(ip)), who.0);
        }
    }
}

/// Says which instance has a MAC, for neighbour discovery over IPv6.
pub(super) fn add_mac(tables: &mut Tables, vni: u32, mac: Mac, who: Reference) {
    let key = (WideSlot::link(vni), WideSlot::mac(mac.0));
    tables.addresses.insert(key, who.0);
}
