//! The topology file as people write it. The comments here are what editors show.

pub(super) mod guard;

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    address::{Address, Prefix},
    choice::{Affinity, FilteringName, Refresh, Switch, Time},
    list::{List, OneOrMore},
    number::{
        Anything, ErrorRate, Flows, Mtu, Port, Quota, SegmentSize, Share, Shares, Version, Vlan,
        Vni, Weight,
    },
    problem::Problems,
    read::{At, Maybe, Must, Read, record},
    scalar::{Interface, Listen, MacAddress, Name, Scalar, Secret},
    tree::{Node, Value},
};

record! {
    /// A site: the gateways of a group, the hosts and networks behind them, and what
    /// of these the public network can reach.
    #[schemars(title = "Lingyun topology")]
    Document = "a topology", "version: 1" {
        /// Version of this format.
        #[expect(dead_code, reason = "reading it is the check")]
        version: Must<Version>,
        /// Tunnel endpoint (VTEP) that all gateways share. Hosts send everything
        /// there; every gateway announces it into the underlay. IPv4 or IPv6, as all
        /// others are.
        anycast_vtep: Must<Address>,
        /// MTU of the underlay in bytes, 1500 if left out. VXLAN takes 50 of them, 70
        /// over IPv6: 1550, or 1570, carries full-size packets.
        underlay_mtu: Maybe<Mtu>,
        /// Whether tunnels over IPv6 have a UDP checksum. If left out, they have 0,
        /// which RFC 6935 allows and which is faster.
        underlay_udp_checksum: Maybe<Switch>,
        /// Seed of the flow hash, 32 hexadecimal digits, the same on all gateways.
        /// Keeps outsiders from aiming flows at one backend. If left out, it is
        /// derived from anycast_vtep, which is no secret.
        secret: Maybe<Secret>,
        /// ICMP errors that each CPU of a gateway sends at most in a second, 1000 if left
        /// out. 0: none, and then neither path MTU discovery nor traceroute work.
        icmp_errors_per_second: Maybe<ErrorRate>,
        /// Largest TCP segment (MSS) that a SYN through a gateway may ask for over IPv4,
        /// over IPv6 20 bytes less. If left out, as much as fits into a packet of
        /// underlay_mtu through the tunnel. 0: SYNs stay as they are.
        tcp_mss: Maybe<SegmentSize>,
        /// Gateway nodes.
        gateways: Must<List<Gateway, 1>>,
        /// Hosts that VMs run on.
        hosts: Must<List<Host, 1>>,
        /// Tenant networks.
        vpcs: Must<List<Vpc, 1>>,
        /// VPCs that reach each other, in pairs.
        peerings: Maybe<List<Peering, 0>>,
        /// Load-balanced services.
        load_balancers: Maybe<List<LoadBalancer, 0>>,
        /// Public addresses that stand for one instance each, both ways (1:1 NAT).
        floating_ips: Maybe<List<FloatingIp, 0>>,
        /// How flows leave a backend that should not have them any more.
        drain: Maybe<Drain>,
        /// What the public side lets in. If left out: everything.
        guard: Maybe<guard::Guard>,
        /// Public addresses that instances without one share for what they send (egress
        /// NAT).
        snat: Maybe<List<SnatPool, 0>>,
        /// Shares that the ports of such addresses are split into, one a gateway: a power
        /// of two, 4 if left out. More than there are gateways leaves room for others;
        /// changing it breaks every connection through SNAT.
        snat_shares: Maybe<Shares>,
        /// VXLAN network identifier with which gateways hand packets over to each other,
        /// 16777215 if left out. No VPC may have it.
        handover_vni: Maybe<Vni>,
        /// Read by the lab alone; gateways ignore it.
        #[expect(dead_code, reason = "accepted here, read by the lab")]
        lab: Maybe<Anything>,
    }

    /// A gateway node.
    Gateway = "a gateway",
        "{ name: gw1, public: { interface: eth0 }, underlay: { interface: eth1, vtep: 10.0.0.11 } }"
    {
        /// Name, as in `lingyun run --node NAME`.
        name: Must<Name>,
        /// The side that faces the public network.
        public: Must<PublicSide>,
        /// The side that faces the hosts. Its interfaces may be the public ones.
        underlay: Must<UnderlaySide>,
        /// Which share of SNAT's ports it hands out, from 0. If left out: the first that
        /// is left, in the order of the file. Say it before you remove a gateway from
        /// the middle of the list.
        snat_share: Maybe<Share>,
    }

    /// Where a gateway meets the public network.
    PublicSide = "the public side", "{ interface: eth0 }" {
        /// Interface, or a list of them.
        interface: Must<OneOrMore<Interface>>,
        /// The public network's VLAN (802.1Q) on these interfaces, or a list of them.
        /// Only frames with these tags are the gateway's then. If left out: untagged.
        vlan: Maybe<OneOrMore<Vlan>>,
    }

    /// Where a gateway meets the underlay.
    UnderlaySide = "the underlay side", "{ interface: eth1, vtep: 10.0.0.11 }" {
        /// Interface, or a list of them.
        interface: Must<OneOrMore<Interface>>,
        /// This gateway's own tunnel endpoint.
        vtep: Must<Address>,
    }

    /// A host that VMs run on.
    Host = "a host", "{ name: host-a, vtep: 10.0.1.1 }" {
        /// Name.
        name: Must<Name>,
        /// Its tunnel endpoint.
        vtep: Must<Address>,
    }

    /// A tenant network. Addresses of different VPCs may be equal.
    Vpc = "a VPC", "{ name: shop, vni: 5001, subnets: [...], instances: [...] }" {
        /// Name.
        name: Must<Name>,
        /// VXLAN network identifier.
        vni: Must<Vni>,
        /// The VPC's address ranges, at most two of IPv4 and one of IPv6. What an
        /// instance sends there stays inside. If left out: of each family the smallest
        /// range that holds all subnets, of IPv6 at least a /64.
        cidrs: Maybe<List<Prefix, 1>>,
        /// MAC of the virtual router. If left out: 02:4c:59, then the VNI's three bytes.
        router_mac: Maybe<MacAddress>,
        /// Subnets, which may not overlap.
        subnets: Must<List<Subnet, 1>>,
        /// VMs.
        instances: Maybe<List<Instance, 0>>,
    }

    /// Two VPCs whose instances reach each other through the gateways. Not transitive.
    Peering = "a peering", "{ vpcs: [shop, office] }" {
        /// The names of both. Their ranges may not overlap.
        vpcs: Must<List<Name, 1>>,
    }

    /// A subnet of a VPC.
    Subnet = "a subnet", "{ name: zone-1, cidr: 172.16.1.0/24 }" {
        /// Name.
        name: Must<Name>,
        /// Address range.
        cidr: Must<Prefix>,
        /// Address of the virtual router. If left out: the first of the range that a
        /// machine can have.
        router: Maybe<Address>,
    }

    /// A VM.
    Instance = "an instance",
        "{ name: web-1, ip: 172.16.1.11, mac: \"02:aa:00:00:01:11\", host: host-a }"
    {
        /// Name, unique in its VPC.
        name: Must<Name>,
        /// Private address, in one of the VPC's subnets; or a list of two, one of IPv4
        /// and one of IPv6.
        ip: Must<OneOrMore<Address>>,
        /// MAC of its interface.
        mac: Must<MacAddress>,
        /// Name of the host it runs on.
        host: Must<Name>,
    }

    /// A service on a public address, spread over instances of one VPC.
    LoadBalancer = "a load balancer",
        "{ name: web, vip: 203.0.113.10, listen: tcp/443, vpc: shop, backends: [web-1] }"
    {
        /// Name.
        name: Must<Name>,
        /// Public address. Several services may share it. The backends need a private
        /// address of its family.
        vip: Must<Address>,
        /// Protocol and public port, as in `tcp/443` or `udp/53`.
        listen: Must<Listen>,
        /// Name of the VPC.
        vpc: Must<Name>,
        /// Instances that serve it: names, or mappings with `instance`, `port`, `weight`.
        backends: Must<List<Backend, 1>>,
        /// What decides which backend a flow gets: `flow`, each for itself, if left
        /// out; or `source_ip`, all flows of a client together.
        affinity: Maybe<Affinity>,
        /// Whether UDP flows stay with their backend when backends change, as TCP
        /// connections do. If left out, they go to the new one at once.
        udp_tracking: Maybe<Switch>,
        /// Its own limits and challenge.
        guard: Maybe<guard::ServiceGuard>,
    }

    /// How flows leave a backend that drains, was removed, or lost a part of its share.
    Drain = "`drain`", "{ idle: 15m, max: 1h }" {
        /// A flow that is silent for so long counts as ended, 15m if left out. Then it
        /// may go to another backend, which a TCP connection does not survive: longer
        /// than the pauses of your longest-lived connections, keepalives included.
        idle: Maybe<Time>,
        /// A backend that takes no new flows keeps its old ones at most for so long,
        /// 1h if left out.
        max: Maybe<Time>,
        /// Flows that began while backends changed and can be remembered at a time,
        /// 262144 if left out. Each takes about 100 bytes of the kernel's memory.
        flows: Maybe<Flows>,
    }

    /// A public address that stands for one instance, both ways.
    FloatingIp = "a floating IP", "{ ip: 203.0.113.20, vpc: shop, instance: web-1 }" {
        /// Public address. The instance needs a private one of its family.
        ip: Must<Address>,
        /// Name of the VPC.
        vpc: Must<Name>,
        /// Name of the instance.
        instance: Must<Name>,
        /// Its own limits and challenge.
        guard: Maybe<guard::ServiceGuard>,
    }

    /// Public addresses that instances share.
    SnatPool = "an SNAT pool", "{ name: out, vpc: shop, ips: [203.0.113.40] }" {
        /// Name.
        name: Must<Name>,
        /// Name of the VPC whose instances share the addresses, or a list of them.
        vpc: Must<OneOrMore<Name>>,
        /// Names of the subnets whose instances do. If left out: all of the VPC.
        subnets: Maybe<List<Name, 1>>,
        /// Public addresses. Each instance has one of them.
        ips: Must<List<Address, 1>>,
        /// Most public ports that each VPC may have on each gateway; no limit if left out.
        quota_ports: Maybe<Quota>,
        /// Who may send to a port that an instance sends from: endpoint_independent
        /// (anybody, if left out), address_dependent or address_and_port_dependent
        /// (only whom it has sent to). The latter two cost a hash lookup a packet.
        filtering: Maybe<FilteringName>,
        /// What keeps a UDP mapping alive: outbound packets (if left out), or both.
        refresh: Maybe<Refresh>,
        /// How long unused mappings live.
        timeouts: Maybe<SnatTimeouts>,
    }

    /// How long unused mappings live.
    SnatTimeouts = "timeouts", "{ udp: 5m, tcp_established: 3h }" {
        /// UDP, 5m if left out (RFC 4787: 2m or more).
        udp: Maybe<Time>,
        /// Echo, 60s if left out (RFC 5508: 60s or more).
        icmp: Maybe<Time>,
        /// Established TCP, 124m if left out (RFC 5382: 124m or more).
        tcp_established: Maybe<Time>,
        /// TCP that opens or closes, 4m if left out (RFC 5382: 4m or more).
        tcp_transitory: Maybe<Time>,
        /// How long a freed port rests before another instance gets it, 2m if left out
        /// (RFC 6888: 2m or more).
        hold: Maybe<Time>,
    }

    /// A backend with its own port or share.
    BackendKeys = "a backend", "{ instance: web-1, port: 8443, weight: 2 }" {
        /// Name of the instance.
        instance: Must<Name>,
        /// Port of the instance. If left out: the public port.
        port: Maybe<Port>,
        /// Share of the flows relative to the other backends, 1 if left out; 0 drains.
        weight: Maybe<Weight>,
    }
}

/// A backend: the name of an instance, or a mapping.
#[derive(Debug)]
pub(super) struct Backend(pub(super) BackendKeys);

impl Read for Backend {
    const KEYS: &'static [&'static str] = BackendKeys::KEYS;

    fn example() -> String {
        "web-1".into()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        match node.value {
            Value::Text(_) => {
                let At { value, at } = At::read(node, key, problems)?;
                let instance = Must::there(value, at);
                Some(Self(BackendKeys {
                    instance,
                    port: None,
                    weight: None,
                }))
            }
            _ => Some(Self(BackendKeys::read(node, key, problems)?)),
        }
    }
}

impl JsonSchema for Backend {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Backend".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "anyOf": [Name::schema(), generator.subschema_for::<BackendKeys>()],
        })
    }
}
