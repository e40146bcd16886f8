//! TCP connections a second: whole ones, through contestants that see both directions.
//!
//! A client connects, sends a byte, reads one and resets the connection, so that no
//! port is held back. Client and server are the same for all; between them is a
//! router, a gateway or a proxy.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lingyun::config::Mac;
use socket2::SockRef;

use super::{
    ends::pin_to,
    judge::WEB_OF_ONE,
    kernel,
    lane::{Middle, PUBLIC, UNDERLAY, links},
    other_processor, processor, xdp,
};
use crate::{
    cases::site::{
        self, ANYCAST, BORDER, CLIENT, HOST_A, NODE, PUBLIC_MAC, ROUTER, ROUTER_MAC, SHOP,
        UNDERLAY_MAC, VIP, WEB_1, mac_of,
    },
    lab::Stand,
};

/// Who is between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Between {
    /// A router: what client and server can do at most.
    Router,
    /// Lingyun's VIP, both ways.
    Lingyun,
    /// nftables with conntrack and the kernel's VXLAN.
    Nftables,
    /// HAProxy in TCP mode, one thread with a processor of its own.
    Haproxy,
}

impl Between {
    pub(super) const ALL: [Self; 4] = [Self::Router, Self::Lingyun, Self::Nftables, Self::Haproxy];

    /// As people call it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Router => "connections: kernel forwarding",
            Self::Lingyun => "connections: Lingyun VIP",
            Self::Nftables => "connections: nftables + kernel vxlan",
            Self::Haproxy => "connections: HAProxy, TCP mode",
        }
    }

    /// Whether it must work wherever the bench does.
    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::Router | Self::Lingyun)
    }
}

/// Connections that are made at the same time.
const CLIENTS: usize = 8;
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Client, something between, and server, in namespaces of their own.
pub(super) struct Path {
    pub between: Between,
    client: String,
    middle: Middle,
    server: Arc<Server>,
}

impl Path {
    /// Makes it all.
    pub(super) fn new(stand: &Stand, between: Between) -> Result<Self> {
        let name = format!("cps-{between:?}").to_lowercase();
        let [client, node, host] = ["client", "gw", "host"].map(|end| format!("{name}-{end}"));
        for node in [&client, &node, &host] {
            stand.node(node)?;
        }
        links(stand, [&client, &node, &host])?;
        for (node, device) in [
            (&client, "wire"),
            (&host, "wire"),
            (&node, PUBLIC),
            (&node, UNDERLAY),
        ] {
            stand.compute_checksums(node, device)?;
        }
        set_up_client(stand, &client)?;
        set_up_host(stand, &host, between)?;
        let middle = set_up_between(stand, &node, between)
            .with_context(|| format!("set up {}", between.title()))?;
        let server = Server::start(stand, &host, between)?;
        Ok(Self {
            between,
            client,
            middle,
            server,
        })
    }

    /// Connections a second, for so long.
    pub(super) fn measure(&self, stand: &Stand, duration: Duration) -> Result<f64> {
        let before = self.server.served.load(Ordering::Relaxed);
        let made = AtomicU64::new(0);
        let start = Instant::now();
        stand.enter(&self.client, || -> Result<()> {
            pin_to(other_processor())?;
            thread::scope(|scope| {
                let clients: Vec<_> = (0..CLIENTS)
                    .map(|_| scope.spawn(|| connect_until(start + duration, &made)))
                    .collect();
                clients.into_iter().try_for_each(|client| {
                    client
                        .join()
                        .unwrap_or_else(|_| anyhow::bail!("a client panicked"))
                })
            })
        })??;
        let passed = start.elapsed();
        let (made, served) = (
            made.into_inner(),
            self.server.served.load(Ordering::Relaxed) - before,
        );
        // One that is answered twice, or by somebody else, was not carried.
        ensure!(
            served.abs_diff(made) <= CLIENTS as u64,
            "{}: {made} connections made, {served} served",
            self.between.title()
        );
        Ok(made as f64 / passed.as_secs_f64())
    }

    /// Stops it.
    pub(super) fn end(self) -> Result<()> {
        self.server.ends.store(true, Ordering::Relaxed);
        self.middle.end()
    }
}

fn connect_until(end: Instant, made: &AtomicU64) -> Result<()> {
    let vip = SocketAddr::from((VIP, 443));
    while Instant::now() < end {
        let mut stream =
            TcpStream::connect_timeout(&vip, PATIENCE).context("connect to the VIP")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        stream.write_all(b"?")?;
        stream
            .read_exact(&mut [0])
            .context("wait for the server's byte")?;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
        made.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Answers each connection's byte.
struct Server {
    served: AtomicU64,
    ends: AtomicBool,
}

impl Server {
    fn start(stand: &Stand, host: &str, between: Between) -> Result<Arc<Self>> {
        let address = match between {
            Between::Router => SocketAddr::from((VIP, 443)),
            _ => SocketAddr::from((WEB_1, 8_443)),
        };
        let server = Arc::new(Self {
            served: AtomicU64::new(0),
            ends: AtomicBool::new(false),
        });
        let listener = stand.enter(host, || TcpListener::bind(address))?;
        let listener = Arc::new(listener.with_context(|| format!("listen on {address}"))?);
        for _ in 0..CLIENTS {
            let (listener, server) = (Arc::clone(&listener), Arc::clone(&server));
            // Ends with the program at the latest: it may wait in accept for ever.
            thread::spawn(move || {
                let _ = pin_to(other_processor());
                while !server.ends.load(Ordering::Relaxed) {
                    // A connection that breaks is missed by its client.
                    let _ = server.serve(&listener);
                }
            });
        }
        Ok(server)
    }

    fn serve(&self, listener: &TcpListener) -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_exact(&mut [0])?;
        self.served.fetch_add(1, Ordering::Relaxed);
        stream.write_all(b"!")?;
        // Until the client resets it.
        stream.read(&mut [0]).map(drop)
    }
}

/// The border, with a client behind it.
fn set_up_client(stand: &Stand, client: &str) -> Result<()> {
    let gateway = Mac(PUBLIC_MAC);
    stand.ip_in(
        client,
        &[
            "link set lo up".into(),
            format!("address add {CLIENT}/32 dev lo"),
            format!("address add {BORDER}/30 dev wire"),
            format!("neighbour add {NODE} lladdr {gateway} dev wire"),
            format!("route add {VIP}/32 via {NODE} dev wire src {CLIENT}"),
        ],
    )?;
    stand.poll(client, "wire")
}

/// The spine, with a host behind it. For the router the VIP itself is there.
fn set_up_host(stand: &Stand, host: &str, between: Between) -> Result<()> {
    let (own, router) = (Mac(mac_of(SHOP, WEB_1)), Mac(ROUTER_MAC));
    let mut lines = vec![
        "link set lo up".into(),
        format!("address add {HOST_A}/32 dev lo"),
        "address add 10.0.11.1/30 dev wire".into(),
        format!(
            "neighbour add 10.0.11.2 lladdr {} dev wire",
            Mac(UNDERLAY_MAC)
        ),
        format!("route add {ANYCAST}/32 via 10.0.11.2 dev wire"),
    ];
    if between == Between::Router {
        lines.push(format!("address add {VIP}/32 dev lo"));
        lines.push("route add default via 10.0.11.2 dev wire".into());
    } else {
        lines.extend([
            format!(
                "link add tunnel address {own} mtu 1450 type vxlan id {SHOP} local {HOST_A} \
                 remote {ANYCAST} dstport 4789 nolearning noudpcsum"
            ),
            format!("address add {WEB_1}/24 dev tunnel"),
            "link set tunnel up".into(),
            format!("neighbour add {ROUTER} lladdr {router} dev tunnel"),
            format!("route add default via {ROUTER} dev tunnel"),
        ]);
    }
    stand.ip_in(host, &lines)?;
    stand.poll(host, "wire")
}

fn set_up_between(stand: &Stand, node: &str, between: Between) -> Result<Middle> {
    match between {
        Between::Router => {
            let middle = kernel::forwarding(stand, node)?;
            stand.poll(node, UNDERLAY)?;
            Ok(middle)
        }
        Between::Lingyun => {
            let mut topology = site::topology();
            topology.load_balancers[0].backends.truncate(1);
            xdp::lingyun(stand, node, &topology)
        }
        Between::Nftables => kernel::nftables(stand, node, &WEB_OF_ONE),
        Between::Haproxy => haproxy(stand, node),
    }
}

fn haproxy(stand: &Stand, node: &str) -> Result<Middle> {
    kernel::neighbours(stand, node)?;
    kernel::tunnel(stand, node)?;
    stand.ip_in(node, &[format!("address add {VIP}/32 dev lo")])?;
    let ports = "net.ipv4.ip_local_port_range=1024 65000";
    stand.run(
        node,
        &["sysctl", "-qw", ports, "net.ipv4.tcp_tw_reuse=1"],
        "",
    )?;
    let configuration = stand.file("haproxy.cfg", &configuration())?;
    let processor = processor().to_string();
    let argv = [
        "taskset",
        "-c",
        &processor,
        "haproxy",
        "-db",
        "-f",
        &configuration,
    ];
    let process = stand.start(node, "haproxy", &argv, Vec::new())?;
    stand.wait(&process, || {
        let connect = || TcpStream::connect((VIP, 443)).map(drop);
        Ok(stand.enter(node, connect)??)
    })?;
    Ok(Middle::Others)
}

fn configuration() -> String {
    format!(
        "global
    nbthread 1
    maxconn 4096
defaults
    mode tcp
    timeout connect 2s
    timeout client 5s
    timeout server 5s
listen vip
    bind {VIP}:443
    server web-1 {WEB_1}:8443
"
    )
}
