//! `lingyun run`: the agent.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::{
    agent::{self, Settings},
    config::{self, Gateway, Report, Topology},
    datapath::Mode,
    netlink::Announcements,
    server, status,
};

/// Below it every node has a directory of its own.
const PIN_BASE: &str = "/sys/fs/bpf/lingyun";

/// Runs this machine's gateway until SIGTERM or SIGINT.
///
/// Reads the topology, attaches the XDP program to the node's interfaces, and
/// keeps its tables in line with routes, neighbours and links. While the node can
/// carry traffic, its public addresses are held as routes in a table of their own,
/// from which BIRD or FRR announces them; they are withdrawn first when it ends.
#[derive(clap::Args)]
pub struct Args {
    /// The site's topology file
    #[arg(long, value_name = "FILE")]
    topology: PathBuf,

    /// Which gateway of the file this machine is; not needed if there is only one
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Where the program runs: in the driver, or behind the kernel's receive path
    /// where the driver has no XDP
    #[arg(long, value_name = "MODE", value_enum, default_value = "native")]
    xdp_mode: XdpMode,

    /// Address for /metrics, /status, /healthz and /readyz, or `none`
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9477")]
    listen: Listen,

    /// Unix socket that `lingyun status` asks [default: /run/lingyun/NODE.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Directory for the program's links, on a BPF file system
    /// [default: /sys/fs/bpf/lingyun/NODE]
    #[arg(long, value_name = "PATH")]
    pin_dir: Option<PathBuf>,

    /// Routing table from which the router daemon announces public addresses
    #[arg(long, value_name = "N", default_value_t = 100)]
    announce_table: u32,

    /// Routing table from which it announces the shared tunnel endpoint
    #[arg(long, value_name = "N", default_value_t = 101)]
    announce_vtep_table: u32,

    /// Protocol number that marks the agent's own routes in these tables
    #[arg(long, value_name = "N", default_value_t = 99, value_parser = clap::value_parser!(u8).range(5..))]
    announce_protocol: u8,

    /// How long to go on carrying traffic after the addresses were withdrawn
    #[arg(long, value_name = "SECONDS", default_value_t = 2)]
    grace: u64,

    /// Check the topology, print the interfaces that the program would be attached
    /// to, one a line with the side it faces, and end
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum XdpMode {
    Native,
    Generic,
}

#[derive(Clone, Copy)]
struct Listen(Option<SocketAddr>);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        let address = text.parse();
        address.map(|address| Self(Some(address))).map_err(|_| {
            "write an IP address and a port such as 127.0.0.1:9477 or [::1]:9477, or `none`".into()
        })
    }
}

/// Runs the command.
pub fn run(arguments: &Args) -> Result<ExitCode> {
    init_log();
    let (text, topology) = match load(&arguments.topology) {
        Ok(loaded) => loaded,
        Err(report) => {
            anstream::eprint!("{}", report.pretty());
            return Ok(ExitCode::FAILURE);
        }
    };
    let settings = arguments.settings(text, topology)?;
    if arguments.dry_run {
        for name in status::interface_names(&settings.gateway) {
            println!("{name} {}", status::role(&settings.gateway, name));
        }
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the agent's threads")?;
    runtime.block_on(agent::run(settings))?;
    Ok(ExitCode::SUCCESS)
}

/// The file's text and the topology, its warnings already told.
fn load(path: &Path) -> Result<(String, Topology), Report> {
    let file = path.display().to_string();
    let text = config::read_text(path)?;
    let loaded = config::parse(&file, &text)?;
    anstream::eprint!("{}", config::pretty(&file, &text, &loaded.warnings));
    Ok((text, loaded.topology))
}

impl Args {
    fn settings(&self, text: String, topology: Topology) -> Result<Settings> {
        let gateway = choose(&topology, self.node.as_deref())?.clone();
        let default_pin_dir = || PathBuf::from(PIN_BASE).join(&gateway.name);
        Ok(Settings {
            mode: match self.xdp_mode {
                XdpMode::Native => Mode::Native,
                XdpMode::Generic => Mode::Generic,
            },
            listen: self.listen.0,
            socket: self
                .socket
                .clone()
                .unwrap_or_else(|| server::default_path(&gateway.name)),
            pin_dir: self.pin_dir.clone().unwrap_or_else(default_pin_dir),
            announcements: Announcements {
                public_table: self.announce_table,
                vtep_table: self.announce_vtep_table,
                protocol: self.announce_protocol,
            },
            grace: Duration::from_secs(self.grace),
            file: self.topology.clone(),
            text,
            topology,
            gateway,
        })
    }
}

/// The gateway that this machine is.
fn choose<'t>(topology: &'t Topology, node: Option<&str>) -> Result<&'t Gateway> {
    let names: Vec<_> = topology
        .gateways
        .iter()
        .map(|gateway| gateway.name.as_str())
        .collect();
    match (node, &topology.gateways[..]) {
        (None, [only]) => Ok(only),
        (None, _) => bail!(
            "which gateway is this machine? Add --node with one of {}",
            names.join(", ")
        ),
        (Some(name), _) => topology.gateway(name).with_context(|| {
            format!(
                "the topology has no gateway {name}: it has {}",
                names.join(", ")
            )
        }),
    }
}

/// A few lines on stderr. `RUST_LOG=debug` tells more.
fn init_log() {
    // The netlink crates warn of every message that they don't know.
    let filter = "info,netlink_proto=error,netlink_packet_route=error";
    let environment = env_logger::Env::default().default_filter_or(filter);
    env_logger::Builder::from_env(environment)
        .format_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(gateways: &[&str]) -> Topology {
        let gateway = |name: &&str| Gateway {
            name: (*name).into(),
            public: vec!["eth0".into()],
            public_vlans: vec![],
            underlay: vec!["eth1".into()],
            vtep: [10, 0, 0, 11].into(),
        };
        Topology {
            anycast_vtep: [10, 0, 0, 100].into(),
            underlay_mtu: 1600,
            peerings: vec![],
            udp_checksum: false,
            seed: [0; 2],
            icmp_errors_per_second: 1_000,
            tcp_mss: 0,
            gateways: gateways.iter().map(gateway).collect(),
            hosts: vec![],
            vpcs: vec![],
            load_balancers: vec![],
            guard: Default::default(),
            floating_ips: vec![],
            drain: config::Drain::default(),
            snat: Default::default(),
        }
    }

    #[test]
    fn the_only_gateway_needs_no_name() {
        assert_eq!(choose(&topology(&["gw1"]), None).unwrap().name, "gw1");
        let two = topology(&["gw1", "gw2"]);
        assert_eq!(choose(&two, Some("gw2")).unwrap().name, "gw2");
        let error = choose(&two, None).unwrap_err().to_string();
        assert!(error.contains("--node with one of gw1, gw2"), "{error}");
        let error = choose(&two, Some("gw3")).unwrap_err().to_string();
        assert!(error.contains("no gateway gw3: it has gw1, gw2"), "{error}");
    }

    #[test]
    fn listening_can_be_refused() {
        assert_eq!("none".parse::<Listen>().unwrap().0, None);
        assert_eq!("[::1]:80".parse::<Listen>().unwrap().0.unwrap().port(), 80);
        assert!("9477".parse::<Listen>().is_err());
    }
}
