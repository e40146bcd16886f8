//! BIRD on the routers and gateways: who tells whom about which addresses.
//!
//! Every link between two of them is an eBGP session for each family that it has
//! addresses of, and the session carries that family's routes. A gateway tells its public
//! side the addresses in kernel table 100 and its underlay the tunnel endpoints in
//! table 101, both written there by the agent; BIRD just carries them.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use super::{
    config::Bfd,
    site::{NodeKind, Site},
};

/// What a family is called in BIRD's language.
#[derive(PartialEq)]
struct Family {
    /// Channels and tables.
    channel: &'static str,
    /// Ends the names of its protocols: each protocol has a name of its own.
    suffix: &'static str,
    /// The network that holds all addresses.
    everywhere: &'static str,
}

const V4: Family = Family {
    channel: "ipv4",
    suffix: "",
    everywhere: "0.0.0.0/0",
};

const V6: Family = Family {
    channel: "ipv6",
    suffix: "_v6",
    everywhere: "::/0",
};

impl Family {
    const fn of(ip: IpAddr) -> &'static Self {
        match ip {
            IpAddr::V4(_) => &V4,
            IpAddr::V6(_) => &V6,
        }
    }
}

/// One session from a node's side.
struct Session<'s> {
    interface: &'s str,
    own: IpAddr,
    peer: IpAddr,
    peer_asn: u32,
    way: Way,
}

/// What is told to the neighbour, and what is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Between two routers.
    Routers,
    /// From a router down to a gateway.
    DownPublic,
    /// From a router of the underlay down to a gateway.
    DownUnderlay,
    /// From a gateway up to the public network.
    UpPublic,
    /// From a gateway up to the underlay.
    UpUnderlay,
}

impl Way {
    /// Both directions of a session with a gateway are watched by BFD.
    const fn is_watched(self) -> bool {
        !matches!(self, Self::Routers)
    }

    fn filters(self, Family { suffix, .. }: &Family) -> String {
        match self {
            Self::Routers => {
                "import all; export where source = RTS_BGP || source = RTS_DEVICE;".to_owned()
            }
            // A gateway needs no more than the way out.
            Self::DownPublic => {
                format!("import all; export where proto = \"way_out{suffix}\";")
            }
            Self::DownUnderlay => {
                format!("import all; export where proto != \"way_out{suffix}\";")
            }
            Self::UpPublic => {
                format!("import all; export where proto = \"public_addresses{suffix}\";")
            }
            // The shared endpoint is also ours: never towards another gateway.
            Self::UpUnderlay => format!(
                "import where net != ANYCAST; \
                 export where proto = \"tunnel_endpoints{suffix}\" || proto = \"own_endpoint\";"
            ),
        }
    }
}

/// Configuration of a node's BIRD, or none for a node that has none.
pub(super) fn configuration(site: &Site, node: &str, kind: NodeKind) -> Option<String> {
    let sessions = sessions(site, node, kind);
    let spoken = |family: &&Family| sessions.iter().any(|s| Family::of(s.own) == *family);
    let families: Vec<_> = [&V4, &V6].into_iter().filter(spoken).collect();
    let (asn, rest) = match kind {
        NodeKind::Router { asn } => (asn, router(site, node, &sessions, &families)),
        NodeKind::Gateway(index) => {
            let vtep = site.topology.gateways[index].vtep;
            (site.lab.gateway_asn, gateway(vtep, &families))
        }
        NodeKind::Client | NodeKind::Host(..) | NodeKind::Instance(_) => return None,
    };
    let mut text = format!(
        "log stderr all;\n\
         router id {};\n\
         define ANYCAST = {};\n\
         protocol device {{ scan time 5; }}\n",
        router_id(site, node)?,
        IpNet::from(site.topology.anycast_vtep),
    );
    for Family {
        channel, suffix, ..
    } in &families
    {
        text.push_str(&format!(
            "protocol kernel fib{suffix} {{ {channel} {{ import none; export where source = RTS_BGP; }}; \
             merge paths on; }}\n"
        ));
    }
    text.push_str(&rest);
    text.push_str(&bfd(&sessions, site.lab.bfd));
    for session in &sessions {
        text.push_str(&bgp(session, asn));
    }
    Some(text)
}

/// A number of its own, which looks like an IPv4 address but need not be one (RFC 6286).
fn router_id(site: &Site, node: &str) -> Option<Ipv4Addr> {
    let place = site.nodes().iter().position(|(name, _)| name == node)?;
    Some(Ipv4Addr::from_bits(u32::try_from(place).ok()? + 1))
}

fn sessions<'s>(site: &'s Site, node: &str, kind: NodeKind) -> Vec<Session<'s>> {
    let routers = &site.lab.routers;
    let public = |name: &str, interface: &str| {
        let gateway = site.topology.gateway(name)?;
        Some(gateway.public.iter().any(|public| public == interface))
    };
    let sides = site.lab.links.iter().flat_map(|link| link.sides());
    let own = sides.filter(|(end, ..)| end.node == node);
    let sessions = own.filter_map(|(end, own, peer, peer_ip)| {
        let router = routers.iter().find(|router| router.name == peer.node);
        let peer_asn = router.map_or(site.lab.gateway_asn, |router| router.asn);
        let way = match (kind, public(&peer.node, &peer.interface)) {
            (NodeKind::Gateway(_), _) => match public(node, &end.interface)? {
                true => Way::UpPublic,
                false => Way::UpUnderlay,
            },
            (_, Some(true)) => Way::DownPublic,
            (_, Some(false)) => Way::DownUnderlay,
            // A client or host speaks no BGP.
            (_, None) => router.map(|_| Way::Routers)?,
        };
        Some(Session {
            interface: &end.interface,
            own: own.addr(),
            peer: peer_ip,
            peer_asn,
            way,
        })
    });
    sessions.collect()
}

/// A router tells about the networks of the clients and hosts at its links, and
/// gateways at its public side about a way out to everywhere.
fn router(
    site: &Site,
    node: &str,
    sessions: &[Session<'_>],
    families: &[&'static Family],
) -> String {
    let sides = site.lab.links.iter().flat_map(|link| link.sides());
    let own = sides
        .filter(|(end, ..)| end.node == node)
        .map(|(end, ..)| end.interface.as_str());
    let stubs = own.filter(|own| !sessions.iter().any(|session| session.interface == *own));
    let stubs: BTreeSet<_> = stubs.map(|stub| format!("\"{stub}\"")).collect();
    let stubs = Vec::from_iter(stubs).join(", ");
    let mut text = String::new();
    for family in families {
        let Family {
            channel,
            suffix,
            everywhere,
        } = family;
        if !stubs.is_empty() {
            text.push_str(&format!(
                "protocol direct stubs{suffix} {{ {channel}; interface {stubs}; }}\n"
            ));
        }
        text.push_str(&format!(
            "protocol static way_out{suffix} {{ {channel}; route {everywhere} unreachable; }}\n"
        ));
    }
    text
}

fn gateway(vtep: IpAddr, families: &[&'static Family]) -> String {
    let mut text = String::new();
    for Family {
        channel, suffix, ..
    } in families
    {
        let version = channel.trim_start_matches("ipv");
        for (name, table) in [("public_addresses", 100), ("tunnel_endpoints", 101)] {
            text.push_str(&format!(
                "{channel} table t{table}{suffix};\n\
                 protocol kernel {name}{suffix} {{ kernel table {table}; learn; scan time 5; \
                 {channel} {{ table t{table}{suffix}; import all; export none; }}; }}\n\
                 protocol pipe {{ table master{version}; peer table t{table}{suffix}; \
                 import all; export none; }}\n"
            ));
        }
    }
    let (channel, own) = (Family::of(vtep).channel, IpNet::from(vtep));
    text.push_str(&format!(
        "protocol direct own_endpoint {{ interface \"lo\"; {channel} {{ import where net = {own}; }}; }}\n"
    ));
    text
}

fn bfd(sessions: &[Session<'_>], bfd: Bfd) -> String {
    let watched = sessions.iter().filter(|session| session.way.is_watched());
    let watched: BTreeSet<_> = watched
        .map(|session| format!("\"{}\"", session.interface))
        .collect();
    let watched = Vec::from_iter(watched).join(", ");
    if watched.is_empty() {
        return String::new();
    }
    // The idle interval is the one before the session is up: one second by default.
    format!(
        "protocol bfd {{ interface {} {{ interval {ms} ms; idle tx interval {ms} ms; multiplier {}; }}; }}\n",
        watched,
        bfd.multiplier,
        ms = bfd.interval_ms,
    )
}

/// BIRD waits a second before its first call, whatever `connect delay time` says.
fn bgp(session: &Session<'_>, asn: u32) -> String {
    let Session {
        interface,
        own,
        peer,
        peer_asn,
        way,
    } = session;
    let mut text = String::new();
    let mut name = String::from("to_");
    name.extend(
        interface
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }),
    );
    let watch = if way.is_watched() { "bfd on; " } else { "" };
    // The gateways share an AS: each hears of the others' endpoints with its own in the path.
    let same = if *way == Way::UpUnderlay {
        "allow local as 1; "
    } else {
        ""
    };
    let family = Family::of(*own);
    let (filters, channel, suffix) = (way.filters(family), family.channel, family.suffix);
    write!(
        text,
        "protocol bgp {name}{suffix} {{\n  local {own} as {asn}; neighbor {peer} as {peer_asn}; {watch}{same}\n  \
         hold time 9; connect delay time 0; connect retry time 1; error wait time 1, 2;\n  \
         {channel} {{ next hop self; {filters} }};\n}}\n"
    )
    .expect("writing into a string does not fail");
    text
}

/// Asks a running BIRD, as birdc does.
pub(super) fn ask(socket: &Path, question: &str) -> Result<Vec<String>> {
    let what = || format!("ask BIRD at {}: {question}", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(what)?;
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .with_context(what)?;
    let mut lines = BufReader::new(stream.try_clone().with_context(what)?).lines();
    // It greets first.
    lines.next().with_context(what)?.with_context(what)?;
    writeln!(stream, "{question}").with_context(what)?;
    let mut answer = Vec::new();
    for line in lines {
        let line = line.with_context(what)?;
        // A line is "CODE-more", "CODE last", or " continued".
        let code = line.get(..4).and_then(|code| code.parse::<u32>().ok());
        let text = line
            .get(if code.is_some() { 5 } else { 1 }..)
            .unwrap_or_default()
            .to_owned();
        match (code, line.as_bytes().get(4)) {
            (Some(8000..), _) => bail!("{}: {text}", what()),
            (Some(code), Some(b' ')) => {
                if code != 0 {
                    answer.push(text);
                }
                return Ok(answer);
            }
            _ => answer.push(text),
        }
    }
    bail!("{}: it hung up", what())
}

/// The sessions of a running BIRD that are not up yet.
pub(super) fn sessions_down(socket: &Path) -> Result<Vec<String>> {
    let lines = ask(socket, "show protocols")?;
    let down = lines.into_iter().filter(|line| {
        let mut words = line.split_whitespace();
        words.nth(1) == Some("BGP") && !line.contains("Established")
    });
    Ok(down.collect())
}
