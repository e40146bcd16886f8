//! IPv6 end to end: the agent, the kernel as client and as router, and Linux's own
//! VXLAN as the host behind an IPv6 underlay.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
};

use crate::{
    agent_site::{Agent, Site},
    can_run,
    netlink_lab::{Lab, in_namespace},
};

const VIP: &str = "2001:db8:1::10";
const FLOATING: &str = "2001:db8:1::20";

/// The instance's MAC, and its virtual router's.
const MAC: &str = "02:aa:00:00:01:11";

fn topology(checksum: bool) -> String {
    format!(
        r#"version: 1
anycast_vtep: "fd00:ee::100"
underlay_mtu: 1600
underlay_udp_checksum: {checksum}
gateways:
  - {{ name: gw1, public: {{ interface: eth0 }}, underlay: {{ interface: eth1, vtep: "fd00:ee::11" }} }}
hosts:
  - {{ name: host-a, vtep: "fd00:ee:1::1" }}
vpcs:
  - name: shop
    vni: 5001
    subnets: [{{ name: zone-1, cidr: "fd00:1::/64" }}]
    instances:
      - {{ name: web-1, ip: "fd00:1::11", mac: "{MAC}", host: host-a }}
load_balancers:
  - {{ name: web, vip: "{VIP}", listen: udp/5353, vpc: shop, backends: [web-1] }}
floating_ips:
  - {{ ip: "{FLOATING}", vpc: shop, instance: web-1 }}
"#
    )
}

/// A namespace that is a host: tunnel endpoint and instance in one.
struct Host(Child);

impl Host {
    fn new() -> Self {
        let mut host = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare from util-linux");
        let ready = host.stdout.as_mut().expect("piped").read_exact(&mut [0]);
        ready.expect("the namespace is there once it speaks");
        Self(host)
    }

    fn command(&self, program: &str) -> Command {
        let target = self.0.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--net", program]);
        command
    }

    fn ip(&self, arguments: &str) {
        succeeds(self.command("ip").args(arguments.split(' ')));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("the host ends with its pipe");
    }
}

fn succeeds(command: &mut Command) {
    let output = command.output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// Whole checksums on what a device sends: XDP changes them by differences.
fn with_checksums(mut ethtool: Command, device: &str) {
    succeeds(ethtool.args(["-K", device, "tx", "off"]));
}

/// The node, its client on one side, its host on the other.
fn site(lab: &Lab, checksum: bool) -> Host {
    lab.ip("link set lo up");
    lab.link("eth0", "192.0.2.10/30", "192.0.2.9/30");
    lab.ip("address add 2001:db8:9::2/64 dev eth0 nodad");
    lab.peer_ip("address add 2001:db8:9::1/64 dev eth0 nodad");
    with_checksums(lab.peer.command("ethtool"), "eth0");
    // On the link, so that the client asks for the neighbour itself.
    lab.peer_ip("-6 route add 2001:db8:1::/64 dev eth0");

    let host = Host::new();
    let pid = host.0.id();
    lab.ip(&format!(
        "link add eth1 mtu 1600 type veth peer name eth1 netns {pid}"
    ));
    lab.ip("address add fd00:eb::2/64 dev eth1 nodad");
    lab.ip("link set eth1 up");
    host.ip("link set lo up");
    host.ip("link set eth1 mtu 1600 up");
    with_checksums(host.command("ethtool"), "eth1");
    host.ip("address add fd00:eb::1/64 dev eth1 nodad");
    host.ip("address add fd00:ee:1::1/128 dev lo nodad");
    host.ip("-6 route add fd00:ee::/64 via fd00:eb::2");
    // With checksums, those of 0 are refused: Linux judges what the gateway sends.
    let zero = if checksum {
        "noudp6zerocsumrx noudp6zerocsumtx"
    } else {
        "udp6zerocsumrx udp6zerocsumtx"
    };
    host.ip(&format!(
        "link add vm address {MAC} type vxlan id 5001 dstport 4789 local fd00:ee:1::1 \
         remote fd00:ee::100 {zero}"
    ));
    with_checksums(host.command("ethtool"), "vm");
    host.ip("link set vm mtu 1500 up");
    host.ip("address add fd00:1::11/64 dev vm nodad");
    host.ip("-6 route add 2001:db8::/32 via fd00:1::1");
    host
}

fn ping(lab: &Lab, agent: &Agent, address: &str, size: &str) {
    let mut ping = lab.peer.command("ping");
    ping.args(["-6", "-c", "3", "-i", "0.2", "-W", "2", "-s", size, address]);
    let output = ping.output().expect("ping");
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    let reasons = agent.status().reasons;
    let counted: Vec<_> = reasons.iter().filter(|count| count.packets > 0).collect();
    assert!(
        said.contains(" 0% packet loss"),
        "{address}, {size} bytes: {said}{}{counted:#?}",
        lab.peer_ip("-6 neighbor show"),
    );
}

fn reaches_everybody(lab: &Lab, checksum: bool) {
    let mut site = Site::new(if checksum { "ipv6-sums" } else { "ipv6" });
    let _host = self::site(lab, checksum);
    site.write_topology(&topology(checksum));
    // A veth delivers what native XDP answers only if the other end has a program, too.
    let agent: Agent = site.start(&["--xdp-mode", "generic"]);
    lab.ip("-6 route add default via 2001:db8:9::1");
    lab.ip("-6 route add fd00:ee:1::/64 via fd00:eb::1");
    agent.says("ready: announcing 3 addresses");
    crate::until("announced", || {
        // Until its first route is there, nobody can ask for that table alone.
        let routes = lab.ip("-6 route show table all");
        let is_announced = |address| {
            let mut routes = routes.lines();
            routes.any(|route| route.contains(address) && route.contains("table 100"))
        };
        [VIP, FLOATING].into_iter().all(is_announced)
    });

    // The gateway answers for the neighbour, and by itself.
    ping(lab, &agent, VIP, "56");
    let neighbour = lab.peer_ip(&format!("neighbor show {VIP}"));
    assert!(neighbour.contains("lladdr"), "{neighbour}");
    // Through the tunnel and back; the instance has found its router.
    for size in ["0", "1", "56", "1400"] {
        ping(lab, &agent, FLOATING, size);
    }

    let status = agent.status();
    let count = |reason: &str| {
        let mut counts = status.reasons.iter();
        counts
            .find(|count| count.reason == reason)
            .map_or(0, |count| count.packets)
    };
    assert!(count("neighbour_reply") > 0 && count("inner_neighbour_reply") > 0);
    assert_eq!(count("echo_reply"), 3);
    let floating = &status.floating_ips[0].traffic;
    assert!(floating.in_packets >= 12 && floating.out_packets >= 12);
}

#[test]
fn ipv6_reaches_an_instance_through_an_ipv6_underlay() {
    let name = "ipv6_reaches_an_instance_through_an_ipv6_underlay";
    if can_run(name) {
        in_namespace(name, async |lab: &Lab| reaches_everybody(lab, false));
    }
}

#[test]
fn linux_accepts_the_udp_checksums_of_an_ipv6_underlay() {
    let name = "linux_accepts_the_udp_checksums_of_an_ipv6_underlay";
    if can_run(name) {
        in_namespace(name, async |lab: &Lab| reaches_everybody(lab, true));
    }
}
