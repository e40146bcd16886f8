//! IPv6 beside IPv4, on an underlay of IPv4 and on one of IPv6: the same tests, since the
//! public addresses of both topologies are the same.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context, Result, ensure};
use gateway_tests::{
    capture::{Capture, Point, State},
    lab::Lab,
};

use crate::{
    failover,
    file::{GATEWAYS, TopologyFile},
    site::{
        FLOATING, PHONE, Test, VIP, a_mebibyte_arrives, ended, get, pings, printed, retry, says,
        udp_servers,
    },
};

/// On an underlay of IPv4.
pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "ipv6_backends_are_reached_through_both_gateways",
        backends_are_reached_through_both_gateways,
    ),
    ("ipv6_udp_is_answered_from_the_vip", udp_is_answered),
    ("ipv6_ping_is_answered_up_to_full_size", ping_is_answered),
    ("ipv6_neighbours_are_answered", neighbours_are_answered),
    (
        "ipv6_private_addresses_never_leave",
        private_addresses_never_leave,
    ),
    ("ipv6_traceroute_shows_the_gateway", traceroute_shows),
    (
        "ipv6_senders_are_told_what_does_not_fit",
        senders_are_told_what_does_not_fit,
    ),
    ("an_ipv6_vip_comes_and_goes", a_vip_comes_and_goes),
    (
        "every_packet_with_ipv6_inside_is_sound",
        every_packet_is_sound,
    ),
    (
        "a_gateway_dies_and_no_ipv6_connection_breaks",
        a_gateway_dies,
    ),
];

/// On an underlay of IPv6: what depends on it.
pub(crate) const OVER_IPV6: &[(&str, Test)] = &[
    (
        "over_ipv6_backends_are_reached_through_both_gateways",
        backends_are_reached_through_both_gateways,
    ),
    (
        "over_ipv6_ping_is_answered_up_to_full_size",
        ping_is_answered,
    ),
    (
        "over_ipv6_senders_are_told_what_does_not_fit",
        senders_are_told_what_does_not_fit,
    ),
    ("over_ipv6_every_packet_is_sound", every_packet_is_sound),
    (
        "over_ipv6_a_gateway_dies_and_no_connection_breaks",
        a_gateway_dies,
    ),
];

/// The VIP of topologies/dual-stack.yaml and ipv6-underlay.yaml.
const VIP6: &str = "2001:db8:10::10";
/// Floating IP of the bastion.
const FLOATING6: &str = "2001:db8:10::20";
/// A VIP that is not there yet.
const LATE: &str = "2001:db8:10::40";
const PHONE6: &str = "2001:db8:51::10";
/// The service on port 80 of the VIP.
const SERVER6: &str = "[2001:db8:10::10]:80";

fn backends_are_reached_through_both_gateways(lab: &Lab) -> Result<()> {
    for (server, client) in [(SERVER6, PHONE6), (VIP, PHONE)] {
        let mut servers = BTreeSet::new();
        for _ in 0..16 {
            let answer = get(lab, "phone", &format!("http://{server}/name"))?;
            ensure!(answer.contains(client), "{server} sees {answer}");
            let answer: serde_json::Value = serde_json::from_str(&answer)?;
            servers.insert(answer["name"].as_str().unwrap_or_default().to_owned());
        }
        let both = ["web-1".to_owned(), "web-2".to_owned()].into();
        ensure!(servers == both, "{server}: only {servers:?} answer");
    }
    for gateway in GATEWAYS {
        let status = lab.gateway_status(gateway)?;
        for name in ["web", "web-v6"] {
            let mut services = status.load_balancers.iter();
            let service = services.find(|service| service.name == name);
            let service = service.with_context(|| format!("{gateway} has no {name}"))?;
            let packets = (service.traffic.in_packets, service.traffic.out_packets);
            ensure!(
                packets.0 > 0 && packets.1 > 0,
                "{gateway} carried {packets:?} packets of {name}"
            );
            let backends = service.backends.iter().map(|backend| backend.address);
            let stray = { backends }.find(|ip| ip.is_ipv4() != service.vip.is_ipv4());
            ensure!(stray.is_none(), "{name} shows a backend at {stray:?}");
        }
    }
    Ok(())
}

fn udp_is_answered(lab: &Lab) -> Result<()> {
    let servers = udp_servers(lab, VIP6)?;
    let both = ["web-1".to_owned(), "web-2".to_owned()].into();
    ensure!(servers == both, "only {servers:?} answer");
    Ok(())
}

fn ping_is_answered(lab: &Lab) -> Result<()> {
    let before = ended(lab, "echo_reply")?;
    pings(lab, "phone", VIP6, &[])?;
    let answered = ended(lab, "echo_reply")? - before;
    ensure!(answered == 5, "the gateways answered {answered} of 5");
    // 1452 bytes of data, 8 of ICMP, 40 of IP: the MTU of phone and VM.
    for (node, address) in [("phone", FLOATING6), ("shop/bastion", PHONE6)] {
        for size in ["0", "1", "1452"] {
            pings(lab, node, address, &["-M", "do", "-s", size])?;
        }
    }
    Ok(())
}

/// Linux as the neighbour, on the public side and inside.
fn neighbours_are_answered(lab: &Lab) -> Result<()> {
    let mac_of = |node: &str, interface: &str| {
        let mut devices = lab.devices().iter();
        let device =
            devices.find(|device| (&*device.node, &*device.interface) == (node, interface));
        Ok::<_, anyhow::Error>(device.context("the device is there")?.mac.to_string())
    };
    for gateway in GATEWAYS {
        // As if the address were on the link: the border asks for it itself.
        let route = format!("{VIP6}/128 dev {gateway} metric 1");
        let route: Vec<_> = route.split(' ').collect();
        says(
            lab,
            "border",
            &[&["ip", "-6", "route", "add"], &route[..]].concat(),
        )?;
        let before = ended(lab, "neighbour_reply")?;
        let result = pings(lab, "border", VIP6, &[]);
        let known = says(
            lab,
            "border",
            &["ip", "neigh", "show", VIP6, "dev", gateway],
        )?;
        says(
            lab,
            "border",
            &[&["ip", "-6", "route", "del"], &route[..]].concat(),
        )?;
        result?;
        let mac = mac_of(gateway, "public")?;
        ensure!(known.contains(&mac), "{VIP6} is at {known}, not at {mac}");
        ensure!(ended(lab, "neighbour_reply")? > before, "nobody counted it");
    }
    let topology = &lab.site().topology;
    let (shop, router) = (&topology.vpcs[0], "fd00:1::1");
    says(
        lab,
        "shop/bastion",
        &["ip", "neigh", "flush", "dev", "eth0"],
    )?;
    let before = ended(lab, "inner_neighbour_reply")?;
    pings(lab, "shop/bastion", router, &[])?;
    let known = says(lab, "shop/bastion", &["ip", "neigh", "show", router])?;
    let mac = shop.router_mac.to_string();
    ensure!(
        known.contains(&mac) && known.contains(" router "),
        "the router is known as {known}"
    );
    ensure!(
        ended(lab, "inner_neighbour_reply")? > before,
        "nobody counted it"
    );
    Ok(())
}

fn private_addresses_never_leave(lab: &Lab) -> Result<()> {
    let before = ended(lab, "no_reverse")?;
    let ping = ["ping", "-n", "-c5", "-i0.05", "-W0.3", PHONE6];
    let ping = lab.exec("other/web-1", &ping)?;
    ensure!(!ping.status.success(), "who answers? {}", printed(&ping));
    let dropped = ended(lab, "no_reverse")? - before;
    ensure!(dropped == 5, "{dropped} of 5 packets ended as no_reverse");
    Ok(())
}

fn traceroute_shows(lab: &Lab) -> Result<()> {
    // One after the other: a hop that answers late is no hop that is missing.
    let traceroute = ["traceroute", "-6", "-n", "-q1", "-N1", "-w2"];
    let hops = |node: &str, to: &str| -> Result<Vec<String>> {
        let said = says(lab, node, &[&traceroute[..], &[to]].concat())?;
        let hops = said.lines().skip(1);
        let hops = hops.filter_map(|line| line.split_whitespace().nth(1));
        Ok(hops.map(str::to_owned).collect())
    };
    let from_outside = hops("phone", FLOATING6)?;
    let gateways = ["2001:db8:c1::2", "2001:db8:c2::2"];
    let is_right = |found: &[String]| {
        matches!(found, [border, gateway, vm] if border == "2001:db8:51::1"
            && gateways.contains(&&**gateway) && vm == FLOATING6)
    };
    ensure!(is_right(&from_outside), "from outside: {from_outside:?}");
    let from_inside = hops("shop/bastion", PHONE6)?;
    let (first, last) = (from_inside.first(), from_inside.last());
    ensure!(
        first.is_some_and(|hop| hop == "fd00:1::1") && last.is_some_and(|hop| hop == PHONE6),
        "from inside: {from_inside:?}"
    );
    Ok(())
}

/// The underlay becomes narrow. Who sends learns it from the gateways, and TCP, which learns
/// it from the first packet on, has both ways.
fn senders_are_told_what_does_not_fit(lab: &Lab) -> Result<()> {
    const NARROW: u32 = 1420;
    let fits = match lab.site().topology.anycast_vtep {
        IpAddr::V4(_) => NARROW - 50,
        IpAddr::V6(_) => NARROW - 70,
    };
    let mtu = lab.gateway_status("gw1")?;
    let mtu = mtu
        .interfaces
        .iter()
        .find(|device| device.name == "underlay");
    let mtu = mtu
        .and_then(|device| device.mtu)
        .context("gw1 has an underlay")?;
    let file = TopologyFile::of(lab)?;
    let (wide, narrow) = (
        format!("underlay_mtu: {mtu}"),
        format!("underlay_mtu: {NARROW}"),
    );
    let narrow = file.original.replacen(&wide, &narrow, 1);
    set_underlay_mtu(lab, NARROW)?;
    let result = file.with(&narrow, || {
        let ping = [
            "ping", "-n", "-c1", "-W2", "-M", "do", "-s", "1452", FLOATING6,
        ];
        let said = printed(&lab.exec("phone", &ping)?);
        let told = format!("Packet too big: mtu={fits}");
        ensure!(said.contains(&told), "no `{told}` in {said}");
        let said = says(lab, "phone", &["tracepath", "-6", "-n", FLOATING6])?;
        let told = format!("pmtu {fits}");
        ensure!(
            said.contains(&told) && said.contains("reached"),
            "no `{told}` in {said}"
        );
        a_mebibyte_arrives(lab, SERVER6)
    });
    let restored = set_underlay_mtu(lab, mtu);
    // What the phone has learned would hold for ten minutes.
    says(lab, "phone", &["ip", "-6", "route", "flush", "cache"])?;
    result.and(restored)
}

/// Gives the gateways' underlay interfaces an MTU, and waits until the agents know.
fn set_underlay_mtu(lab: &Lab, mtu: u32) -> Result<()> {
    let text = mtu.to_string();
    GATEWAYS.iter().try_for_each(|gateway| {
        says(
            lab,
            gateway,
            &["ip", "link", "set", "underlay", "mtu", &text],
        )?;
        retry(50, || {
            let status = lab.gateway_status(gateway)?;
            let mut devices = status.interfaces.iter();
            let knows = devices.any(|device| device.name == "underlay" && device.mtu == Some(mtu));
            ensure!(knows, "{gateway} sees {:?}", status.interfaces);
            Ok(())
        })
    })
}

fn a_vip_comes_and_goes(lab: &Lab) -> Result<()> {
    let url = format!("http://[{LATE}]/name");
    let is_announced = || -> Result<bool> {
        let routes = says(lab, "border", &["ip", "-6", "route", "show", LATE])?;
        Ok(GATEWAYS.iter().all(|gateway| routes.contains(gateway)))
    };
    ensure!(!is_announced()?, "{LATE} is there already");
    let file = TopologyFile::of(lab)?;
    let more = file.original.replacen(
        "\nfloating_ips:",
        &format!(
            "  - {{ name: late, vip: \"{LATE}\", listen: tcp/80, vpc: shop, \
             backends: [{{ instance: bastion, port: 8000 }}] }}\n\nfloating_ips:"
        ),
        1,
    );
    file.with(&more, || {
        retry(50, || {
            ensure!(is_announced()?, "{LATE} is not announced by both gateways");
            Ok(())
        })?;
        let answer = get(lab, "phone", &url)?;
        ensure!(answer.contains("bastion"), "{LATE} leads to {answer}");
        // The others are still there.
        get(lab, "phone", &format!("http://{SERVER6}/name")).map(drop)
    })?;
    retry(50, || {
        let routes = says(lab, "border", &["ip", "-6", "route", "show", LATE])?;
        ensure!(routes.is_empty(), "{LATE} is still announced: {routes}");
        Ok(())
    })?;
    let answer = lab.exec("phone", &["curl", "-sS", "--max-time", "0.5", &url])?;
    ensure!(!answer.status.success(), "{LATE} still answers");
    Ok(())
}

/// What tshark has to say against a packet: a checksum that is wrong, a field that does
/// not fit.
const COMPLAINTS: &str = "_ws.malformed || _ws.expert.severity >= 8388608 \
    || ip.checksum.status == 0 || udp.checksum.status == 0 || tcp.checksum.status == 0 \
    || icmp.checksum.status == 0 || icmpv6.checksum.status == 0";

/// It checks none of these by itself.
const CHECKS: &[&str] = &[
    "-o",
    "ip.check_checksum:TRUE",
    "-o",
    "udp.check_checksum:TRUE",
    "-o",
    "tcp.check_checksum:TRUE",
];

/// tshark reads all that passes around the gateways, tunnels included, and checks every
/// checksum.
fn every_packet_is_sound(lab: &Lab) -> Result<()> {
    let points = ["border", "spine"].map(|node| Point::all_in(&lab.netns_path(node), node));
    let points = points.into_iter().collect::<Result<Vec<_>>>()?.concat();
    let capture = Capture::start(&points)?;
    for address in [FLOATING6, FLOATING] {
        for size in ["0", "33", "1400"] {
            pings(lab, "phone", address, &["-s", size])?;
        }
    }
    udp_servers(lab, VIP6)?;
    for server in [SERVER6, VIP] {
        get(lab, "phone", &format!("http://{server}/bytes/5000"))?;
    }
    let mut recording = capture.stop()?;
    // What the kernel has joined on arrival has no checksum as a whole.
    recording.frames.retain(|frame| frame.state == State::Whole);
    let file = tempfile::Builder::new().suffix(".pcapng").tempfile()?;
    recording.write_pcapng(file.path())?;
    let file = file.path().display().to_string();
    let tshark = |filter: &str| {
        let read = ["tshark", "-n", "-r", &file, "-Y", filter];
        says(lab, "phone", &[&read[..], CHECKS].concat())
    };
    let tunnelled = tshark("vxlan && ipv6.addr == 2001:db8:51::10")?
        .lines()
        .count();
    ensure!(tunnelled > 100, "tshark sees {tunnelled} tunnelled packets");
    let complaints = tshark(COMPLAINTS)?;
    ensure!(complaints.is_empty(), "tshark complains:\n{complaints}");
    Ok(())
}

fn a_gateway_dies(lab: &Lab) -> Result<()> {
    failover::dies_and_comes_back(lab, SERVER6)
}
