//! Which of our public addresses a packet is for, and what stands behind it.

use gateway_common::{Endpoint, EndpointKey, Reason};

use super::parse::Flow;
use crate::{bucket, headers::Ipv4, packet::Tables};

/// The endpoint of a flow: address, protocol and port first, then the address alone.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, flow: &Flow) -> Result<Endpoint, Reason> {
    if flow.ports != 0 {
        let key = EndpointKey::v4(flow.destination, flow.protocol, flow.destination_port());
        if let Some(endpoint) = get(tables, key) {
            return Ok(endpoint);
        }
    }
    let endpoint = get(tables, EndpointKey::address_v4(flow.destination)).ok_or(Reason::NotOurs)?;
    if flow.options {
        return Err(Reason::IpOptions);
    }
    Ok(endpoint)
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
