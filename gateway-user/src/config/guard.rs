//! The guard as a topology has it: plain types, files read, defaults filled in.

use std::collections::BTreeMap;

use ipnet::IpNet;

/// What the public side lets in. The default lets everything in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// Lists for every public interface of every gateway.
    pub lists: Lists,
    /// Further lists for some interfaces.
    pub interfaces: Vec<InterfaceLists>,
    /// Sources that cannot come from outside.
    pub bogons: Bogons,
    /// TCP flags and ports that no connection has are dropped.
    pub malformed: bool,
    /// Limits of each source.
    pub source: Rates,
    /// Limits and challenges of services.
    pub services: BTreeMap<Guarded, ServiceGuard>,
    /// Seconds that a source is known for which answered a challenge.
    pub verified_for: u64,
}

/// Sources by prefix. The longest one that holds a source decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// Let in, whatever the limits.
    pub allow: Vec<IpNet>,
    /// Dropped.
    pub deny: Vec<IpNet>,
}

/// Lists for public interfaces of one gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceLists {
    /// Name of the gateway.
    pub gateway: String,
    /// One of its public interfaces; all of them if there is none.
    pub interface: Option<String>,
    /// The lists.
    pub lists: Lists,
}

/// Which sources are taken for impossible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bogons {
    /// None.
    #[default]
    None,
    /// Those that no machine can have, and our own public addresses.
    Martians,
    /// Private, shared and documentation ranges, too.
    Strict,
}

/// So many in so much time, at once or one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// At least one.
    pub count: u32,
    /// Seconds, at least one.
    pub seconds: u32,
}

/// Limits; what is absent has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Packets.
    pub packets: Option<Rate>,
    /// TCP segments with SYN and without ACK.
    pub new_flows: Option<Rate>,
}

/// What has a guard of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarded {
    /// Index into [`Topology::load_balancers`](super::Topology::load_balancers).
    LoadBalancer(usize),
    /// Index into [`Topology::floating_ips`](super::Topology::floating_ips).
    FloatingIp(usize),
}

/// The guard of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceGuard {
    /// Limits of all sources together.
    pub rates: Rates,
    /// When unknown sources are challenged.
    pub challenge: Option<Challenge>,
}

/// When unknown sources are challenged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// At any rate.
    Always,
    /// From one rate of SYNs on, until they are fewer than at another one.
    Above {
        /// Switches it on.
        above: Rate,
        /// Keeps it on.
        below: Rate,
    },
}
