//! BIRD on the routers and gateways: who tells whom about which addresses.
//!
//! Every link between two of them is an eBGP session. A gateway tells its public
//! side the addresses in kernel table 100 and its underlay the tunnel endpoints in
//! table 101, both written there by the agent; BIRD just carries them.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    config::Bfd,
    site::{NodeKind, Site},
};

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

    const fn filters(self) -> &'static str {
        match self {
            Self::Routers => "import all; export where source = RTS_BGP || source = RTS_DEVICE;",
            // A gateway needs no more than the way out.
            Self::DownPublic => "import all; export where proto = \"way_out\";",
            Self::DownUnderlay => "import all; export where proto != \"way_out\";",
            Self::UpPublic => "import all; export where proto = \"public_addresses\";",
            // The shared endpoint is also ours: never towards another gateway.
            Self::UpUnderlay => {
                "import where net != ANYCAST; \
                 export where proto = \"tunnel_endpoints\" || proto = \"own_endpoint\";"
            }
        }
    }
}

/// Configuration of a node's BIRD, or none for a node that has none.
pub(super) fn configuration(site: &Site, node: &str, kind: NodeKind) -> Option<String> {
    let sessions = sessions(site, node, kind);
    let (asn, id, rest) = match kind {
        NodeKind::Router { asn } => {
            let id = sessions
                .first()
                .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |s| s.own);
            (asn, id, router(site, node, &sessions))
        }
        NodeKind::Gateway(index) => {
            let vtep = site.topology.gateways[index].vtep;
            (site.lab.gateway_asn, vtep, gateway(vtep))
        }
        NodeKind::Client | NodeKind::Host(..) | NodeKind::Instance(_) => return None,
    };
    let anycast = site.topology.anycast_vtep;
    let mut text = format!(
        "log stderr all;\n\
         router id {id};\n\
         define ANYCAST = {anycast}/32;\n\
         protocol device {{ scan time 5; }}\n\
         protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; merge paths on; }}\n\
         {rest}"
    );
    text.push_str(&bfd(&sessions, site.lab.bfd));
    for session in &sessions {
        text.push_str(&bgp(session, asn));
    }
    Some(text)
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
fn router(site: &Site, node: &str, sessions: &[Session<'_>]) -> String {
    let sides = site.lab.links.iter().flat_map(|link| link.sides());
    let own = sides
        .filter(|(end, ..)| end.node == node)
        .map(|(end, ..)| end.interface.as_str());
    let stubs = own.filter(|own| !sessions.iter().any(|session| session.interface == *own));
    let stubs: Vec<_> = stubs.map(|stub| format!("\"{stub}\"")).collect();
    let mut text = String::new();
    if !stubs.is_empty() {
        text = format!(
            "protocol direct {{ ipv4; interface {}; }}\n",
            stubs.join(", ")
        );
    }
    text.push_str("protocol static way_out { ipv4; route 0.0.0.0/0 unreachable; }\n");
    text
}

fn gateway(vtep: IpAddr) -> String {
    let learn = |name: &str, table: u32| {
        format!(
            "ipv4 table t{table};\n\
             protocol kernel {name} {{ kernel table {table}; learn; scan time 5; \
             ipv4 {{ table t{table}; import all; export none; }}; }}\n\
             protocol pipe {{ table master4; peer table t{table}; import all; export none; }}\n"
        )
    };
    format!(
        "{}{}protocol direct own_endpoint {{ interface \"lo\"; ipv4 {{ import where net = {vtep}/32; }}; }}\n",
        learn("public_addresses", 100),
        learn("tunnel_endpoints", 101),
    )
}

fn bfd(sessions: &[Session<'_>], bfd: Bfd) -> String {
    let watched = sessions.iter().filter(|session| session.way.is_watched());
    let watched: Vec<_> = watched
        .map(|session| format!("\"{}\"", session.interface))
        .collect();
    if watched.is_empty() {
        return String::new();
    }
    // The idle interval is the one before the session is up: one second by default.
    format!(
        "protocol bfd {{ interface {} {{ interval {ms} ms; idle tx interval {ms} ms; multiplier {}; }}; }}\n",
        watched.join(", "),
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
    let filters = way.filters();
    write!(
        text,
        "protocol bgp {name} {{\n  local {own} as {asn}; neighbor {peer} as {peer_asn}; {watch}{same}\n  \
         hold time 9; connect delay time 0; connect retry time 1; error wait time 1, 2;\n  \
         ipv4 {{ next hop self; {filters} }};\n}}\n"
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
