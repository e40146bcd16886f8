//! Traffic of all kinds, through both gateways, by programs that people know.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use etherparse::{NetSlice, SlicedPacket};
use gateway_tests::{
    capture::{Capture, Point},
    journey::lab::{Purchase, place},
    lab::Lab,
};

use crate::site::{
    FLOATING, OTHER_VIP, PHONE, Test, VIP, a_mebibyte_arrives, ended, get, pings, printed, program,
    retry, says, udp_servers,
};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "an_order_sent_twice_is_placed_once",
        an_order_sent_twice_is_placed_once,
    ),
    ("udp_is_answered_from_the_vip", udp_is_answered_from_the_vip),
    ("the_vip_answers_ping", the_vip_answers_ping),
    (
        "a_floating_ip_works_from_outside",
        a_floating_ip_works_from_outside,
    ),
    (
        "a_floating_ip_works_from_inside",
        a_floating_ip_works_from_inside,
    ),
    (
        "vpcs_with_the_same_addresses_do_not_meet",
        vpcs_with_the_same_addresses_do_not_meet,
    ),
    (
        "a_private_address_never_leaves",
        a_private_address_never_leaves,
    ),
    (
        "a_mebibyte_arrives_intact_both_ways",
        a_mebibyte_arrives_intact_both_ways,
    ),
    ("full_size_packets_pass", full_size_packets_pass),
    (
        "a_lossy_link_still_delivers_once",
        a_lossy_link_still_delivers_once,
    ),
    ("a_closed_port_is_counted", a_closed_port_is_counted),
    (
        "the_node_itself_stays_reachable",
        the_node_itself_stays_reachable,
    ),
    (
        "status_and_metrics_tell_the_same",
        status_and_metrics_tell_the_same,
    ),
];

fn an_order_sent_twice_is_placed_once(lab: &Lab) -> Result<()> {
    let purchase = Purchase {
        client: "phone".to_owned(),
        item: "umbrella".to_owned(),
        quantity: 2,
        key: "e2e-twice".to_owned(),
    };
    let first = place(lab, &purchase)?;
    let again = place(lab, &purchase)?;
    ensure!(
        (first.status, again.status) == (201, 200),
        "{} {}",
        first.status,
        again.status
    );
    ensure!(
        first.answer["id"] == again.answer["id"],
        "{} and {}",
        first.answer,
        again.answer
    );
    let stock = stock(lab, "umbrella")?;
    ensure!(stock == 998, "two of 1000 are sold, {stock} are left");
    Ok(())
}

fn stock(lab: &Lab, item: &str) -> Result<i64> {
    let (name, address) = lab.shop().context("the site has a shop")?;
    let answer = says(
        lab,
        "phone",
        &[
            "curl",
            "-sS",
            "--fail",
            "--max-time",
            "30",
            "--cacert",
            &lab.authority().display().to_string(),
            "--resolve",
            &format!("{name}:443:{address}"),
            &format!("https://{name}/stock/{item}"),
        ],
    )?;
    let answer: serde_json::Value = serde_json::from_str(&answer)?;
    answer["quantity"]
        .as_i64()
        .with_context(|| format!("no quantity in {answer}"))
}

fn udp_is_answered_from_the_vip(lab: &Lab) -> Result<()> {
    let servers = udp_servers(lab, VIP)?;
    let both = ["controller-1".to_owned(), "controller-2".to_owned()].into();
    ensure!(
        servers == both,
        "24 flows should reach both backends, not only {servers:?}"
    );
    Ok(())
}

fn the_vip_answers_ping(lab: &Lab) -> Result<()> {
    let before = ended(lab, "echo_reply")?;
    pings(lab, "phone", VIP, &[])?;
    let answered = ended(lab, "echo_reply")? - before;
    ensure!(answered == 5, "the gateways answered {answered} of 5");
    Ok(())
}

fn a_floating_ip_works_from_outside(lab: &Lab) -> Result<()> {
    pings(lab, "phone", FLOATING, &[])?;
    let name = get(lab, "phone", &format!("http://{FLOATING}:8000/name"))?;
    ensure!(
        name.contains("bastion") && name.contains(PHONE),
        "the bastion sees the phone: {name}"
    );
    Ok(())
}

fn a_floating_ip_works_from_inside(lab: &Lab) -> Result<()> {
    pings(lab, "shop/bastion", PHONE, &[])?;
    let listen = format!("{PHONE}:8000");
    let server = lab.spawn(
        "phone",
        &[&program("peer")?, "--tcp", &listen, "--name", "phone"],
        "phone-server",
    )?;
    let url = format!("http://{listen}/name");
    let name = retry(20, || get(lab, "shop/bastion", &url))?;
    server.kill();
    ensure!(
        name.contains(FLOATING),
        "the phone sees the floating IP: {name}"
    );
    Ok(())
}

fn vpcs_with_the_same_addresses_do_not_meet(lab: &Lab) -> Result<()> {
    // From outside, each VIP leads into its own VPC, whichever flow it is.
    for _ in 0..6 {
        let shop = get(lab, "phone", &format!("http://{VIP}:8080/name"))?;
        ensure!(
            shop.contains("controller-"),
            "the shop's VIP leads to {shop}"
        );
        let other = get(lab, "phone", &format!("http://{OTHER_VIP}/name"))?;
        ensure!(
            other.contains("web-"),
            "the other VPC's VIP leads to {other}"
        );
    }
    // Inside, 172.16.1.21 is another machine for each of them.
    let url = "http://172.16.1.21:8000/name";
    let shop = get(lab, "shop/bastion", url)?;
    let other = get(lab, "other/web-1", url)?;
    ensure!(
        shop.contains("controller-1") && other.contains("web-2"),
        "{shop} and {other}"
    );
    Ok(())
}

fn a_private_address_never_leaves(lab: &Lab) -> Result<()> {
    let point = |device: &str| Point {
        ns_path: lab.netns_path("border"),
        namespace: "border".to_owned(),
        device: device.to_owned(),
    };
    let capture = Capture::start(&[point("gw1"), point("gw2")])?;
    let before = ended(lab, "no_reverse")?;
    // It has no public address, and nothing translates what it starts by itself.
    let ping = lab.exec(
        "other/web-2",
        &["ping", "-n", "-c5", "-i0.05", "-W0.3", PHONE],
    )?;
    ensure!(
        !ping.status.success(),
        "nobody should answer: {}",
        printed(&ping)
    );
    let dropped = ended(lab, "no_reverse")? - before;
    ensure!(dropped == 5, "{dropped} of 5 packets ended as no_reverse");
    for frame in capture.stop()?.frames {
        let packet = SlicedPacket::from_ethernet(&frame.bytes)?;
        if let Some(NetSlice::Ipv4(ip)) = packet.net {
            let source: Ipv4Addr = ip.header().source_addr();
            ensure!(!source.is_private(), "{source} was seen on {}", frame.point);
        }
    }
    Ok(())
}

fn a_mebibyte_arrives_intact_both_ways(lab: &Lab) -> Result<()> {
    let servers = [(VIP, 8080), (FLOATING, 8000), (OTHER_VIP, 80)];
    let servers = servers.map(|(address, port)| format!("{address}:{port}"));
    servers
        .iter()
        .try_for_each(|server| a_mebibyte_arrives(lab, server))
}

fn full_size_packets_pass(lab: &Lab) -> Result<()> {
    // 1472 bytes of data, 8 of ICMP, 20 of IP: the MTU of phone and VM. Do not fragment.
    for (node, address) in [("phone", FLOATING), ("shop/bastion", PHONE)] {
        pings(lab, node, address, &["-M", "do", "-s", "1472"])?;
    }
    Ok(())
}

fn a_lossy_link_still_delivers_once(lab: &Lab) -> Result<()> {
    let before = stock(lab, "umbrella")?;
    lab.set_loss("border", "operator", 20)?;
    let result = orders_with_retries(lab);
    lab.set_loss("border", "operator", 0)?;
    result?;
    let sold = before - stock(lab, "umbrella")?;
    ensure!(
        sold == 5,
        "5 orders, however often they were sent, sold {sold}"
    );
    Ok(())
}

/// Five orders by a phone that repeats an order until it is answered.
fn orders_with_retries(lab: &Lab) -> Result<()> {
    for number in 0..5 {
        let purchase = Purchase {
            client: "phone".to_owned(),
            item: "umbrella".to_owned(),
            quantity: 1,
            key: format!("e2e-lossy-{number}"),
        };
        let placed = retry(5, || place(lab, &purchase))?;
        ensure!(
            placed.status / 100 == 2,
            "{}: {}",
            placed.status,
            placed.answer
        );
    }
    Ok(())
}

fn a_closed_port_is_counted(lab: &Lab) -> Result<()> {
    let before = ended(lab, "no_service")?;
    let url = format!("http://{VIP}:81/");
    let refused = lab.exec("phone", &["curl", "-sS", "--max-time", "0.5", &url])?;
    ensure!(
        !refused.status.success(),
        "nothing listens on port 81: {}",
        printed(&refused)
    );
    ensure!(ended(lab, "no_service")? > before, "no gateway counted it");
    Ok(())
}

fn the_node_itself_stays_reachable(lab: &Lab) -> Result<()> {
    // The kernel of gw1 answers on its own addresses, through the program.
    for (node, address) in [
        ("border", "192.0.2.10"),
        ("spine", "10.0.11.2"),
        ("spine", "10.0.0.11"),
    ] {
        pings(lab, node, address, &[])?;
    }
    Ok(())
}

fn status_and_metrics_tell_the_same(lab: &Lab) -> Result<()> {
    get(lab, "phone", &format!("http://{VIP}:8080/name"))?;
    let mut packets = 0;
    for gateway in ["gw1", "gw2"] {
        let socket = lab.gateway_socket(gateway).display().to_string();
        let shown = says(
            lab,
            gateway,
            &[&program("lingyun")?, "status", "--socket", &socket],
        )?;
        let long = shown.lines().find(|line| line.chars().count() > 80);
        ensure!(long.is_none(), "wider than 80 columns: {long:?}");
        for word in [
            "orders",
            VIP,
            FLOATING,
            "shop/haproxy-1",
            "native",
            "reachable",
        ] {
            ensure!(shown.contains(word), "`{word}` is not in\n{shown}");
        }
        let metrics = says(
            lab,
            gateway,
            &[
                "curl",
                "-sS",
                "--unix-socket",
                &socket,
                "http://agent/metrics",
            ],
        )?;
        ensure!(metrics.ends_with("# EOF\n"), "not OpenMetrics:\n{metrics}");
        let files = lab.gateway_status(gateway)?;
        let files = files
            .load_balancers
            .iter()
            .find(|service| service.name == "files");
        packets += files.context("the service `files`")?.traffic.in_packets;
    }
    ensure!(
        packets > 0,
        "nobody counted the packets of the service `files`"
    );
    Ok(())
}
