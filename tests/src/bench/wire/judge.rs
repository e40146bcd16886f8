//! Looks at frames that came out: nobody is measured dropping, or doing less.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};

use crate::{
    cases::site::{
        ANYCAST, DNS, HOST_A, HOST_B, ROUTER_MAC, SHOP, SPINE_MAC, VIP, WEB_1, WEB_2, mac_of,
    },
    packet::{describe, wrong_checksums},
};

/// A service of the VIP at the fixtures' site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// As nftables and Open vSwitch call it.
    pub protocol: &'static str,
    pub port: u16,
    /// Hosts, and the backends there.
    pub backends: &'static [(Ipv4Addr, Ipv4Addr)],
    pub backend_port: u16,
}

/// tcp/443, two backends.
pub(super) const WEB: Service = Service {
    protocol: "tcp",
    port: 443,
    backends: &[(HOST_A, WEB_1), (HOST_B, WEB_2)],
    backend_port: 8_443,
};

/// tcp/443, as it is with one backend.
pub(super) const WEB_OF_ONE: Service = Service {
    backends: &[(HOST_A, WEB_1)],
    ..WEB
};

/// udp/53, one backend.
pub(super) const NAMES: Service = Service {
    protocol: "udp",
    port: 53,
    backends: &[(HOST_A, DNS)],
    backend_port: 5_353,
};

/// What should come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// What went in.
    Same,
    /// 50 bytes more.
    Longer,
    /// Forwarded: another MAC, one hop less.
    Forwarded,
    /// To a backend of the VIP, in its tunnel.
    Delivered,
}

/// Lengths of the headers.
const ETHERNET: usize = 14;
const TUNNEL: usize = 50;

impl Expected {
    /// Length of the shortest frame that may come out.
    pub(super) const fn shortest(self) -> u32 {
        match self {
            Self::Same | Self::Forwarded => 50,
            Self::Longer | Self::Delivered => 104,
        }
    }

    /// Complains about the first frame that is not as it should be.
    pub(super) fn judge(self, service: &Service, samples: &[Vec<u8>]) -> Result<()> {
        ensure!(!samples.is_empty(), "no frame came out");
        for frame in samples {
            if let Err(error) = self.judge_one(service, frame) {
                return Err(error.context(format!(
                    "a frame that came out is not {self:?}:\n{}",
                    describe(frame)
                )));
            }
        }
        Ok(())
    }

    fn judge_one(self, service: &Service, frame: &[u8]) -> Result<()> {
        match self {
            Self::Same => {
                ensure!(
                    to(frame, 0) == (VIP, service.port, 64),
                    "{:?}",
                    to(frame, 0)
                );
            }
            Self::Longer => {
                let inner = to(frame, TUNNEL);
                ensure!(inner == (VIP, service.port, 64), "{inner:?}");
            }
            Self::Forwarded => {
                ensure!(frame[..6] == SPINE_MAC, "it is for another MAC");
                ensure!(
                    to(frame, 0) == (VIP, service.port, 63),
                    "{:?}",
                    to(frame, 0)
                );
                checksums(frame)?;
            }
            Self::Delivered => {
                ensure!(frame[..6] == SPINE_MAC, "it is for another MAC");
                let (host, port, _) = to(frame, 0);
                ensure!(port == 4_789, "it is for UDP port {port}, not VXLAN");
                ensure!(
                    address(frame, 26) == ANYCAST,
                    "it is from {}, not {ANYCAST}",
                    address(frame, 26)
                );
                let vni = u32::from_be_bytes([0, frame[46], frame[47], frame[48]]);
                ensure!(vni == SHOP, "it is in VNI {vni}, not {SHOP}");
                let (backend, port, ttl) = to(frame, TUNNEL);
                ensure!(
                    service.backends.contains(&(host, backend)),
                    "{backend} is not at {host}"
                );
                ensure!(
                    (port, ttl) == (service.backend_port, 63),
                    "it is for port {port} with TTL {ttl}"
                );
                let macs = [mac_of(SHOP, backend), ROUTER_MAC].concat();
                ensure!(frame[TUNNEL..][..12] == macs, "the inner MACs are others");
                checksums(frame)?;
            }
        }
        Ok(())
    }
}

/// Destination, destination port and TTL of the IPv4 packet behind so many bytes.
fn to(frame: &[u8], skip: usize) -> (Ipv4Addr, u16, u8) {
    let ip = skip + ETHERNET;
    let port = u16::from_be_bytes([frame[ip + 22], frame[ip + 23]]);
    (address(frame, ip + 16), port, frame[ip + 8])
}

fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

fn checksums(frame: &[u8]) -> Result<()> {
    let wrong = wrong_checksums(frame);
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cases::site::{CLIENT, from_border, to_host},
        packet::Frame,
    };

    fn delivered(host: Ipv4Addr, port: u16) -> Frame {
        to_host(host, SHOP)
            .eth(ROUTER_MAC, mac_of(SHOP, WEB_1))
            .ipv4(CLIENT, WEB_1)
            .ttl(63)
            .tcp(40_000, port)
    }

    #[test]
    fn what_is_right_is_taken() {
        let frame = delivered(HOST_A, 8_443).bytes();
        Expected::Delivered.judge(&WEB, &[frame]).unwrap();
        let frame = from_border().ipv4(CLIENT, VIP).tcp(1, 443).bytes();
        Expected::Same.judge(&WEB, &[frame]).unwrap();
    }

    #[test]
    fn what_is_wrong_is_not() {
        let mut broken = delivered(HOST_A, 8_443).bytes();
        broken[90] ^= 1;
        for frame in [
            delivered(HOST_B, 8_443).bytes(),
            delivered(HOST_A, 443).bytes(),
            broken,
        ] {
            Expected::Delivered.judge(&WEB, &[frame]).unwrap_err();
        }
        Expected::Delivered.judge(&WEB, &[]).unwrap_err();
    }
}
