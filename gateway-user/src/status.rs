//! What the agent tells about itself: the JSON of `GET /status` and of
//! `lingyun status --json`, and the source of all metrics. See docs/agent.md.
//!
//! [`Status`] is built from what the agent knows at one moment; that is pure.

mod moment;
mod snat;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use moment::{Moment, interface_names, role};
pub use snat::{SnatAddress, SnatPool, SnatPorts, SnatTenant};

use crate::{
    config::{Mac, Protocol},
    datapath::{Mode, Role},
    model::Condition,
    reachability::NextHop,
};

/// Version of this format. It rises when a field changes its meaning or goes;
/// readers must accept fields that they do not know.
pub const FORMAT: u32 = 1;

/// A gateway node at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the node.
    pub node: String,
    /// Version of the agent.
    pub version: String,
    /// Version of the layout that agent and program share.
    pub abi: u32,
    /// Seconds since the agent took over the node.
    pub uptime_seconds: f64,
    /// The node can carry traffic and says so to the network.
    pub ready: bool,
    /// Why it is not ready, one sentence each.
    pub not_ready: Vec<String>,
    /// Load-balanced services, in the order of the topology.
    pub load_balancers: Vec<LoadBalancer>,
    /// Floating IPs, in the order of the topology.
    pub floating_ips: Vec<FloatingIp>,
    /// VPCs, in the order of the topology. (Agents before ABI 3 do not tell.)
    #[serde(default)]
    pub vpcs: Vec<Vpc>,
    /// SNAT pools, in the order of the topology.
    #[serde(default)]
    pub snat: Vec<SnatPool>,
    /// The node's interfaces, in the order of the topology.
    pub interfaces: Vec<Interface>,
    /// Next hops to the public network.
    pub uplinks: Vec<NextHop>,
    /// Tunnel endpoints: the hosts, then the other gateways.
    pub tunnels: Vec<Tunnel>,
    /// Addresses that the node's router announces, see [`Announced::table`].
    pub announced: Vec<Announced>,
    /// Every exit of the program that is not "forwarded", those that never
    /// happened included.
    pub reasons: Vec<ReasonStatus>,
    /// How the agent keeps the tables true.
    pub updates: Updates,
    /// How the agent follows the topology file.
    #[serde(default)]
    pub reload: Reload,
    /// Flows that are looked up, while backends change.
    #[serde(default)]
    pub tracking: Tracking,
}

/// A load-balanced service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Name.
    pub name: String,
    /// Public address.
    pub vip: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Public port.
    pub port: u16,
    /// Slots of its ring whose flows are looked up, after its backends changed.
    #[serde(default)]
    pub tracked_slots: usize,
    /// Sum over the backends.
    pub traffic: Traffic,
    /// Its challenge, if the topology asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// In the order of the topology.
    pub backends: Vec<Backend>,
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// VPC.
    pub vpc: String,
    /// Instance.
    pub instance: String,
    /// Private address.
    pub address: IpAddr,
    /// Private port.
    pub port: u16,
    /// Weight in the topology.
    pub weight: u16,
    /// Part of new flows that the ring gives it, 0 to 1.
    pub share: f64,
    /// What it does.
    #[serde(default)]
    pub condition: Condition,
    /// What it carried.
    pub traffic: Traffic,
}

/// A floating IP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// Public address.
    pub ip: IpAddr,
    /// VPC.
    pub vpc: String,
    /// Instance.
    pub instance: String,
    /// Private address.
    pub address: IpAddr,
    /// Its challenge, if the topology asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenge: Option<Challenge>,
    /// What it carried.
    pub traffic: Traffic,
}

/// A VPC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Vpc {
    /// Name.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: u32,
    /// VPCs that it is peered with.
    pub peers: Vec<String>,
    /// What was routed between instances: `in` to the VPC's, `out` from them.
    pub routed: Traffic,
}

/// The challenge of a guarded service.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Challenge {
    /// Unknown sources are challenged now.
    pub on: bool,
    /// Seconds since it was switched on; absent while it is off, or if it is always on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_for_seconds: Option<f64>,
}

/// Packets and bytes since the agent loaded the program. Bytes count from the
/// Ethernet header on, without the tunnel's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from the public network to instances.
    pub in_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Packets from instances to the public network.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

/// An interface of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// What it faces.
    pub role: Role,
    /// Where the program runs on it; absent while it is not attached.
    pub mode: Option<Mode>,
    /// The kernel has it, and it is up with carrier.
    pub up: bool,
    /// MAC; absent when the kernel has no such interface.
    pub mac: Option<Mac>,
    /// MTU in bytes; absent likewise.
    pub mtu: Option<u32>,
}

/// A tunnel endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Host or gateway.
    pub name: String,
    /// Its VTEP.
    pub vtep: IpAddr,
    /// Next hops on the way there; none when there is no route.
    pub next_hops: Vec<NextHop>,
}

/// An announced address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Address, as a /32 or /128.
    pub address: IpAddr,
    /// Routing table from which the router daemon learns it.
    pub table: u32,
}

/// How often one reason ended a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonStatus {
    /// Name of the reason.
    pub reason: String,
    /// `passed` to the kernel, `answered` by the program, or `dropped`.
    pub outcome: String,
    /// One sentence.
    pub text: String,
    /// Packets.
    pub packets: u64,
    /// Their bytes as they came in.
    pub bytes: u64,
}

/// How the agent keeps the tables true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Updates {
    /// Times that a change of the surroundings was worked into the tables.
    pub count: u64,
    /// Times that the kernel refused a part of it.
    pub failures: u64,
    /// Table entries written.
    pub writes: u64,
    /// Seconds that all of it took.
    pub seconds: f64,
    /// Seconds that the last one took.
    pub last_seconds: f64,
    /// Times that the maps were read back and did not hold what they should.
    #[serde(default)]
    pub mismatches: u64,
    /// Times that a second, complete data path was loaded, since a table was too small.
    #[serde(default)]
    pub loads: u64,
    /// Seconds that computing the tables took when the agent started.
    #[serde(default)]
    pub start_model_seconds: f64,
    /// Seconds that loading the program with these tables took then.
    #[serde(default)]
    pub start_load_seconds: f64,
}

/// How the agent follows the topology file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reload {
    /// Whether the last change of the file was taken over. True when there was none.
    pub ok: bool,
    /// When that was, in seconds since 1970; 0 when there was none.
    pub at: f64,
    /// What came of it, or what is wrong with the file.
    pub message: String,
    /// Times that a changed file was taken over.
    pub count: u64,
    /// Times that one was refused.
    pub failures: u64,
}

/// Flows that are looked up, while backends change. In the steady state none is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracking {
    /// First packets that were remembered (TCP SYN).
    pub begun: u64,
    /// Flows that were remembered for longer.
    pub remembered: u64,
    /// Packets that went to another backend than a new flow's would have.
    pub kept: u64,
}

#[cfg(test)]
pub(crate) mod tests;
