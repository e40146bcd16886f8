//! What runs in the instances: HAProxy, the order service, test peers. PostgreSQL
//! has a [file of its own](super::postgres).

use std::{
    env, fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use lingyun::config::InstanceId;

use super::{
    config::{Haproxy, Kind, Peer},
    postgres,
    process::Process,
    running::Lab,
    tool,
    up::{PATIENCE, Task},
};

/// Variable that names another directory for the project's own programs.
const BINARIES: &str = "LINGYUN_BIN_DIR";

/// A program of this workspace, built next to the one that runs.
pub(super) fn binary(name: &str) -> Result<String> {
    let own = env::current_exe().context("find the directory of this program")?;
    let beside = own.ancestors().skip(1).take(2).map(Path::to_owned);
    let given = env::var_os(BINARIES).map(PathBuf::from).into_iter();
    let mut places = given.chain(beside).map(|directory| directory.join(name));
    let found = places.find(|place| place.is_file()).with_context(|| {
        format!(
            "the program `{name}` is not built: `cargo build --workspace --bins` makes it, \
             {BINARIES} names another directory for it"
        )
    })?;
    Ok(found.to_string_lossy().into_owned())
}

/// Makes the shop's certificate, where there is an order service.
pub(super) fn make_certificates(lab: &Lab) -> Result<String> {
    let Some((shop, name)) = shop(lab) else {
        return Ok("none needed".to_owned());
    };
    let directory = certificates(lab);
    let mut make = Command::new(binary("order-service")?);
    make.arg("make-ca").arg("--dir").arg(&directory);
    make.args(["--host", &name, "--ip", &shop.to_string()]);
    tool::run(lab.run(), &mut make, b"")?;
    Ok(format!("{name}, {shop}"))
}

fn certificates(lab: &Lab) -> PathBuf {
    lab.directory().join("tls")
}

/// The shop's public address and name: the service whose backends are the
/// instances that front an order service.
fn shop(lab: &Lab) -> Option<(IpAddr, String)> {
    let topology = &lab.site.topology;
    let orders = |kind: &Kind<'_>| matches!(kind, Kind::OrderService(_));
    let (order, ..) = lab.site.services().find(|(_, _, kind)| orders(kind))?;
    let serves = |id: InstanceId, port: u16| {
        lab.site.services().any(|(other, _, kind)| match kind {
            Kind::OrderService(service) => other == id && service.port == port,
            Kind::Haproxy(haproxy) => other == id && haproxy.listen == port,
            _ => false,
        })
    };
    let mut services = topology.load_balancers.iter();
    let service = services.find(|service| {
        service
            .backends
            .iter()
            .any(|backend| serves(backend.instance, backend.port))
    })?;
    let vpc = &topology.vpcs[order.vpc].name;
    Some((service.vip, format!("www.{vpc}.lab")))
}

impl Lab {
    /// The shop's name and public address, when there is one: what a browser is
    /// told with `curl --resolve`.
    pub fn shop(&self) -> Option<(String, IpAddr)> {
        shop(self).map(|(address, name)| (name, address))
    }

    /// Certificate of the authority that the shop's certificate comes from.
    pub fn authority(&self) -> PathBuf {
        certificates(self).join("ca.pem")
    }
}

/// Starts all services and waits until each of them answers.
pub(super) fn start(lab: &Lab) -> Result<String> {
    let services: Vec<_> = lab.site.services().collect();
    let tasks: Vec<Task<'_>> = services
        .iter()
        .map(|(id, node, kind)| {
            let task: Task<'_> = Box::new(move || match kind {
                Kind::Haproxy(haproxy) => start_haproxy(lab, *id, node, haproxy),
                Kind::Peer(peer) => start_peer(lab, *id, node, peer),
                Kind::Postgresql(_) => postgres::start(lab, *id, node),
                Kind::OrderService(orders) => {
                    let database = lab.site.neighbour(*id, &orders.database);
                    let (_, database) = database.context("the database's instance is known")?;
                    start_orders(lab, *id, node, orders.port, database)
                }
            });
            task
        })
        .collect();
    lab.side_by_side(tasks)?;
    Ok(format!("{} in the instances", services.len()))
}

fn start_orders(lab: &Lab, id: InstanceId, node: &str, port: u16, database: IpAddr) -> Result<()> {
    lab.connect(node, SocketAddr::new(database, postgres::PORT))?;
    let address = SocketAddr::new(lab.site.topology.instance(id).ip, port);
    let argv = [
        binary("order-service")?,
        format!("--listen={address}"),
        format!("--database={}", postgres::conninfo(database)),
        format!("--cert-dir={}", certificates(lab).display()),
        format!("--name={}", lab.site.topology.instance(id).name),
    ];
    let process = lab.start(
        node,
        &name(node, "order-service"),
        argv.into(),
        Vec::new(),
        None,
    )?;
    listens(lab, node, &process, address)
}

fn start_peer(lab: &Lab, id: InstanceId, node: &str, peer: &Peer) -> Result<()> {
    let instance = lab.site.topology.instance(id);
    // One for each of its addresses.
    for (ip, what) in instance.ips().zip(["peer", "peer-too"]) {
        let tcp = SocketAddr::new(ip, peer.tcp);
        let argv = [
            binary("peer")?,
            format!("--tcp={tcp}"),
            format!("--udp={}", SocketAddr::new(ip, peer.udp)),
            format!("--name={}", instance.name),
        ];
        let process = lab.start(node, &name(node, what), argv.into(), Vec::new(), None)?;
        listens(lab, node, &process, tcp)?;
    }
    Ok(())
}

/// Waits until the process accepts connections at its address.
fn listens(lab: &Lab, node: &str, process: &Arc<Process>, at: SocketAddr) -> Result<()> {
    lab.wait(PATIENCE, &[process], || {
        lab.enter(node, || std::net::TcpStream::connect(at))?
            .map(drop)
            .with_context(|| format!("{} does not accept connections at {at}", process.name))
    })
}

fn start_haproxy(lab: &Lab, id: InstanceId, node: &str, haproxy: &Haproxy) -> Result<()> {
    let name = name(node, "haproxy");
    let socket = lab.directory().join(format!("{name}.sock"));
    let address = lab.site.topology.instance(id).ip;
    let mut text = format!(
        "global\n  maxconn 4000\n  nbthread 1\n  stats socket {} mode 600\n\
         defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 60s\n  timeout server 60s\n\
         frontend front\n  bind {address}:{}\n  default_backend servers\n\
         backend servers\n  balance roundrobin\n",
        socket.display(),
        haproxy.listen
    );
    for server in &haproxy.servers {
        let (_, ip) = lab
            .site
            .neighbour(id, server)
            .context("the server's instance is known")?;
        text.push_str(&format!(
            "  server {server} {ip}:{} check inter 200ms\n",
            haproxy.port
        ));
    }
    let file = lab.directory().join(format!("{name}.cfg"));
    fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    let argv = [
        "haproxy".to_owned(),
        "-db".to_owned(),
        "-f".to_owned(),
        file.display().to_string(),
    ];
    let process = lab.start(node, &name, argv.into(), Vec::new(), None)?;
    lab.wait(PATIENCE, &[&process], || {
        let down = servers_not_checked(&socket)?;
        if !down.is_empty() {
            bail!("{name}: servers are not up: {}", down.join(", "));
        }
        Ok(())
    })
}

/// Servers of a running HAProxy whose last health check did not connect.
fn servers_not_checked(socket: &Path) -> Result<Vec<String>> {
    let what = || format!("ask HAProxy at {}", socket.display());
    let mut stream = UnixStream::connect(socket).with_context(what)?;
    stream.write_all(b"show stat\n").with_context(what)?;
    let mut table = String::new();
    stream.read_to_string(&mut table).with_context(what)?;
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.trim_start_matches("# ").split(',').collect())
        .collect();
    let header = rows.first().with_context(what)?;
    let column = |name: &str| {
        header
            .iter()
            .position(|title| *title == name)
            .with_context(what)
    };
    let (server, check) = (column("svname")?, column("check_status")?);
    let servers = rows[1..].iter().filter(|row| row.len() > check.max(server));
    let servers = servers.filter(|row| !matches!(row[server], "FRONTEND" | "BACKEND"));
    // A server counts as up until its first check has failed: ask for the check.
    let down = servers.filter(|row| row[check] != "L4OK");
    Ok(down
        .map(|row| format!("{} ({})", row[server], row[check]))
        .collect())
}

/// Name of a process: the node's, and what it is there.
pub(super) fn name(node: &str, what: &str) -> String {
    format!("{}.{what}", node.replace('/', "."))
}
