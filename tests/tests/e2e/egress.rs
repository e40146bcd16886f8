//! Instances without a public address of their own reach the world behind a shared one,
//! through both gateways at once.

use std::{collections::BTreeSet, net::UdpSocket, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket};
use gateway_tests::{
    capture::{Capture, Frame, Point},
    lab::Lab,
};

use crate::{
    clients,
    site::{FLOATING, OTHER_VIP, PHONE, Test, VIP, get, pings, program, retry, says},
};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "an_instance_without_a_public_address_reaches_the_world",
        an_instance_without_a_public_address_reaches_the_world,
    ),
    (
        "traceroute_works_from_behind_a_shared_address",
        traceroute_works_from_behind_a_shared_address,
    ),
    (
        "an_instance_behind_a_shared_address_reaches_our_own_services",
        an_instance_behind_a_shared_address_reaches_our_own_services,
    ),
    (
        "a_killed_agent_keeps_connections_of_instances",
        a_killed_agent_keeps_connections_of_instances,
    ),
    (
        "new_connections_of_instances_leave_by_the_gateway_that_is_left",
        new_connections_of_instances_leave_by_the_gateway_that_is_left,
    ),
];

/// The address that the shop's instances share.
const SHARED: &str = "203.0.113.40";

/// One of them.
const INSTANCE: &str = "shop/controller-1";

/// With what gateways hand packets over: the default's bytes in a VXLAN header.
const HANDOVER: [u8; 3] = [0xff; 3];

/// Where the VNI lies in a tunnel over IPv4.
const VNI: std::ops::Range<usize> = 46..49;

/// The phone as somebody whom instances talk to.
fn with_phone(lab: &Lab, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let (tcp, udp) = (format!("{PHONE}:8000"), format!("{PHONE}:7007"));
    let peer = program("peer")?;
    let argv = [&peer, "--tcp", &tcp, "--udp", &udp, "--name", "phone"];
    let server = lab.spawn("phone", &argv, "phone-egress")?;
    let result = retry(50, || phone_sees(lab, "phone")).and_then(|_| work());
    server.kill();
    ensure!(
        server.wait(Duration::from_secs(5)),
        "the phone's server does not end"
    );
    result
}

/// The address and port that the phone sees a new connection come from.
fn phone_sees(lab: &Lab, node: &str) -> Result<(String, u16)> {
    client(&get(lab, node, &format!("http://{PHONE}:8000/name"))?)
}

/// Whom a peer's answer to `/name` names as its client.
fn client(answer: &str) -> Result<(String, u16)> {
    let answer: serde_json::Value = serde_json::from_str(answer)?;
    let client = answer["client"].as_str().context("no client")?;
    let (ip, port) = client.rsplit_once(':').context("no port")?;
    Ok((ip.to_owned(), port.parse()?))
}

/// Which gateway handed a port out: four shares, of which each has one.
const fn owner(port: u16) -> u16 {
    port >> 14
}

fn point(lab: &Lab, node: &str, device: &str) -> Point {
    Point {
        ns_path: lab.netns_path(node),
        namespace: node.to_owned(),
        device: device.to_owned(),
    }
}

fn an_instance_without_a_public_address_reaches_the_world(lab: &Lab) -> Result<()> {
    let outside = ["gw1", "gw2"].map(|device| point(lab, "border", device));
    let inside = ["gw1", "gw2"].map(|device| point(lab, "spine", device));
    let capture = Capture::start(&[outside, inside].concat())?;
    let mut gateways = BTreeSet::new();
    with_phone(lab, || {
        for _ in 0..24 {
            let (ip, port) = phone_sees(lab, INSTANCE)?;
            ensure!(ip == SHARED, "the phone sees {ip}");
            gateways.insert(owner(port));
        }
        lab.enter(INSTANCE, datagrams)??;
        pings(lab, INSTANCE, PHONE, &[])?;
        pings(lab, INSTANCE, PHONE, &["-M", "do", "-s", "1472"])
    })?;
    ensure!(
        gateways == [0, 1].into(),
        "24 connections should leave by both gateways, not only {gateways:?}"
    );
    let frames = capture.stop()?.frames;
    let of = |name: &'static str| {
        let frames = frames.iter();
        frames.filter(move |frame| frame.point.namespace == name)
    };
    of("border").try_for_each(is_public)?;
    let handed_over = of("spine")
        .filter(|frame| frame.bytes.get(VNI) == Some(&HANDOVER))
        .count();
    ensure!(
        handed_over > 0,
        "the network brought every answer to the right gateway: nothing was handed over"
    );
    println!("measured: {handed_over} sightings of packets that gateways handed over");
    Ok(())
}

/// Nobody outside ever sees a private address.
fn is_public(frame: &Frame) -> Result<()> {
    let packet = SlicedPacket::from_ethernet(&frame.bytes)?;
    if let Some(NetSlice::Ipv4(ip)) = packet.net {
        let source = ip.header().source_addr();
        ensure!(!source.is_private(), "{source} was seen on {}", frame.point);
    }
    Ok(())
}

/// Asks the phone by UDP, from many ports.
fn datagrams() -> Result<()> {
    for number in 0..24 {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket.connect((PHONE, 7007))?;
        socket.send(format!("datagram {number}").as_bytes())?;
        let mut answer = [0; 100];
        let length = socket
            .recv(&mut answer)
            .context("no answer from the phone")?;
        let answer = String::from_utf8_lossy(&answer[..length]);
        ensure!(
            answer == format!("phone datagram {number}"),
            "answered `{answer}`"
        );
    }
    Ok(())
}

/// Routers' errors come back to the shared address, at whichever gateway, and each finds
/// the instance whose probe it speaks of.
fn traceroute_works_from_behind_a_shared_address(lab: &Lab) -> Result<()> {
    for method in ["-U", "-I", "-T"] {
        // One probe a hop: Linux sends somebody six errors, then one a second.
        let argv = ["traceroute", "-n", method, "-q1", "-w2", "-m8", PHONE];
        let said = says(lab, INSTANCE, &argv)?;
        // The virtual router, the border by either link, the operator, the phone.
        for hop in ["172.16.1.1 ", "192.0.2.", "192.0.2.1 ", PHONE] {
            let hops = said.lines().skip(1);
            ensure!(
                hops.clone().any(|line| line.contains(hop)),
                "traceroute {method}: no {hop} in\n{said}"
            );
        }
        ensure!(
            !said.contains('*'),
            "traceroute {method}: silence in\n{said}"
        );
    }
    Ok(())
}

fn an_instance_behind_a_shared_address_reaches_our_own_services(lab: &Lab) -> Result<()> {
    let outside = ["gw1", "gw2"].map(|device| point(lab, "border", device));
    let capture = Capture::start(&outside)?;
    for server in [
        format!("{VIP}:8080"),
        format!("{FLOATING}:8000"),
        format!("{OTHER_VIP}:80"),
    ] {
        let mut gateways = BTreeSet::new();
        for _ in 0..16 {
            let (ip, port) = client(&get(lab, INSTANCE, &format!("http://{server}/name"))?)?;
            ensure!(ip == SHARED, "{server} sees {ip}");
            gateways.insert(owner(port));
        }
        ensure!(gateways == [0, 1].into(), "{server}: only by {gateways:?}");
    }
    pings(lab, INSTANCE, FLOATING, &[])?;
    pings(lab, INSTANCE, VIP, &[])?;
    for frame in capture.stop()?.frames {
        let packet = SlicedPacket::from_ethernet(&frame.bytes)?;
        if let Some(NetSlice::Ipv4(ip)) = packet.net {
            let source = ip.header().source_addr().to_string();
            ensure!(source != SHARED, "it went outside, by {}", frame.point);
        }
    }
    Ok(())
}

fn a_killed_agent_keeps_connections_of_instances(lab: &Lab) -> Result<()> {
    const CONNECTIONS: usize = 100;
    with_phone(lab, || {
        let server = format!("{PHONE}:8000");
        let way = (INSTANCE, &*server);
        let interval = Duration::from_millis(50);
        let clients = clients::connect_from(lab, way, CONNECTIONS, interval, "egress-killed")?;
        for gateway in ["gw1", "gw2"] {
            thread::sleep(Duration::from_millis(300));
            let agent = lab.process(&format!("{gateway}.agent"));
            agent.context("the agent runs")?.kill();
            thread::sleep(Duration::from_millis(300));
            lab.revive_gateway(gateway)?;
        }
        thread::sleep(Duration::from_millis(500));
        let report = clients::report(&clients)?;
        println!(
            "measured: both agents killed and restarted: {} connections through SNAT, {} broken, \
             longest silence {:.0} ms",
            report.connections, report.broken, report.longest_silence_ms
        );
        ensure!(
            report.connections == CONNECTIONS && report.is_clean(),
            "{report:?}"
        );
        Ok(())
    })
}

fn new_connections_of_instances_leave_by_the_gateway_that_is_left(lab: &Lab) -> Result<()> {
    with_phone(lab, || {
        lab.kill_gateway("gw1")?;
        let left = (0..16)
            .map(|_| retry(20, || phone_sees(lab, INSTANCE)))
            .collect::<Result<Vec<_>>>();
        lab.revive_gateway("gw1")?;
        for (ip, port) in left? {
            ensure!(ip == SHARED && owner(port) == 1, "{ip}:{port} is not gw2's");
        }
        let back = (0..24).map(|_| Ok(owner(retry(20, || phone_sees(lab, INSTANCE))?.1)));
        let back = back.collect::<Result<BTreeSet<_>>>()?;
        ensure!(
            back == [0, 1].into(),
            "both hand out ports again, not only {back:?}"
        );
        Ok(())
    })
}
