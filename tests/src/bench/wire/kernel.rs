//! Contestants in the kernel's own stack: forwarding, and nftables with vxlan.

use anyhow::Result;
use lingyun::config::Mac;

use super::{
    judge::{NAMES, Service, WEB},
    lane::{Middle, PUBLIC, UNDERLAY},
};
use crate::{
    cases::site::{
        ANYCAST, BORDER, BORDER_MAC, HOST_A, HOST_B, NODE, ROUTER, ROUTER_MAC, SHOP, SPINE_MAC,
        VIP, mac_of,
    },
    lab::Stand,
};

/// Name of the kernel's tunnel.
const TUNNEL: &str = "tunnel";

/// The VIP is somewhere behind the underlay.
pub(super) fn forwarding(stand: &Stand, node: &str) -> Result<Middle> {
    neighbours(stand, node)?;
    let route = format!("route add {VIP}/32 via 10.0.11.1 dev {UNDERLAY}");
    stand.ip_in(node, &[route])?;
    Ok(Middle::Others)
}

/// DNAT by a hash over the backends, each behind the tunnel.
pub(super) fn nftables(stand: &Stand, node: &str, service: &Service) -> Result<Middle> {
    neighbours(stand, node)?;
    tunnel(stand, node)?;
    stand.run(node, &["nft", "-f", "-"], &rules(service))?;
    Ok(Middle::Others)
}

/// Addresses and neighbours that are known, so that nobody asks for them; and a
/// public device that takes the source's frames.
pub(super) fn neighbours(stand: &Stand, node: &str) -> Result<()> {
    stand.ip_in(
        node,
        &[
            format!("address add {NODE}/30 dev {PUBLIC}"),
            format!(
                "neighbour add {BORDER} lladdr {} dev {PUBLIC}",
                Mac(BORDER_MAC)
            ),
            format!("route add default via {BORDER} dev {PUBLIC}"),
            format!("address add 10.0.11.2/30 dev {UNDERLAY}"),
            format!(
                "neighbour add 10.0.11.1 lladdr {} dev {UNDERLAY}",
                Mac(SPINE_MAC)
            ),
            format!("route add {HOST_A}/32 via 10.0.11.1 dev {UNDERLAY}"),
            format!("route add {HOST_B}/32 via 10.0.11.1 dev {UNDERLAY}"),
        ],
    )?;
    stand.poll(node, PUBLIC)
}

/// The kernel's VXLAN device, which knows where each backend is.
pub(super) fn tunnel(stand: &Stand, node: &str) -> Result<()> {
    let mut lines = vec![
        format!("address add {ANYCAST}/32 dev lo"),
        // Without UDP checksums, as Lingyun sends them.
        format!(
            "link add {TUNNEL} address {} mtu 1500 type vxlan id {SHOP} local {ANYCAST} \
             dstport 4789 nolearning noudpcsum",
            Mac(ROUTER_MAC)
        ),
        format!("address add {ROUTER}/24 dev {TUNNEL}"),
        format!("link set {TUNNEL} up"),
    ];
    let backends = WEB.backends.iter().chain(NAMES.backends);
    for (_, backend) in backends.clone() {
        let mac = Mac(mac_of(SHOP, *backend));
        lines.push(format!("neighbour add {backend} lladdr {mac} dev {TUNNEL}"));
    }
    stand.ip_in(node, &lines)?;
    for (host, backend) in backends {
        let (mac, host) = (Mac(mac_of(SHOP, *backend)).to_string(), host.to_string());
        let words = ["bridge", "fdb", "append", &mac, "dev", TUNNEL, "dst", &host];
        stand.run(node, &words, "")?;
    }
    Ok(())
}

/// The tunnel's own packets are not tracked.
fn rules(service: &Service) -> String {
    let Service {
        protocol,
        port,
        backends,
        backend_port,
    } = service;
    let places = (0..).zip(*backends);
    let places: Vec<_> = places
        .map(|(place, (_, backend))| format!("{place} : {backend} . {backend_port}"))
        .collect();
    format!(
        "table ip nat {{
            chain in {{
                type nat hook prerouting priority dstnat;
                ip daddr {VIP} {protocol} dport {port} dnat to jhash ip saddr . {protocol} sport mod {} map {{ {} }}
            }}
        }}
        table ip raw {{
            chain in {{ type filter hook prerouting priority raw; udp dport 4789 notrack; }}
            chain out {{ type filter hook output priority raw; udp dport 4789 notrack; }}
        }}",
        backends.len(),
        places.join(", ")
    )
}
