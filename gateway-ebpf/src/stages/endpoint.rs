//! Which of our public addresses a packet is for, and what stands behind it.

use gateway_common::{Endpoint, EndpointKey, Reason};

use super::parse::Flow;
use crate::{
    IP, bucket,
    headers::Ipv4,
    packet::{Packet, Tables},
};

/// The endpoint of a flow: address, protocol and port first, then the address alone.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, flow: &Flow) -> Result<Endpoint, Reason> {
    if flow.ports != 0 {
        let key = EndpointKey::v4(flow.destination, flow.protocol, flow.destination_port());
        if let Some(endpoint) = get(tables, key) {
            return Ok(endpoint);
        }
    }
    get(tables, EndpointKey::address_v4(flow.destination)).ok_or(Reason::NotOurs)
}

/// What becomes of a packet that cannot be parsed for `reason`: the kernel's, if
/// its header still tells that it is not for us.
#[inline(always)]
pub fn refuse<P: Packet, T: Tables>(packet: &P, tables: &T, reason: Reason) -> Reason {
    let Some(ip) = packet.view::<Ipv4>(IP) else {
        return reason;
    };
    let says_for_whom = ip.version_ihl >= Ipv4::VERSION_IHL && ip.version_ihl < 0x50;
    if says_for_whom && get(tables, EndpointKey::address_v4(ip.destination)).is_none() {
        return Reason::NotOurs;
    }
    reason
}

/// Whether the packet is an echo request to the gateway itself. Everything else
/// for an address without a service ends here.
#[inline(always)]
pub fn is_for_us(endpoint: Endpoint, flow: &Flow) -> Result<bool, Reason> {
    if endpoint.kind() != Endpoint::ADDRESS {
        return Ok(false);
    }
    if flow.is_fragment() {
        return Err(Reason::Fragment);
    }
    if flow.protocol == Ipv4::ICMP {
        return Ok(true);
    }
    Err(Reason::NoService)
}

/// What the gateway owns at an address.
#[inline(always)]
pub fn get<T: Tables>(tables: &T, key: EndpointKey) -> Option<Endpoint> {
    bucket::find(key.0, |place| tables.endpoints(place)).map(Endpoint)
}
