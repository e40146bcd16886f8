//! What no connection ever has: TCP flags (RFC 9293, section 3.10.7) and port 0 (RFC
//! 6335, section 6), which scanners' probes and floods have.

use gateway_common::Reason;

use super::{ACK, FIN, RST, SYN};
use crate::{family::Family, headers::Ipv4, stages::parse::Flow};

/// Refuses packets that neither end of a flow can have sent. A source port of 0 is good
/// in UDP, where it means that no answer is wanted (RFC 768).
#[inline(always)]
pub(super) fn check<F: Family>(flow: &Flow<F>) -> Result<(), Reason> {
    if !flow.has_l4() {
        return Ok(());
    }
    let to_zero = flow.destination_port() == 0;
    match flow.protocol {
        Ipv4::UDP if to_zero => Err(Reason::PortZero),
        Ipv4::TCP if to_zero || flow.source_port() == 0 => Err(Reason::PortZero),
        Ipv4::TCP => flags(flow.tcp_flags),
        _ => Ok(()),
    }
}

/// All segments of a connection but the first one and resets have ACK, and the first
/// one asks for nothing else.
#[inline(always)]
fn flags(flags: u8) -> Result<(), Reason> {
    if flags & SYN != 0 {
        return match flags & (FIN | RST) {
            0 => Ok(()),
            _ => Err(Reason::TcpSynFin),
        };
    }
    match flags & (FIN | RST | ACK) {
        0 => Err(Reason::TcpNull),
        FIN => Err(Reason::TcpXmas),
        _ => Ok(()),
    }
}
