//! Deny and allow lists, bogons, our own addresses: the longest prefix that holds the
//! source decides.

use gateway_common::{GuardBits, Listed, PrefixKey};

use crate::{
    family::Family,
    headers::Ethernet,
    packet::{Packet, Tables},
};

/// What the lists say of a source.
///
/// A bit tells whether any prefix is near the source at all: looking into a trie of a
/// thousand prefixes costs as much as the rest of a packet's way.
#[inline(always)]
pub(super) fn find<F: Family, P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    source: F::Address,
) -> u32 {
    let is_v6 = F::KIND == Ethernet::IPV6;
    let address = F::words(source);
    let place = match is_v6 {
        true => 1 << 16 | address[0] >> 16,
        false => address[0] & 0xffff,
    };
    // Link-local and multicast sources are rare and fill all the bits: always looked up.
    let is_special = is_v6 && address[0] & 0xfe == 0xfe;
    let hint = tables.guard_hint(place / u64::BITS).unwrap_or(0);
    if !is_special && hint >> (place % u64::BITS) & 1 == 0 {
        return Listed::NOT;
    }
    let interface = match tables.guard() & GuardBits::BY_INTERFACE {
        0 => 0,
        _ => packet.ingress(),
    };
    let key = PrefixKey {
        length: PrefixKey::SCOPE_BITS + if is_v6 { 128 } else { 32 },
        scope: PrefixKey::scope(interface, is_v6),
        address,
    };
    tables.guard_prefix(&key).unwrap_or(Listed::NOT)
}
