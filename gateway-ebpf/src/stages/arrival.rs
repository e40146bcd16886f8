//! Where a frame came in.

use gateway_common::{Interface, MAX_INTERFACES};

use crate::packet::Tables;

/// Our record of a device and a VLAN on it (0: none), if it is one of ours.
#[inline(always)]
pub fn interface<T: Tables>(tables: &T, ifindex: u32, vlan: u16) -> Option<&Interface> {
    let mut slot = 0;
    while slot < MAX_INTERFACES {
        let interface = tables.interface(slot)?;
        if interface.ifindex == ifindex && interface.vlan == vlan {
            return Some(interface);
        }
        slot += 1;
    }
    None
}
