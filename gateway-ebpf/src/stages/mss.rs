//! The longest TCP segment that an end may send: lowered in SYNs to what fits through the
//! tunnel, in both directions. So TCP gets along where ICMP is filtered, and need not find
//! the path's MTU by losing packets.

use gateway_common::Reason;

use super::parse::Flow;
use crate::{
    checksum,
    family::Family,
    headers::{Mss, Tcp},
    packet::{Packet, Tables},
};

/// Lowers the segment size in the TCP SYN at `at`, where it is the first option, as in the
/// SYNs of every common system. Elsewhere it stays as it is.
#[inline(always)]
pub fn lower<F: Family, P: Packet, T: Tables>(
    packet: &mut P,
    at: usize,
    tables: &T,
    flow: &Flow<F>,
) -> Result<(), Reason> {
    // Other protocols have no flags, nor have later fragments.
    if flow.tcp_flags & Tcp::SYN == 0 || tables.mss() == 0 {
        return Ok(());
    }
    let l4 = at + flow.l4();
    let header = packet.need::<Tcp>(l4)?.length();
    if header < Tcp::LEN + Mss::LEN || flow.l4() + header > flow.length as usize {
        return Ok(());
    }
    // The setting is for IPv4, whose header is 20 bytes shorter.
    let most = tables.mss().saturating_sub(F::LEN as u32 - 20) as u16;
    let option = packet.need_mut::<Mss>(l4 + Tcp::LEN)?;
    let (old, new) = (option.size, most.to_be());
    if !option.is_one() || u16::from_be(old) <= most {
        return Ok(());
    }
    option.size = new;
    let tcp = packet.need_mut::<Tcp>(l4)?;
    tcp.checksum = checksum::update(tcp.checksum, checksum::delta(&[old], &[new]));
    Ok(())
}
