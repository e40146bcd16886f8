//! Egress NAT in a sound topology: pools of public addresses that instances share.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Shares that a port space is split into when the file does not say: room for as many
/// gateways without moving anybody's ports.
pub const DEFAULT_SHARES: u32 = 4;

/// The network in which gateways hand packets over when the file does not say: the
/// largest VNI there is.
pub const DEFAULT_HANDOVER_VNI: u32 = 0xff_ffff;

/// Egress NAT of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snat {
    /// Pools.
    pub pools: Vec<SnatPool>,
    /// Index into [`Topology::gateways`](super::Topology) by share, as many as there
    /// are shares, a power of two; none where no gateway hands out the share. Empty
    /// without pools.
    pub shares: Vec<Option<usize>>,
    /// VNI with which gateways hand packets over.
    pub handover_vni: u32,
}

impl Snat {
    /// The share of a gateway, by its index.
    pub fn share_of(&self, gateway: usize) -> Option<usize> {
        self.shares.iter().position(|owner| *owner == Some(gateway))
    }
}

/// Public addresses, and who shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnatPool {
    /// Name, unique.
    pub name: String,
    /// Who: indices into [`Topology::vpcs`](super::Topology), at least one.
    pub vpcs: Vec<usize>,
    /// The ranges of those whose instances share; all of them if empty.
    pub subnets: Vec<IpNet>,
    /// Public addresses, at least one.
    pub ips: Vec<Ipv4Addr>,
    /// Most public ports that one VPC may have on one gateway.
    pub quota: Option<u32>,
    /// How long unused mappings live.
    pub timeouts: SnatTimeouts,
    /// Who may answer.
    pub filtering: Filtering,
    /// Whether UDP from outside keeps mappings alive, too.
    pub refresh_inbound: bool,
}

/// How long unused mappings live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatTimeouts {
    /// UDP (RFC 4787, REQ-5).
    pub udp: u32,
    /// Echo (RFC 5508, REQ-2).
    pub icmp: u32,
    /// TCP once it is established (RFC 5382, REQ-5).
    pub tcp_established: u32,
    /// TCP before and after that (RFC 5382, REQ-5).
    pub tcp_transitory: u32,
    /// How long a freed port rests (RFC 6888, REQ-8).
    pub hold: u32,
}

impl SnatTimeouts {
    /// What the RFCs recommend, or ask for at least.
    pub const DEFAULT: Self = Self {
        udp: 300,
        icmp: 60,
        tcp_established: 7_440,
        tcp_transitory: 240,
        hold: 120,
    };
}

/// Whose packets a mapping lets in (RFC 4787, section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Everybody's.
    #[default]
    EndpointIndependent,
    /// Of addresses that the instance's port sent to.
    AddressDependent,
    /// Of addresses and ports that it sent to.
    AddressAndPortDependent,
}
