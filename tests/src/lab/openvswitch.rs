//! Open vSwitch with its userspace datapath: two bridges, as on a hypervisor. One
//! has the uplink and the tunnel endpoint's address, the other the instances and
//! a VXLAN port; flows say where each frame goes, by tunnel key.

use std::{
    fmt::Write as _,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use lingyun::config::{InstanceId, Vpc};

use super::{
    names::{RunId, mac},
    running::Lab,
    tool,
    up::PATIENCE,
};

/// The bridge of the instances.
const INSIDE: &str = "br-int";

/// The bridge of the uplink; its own interface is the tunnel endpoint.
const OUTSIDE: &str = "br-phy";

/// OpenFlow number of the VXLAN port; instances count from one.
const VXLAN_PORT: usize = 10_000;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

impl Lab {
    /// Starts a host's Open vSwitch.
    pub(super) fn start_openvswitch(&self, host: usize) -> Result<String> {
        let name = &self.site.topology.hosts[host].name;
        let directory = self.directory().join(format!("{name}.openvswitch"));
        fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
        let run = self.run().clone();
        let switch = Switch { run, directory };
        switch.tool(&["ovsdb-tool", "create", &switch.file("conf.db"), SCHEMA])?;
        let start = |program: &str, arguments: Vec<String>| {
            let mut argv = vec![program.to_owned()];
            argv.extend(arguments);
            self.start(
                name,
                &format!("{name}.{program}"),
                argv,
                switch.environment(),
                None,
            )
        };
        let socket = switch.file("db.sock");
        let database = start(
            "ovsdb-server",
            vec![
                switch.file("conf.db"),
                format!("--remote=punix:{socket}"),
                format!("--unixctl={}", switch.file("db.ctl")),
            ],
        )?;
        let connected = || switch.vsctl(&["--no-wait", "init"]);
        self.wait(PATIENCE, &[&database], connected)?;
        let daemon = start(
            "ovs-vswitchd",
            vec![
                format!("unix:{socket}"),
                format!("--unixctl={}", switch.file("switch.ctl")),
            ],
        )?;
        let words = self.switch_ports(host);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        switch.vsctl(&words)?;
        self.give_endpoint(host)?;
        let flows = self.directory().join(format!("{name}.flows"));
        fs::write(&flows, self.flows(host)?)
            .with_context(|| format!("write {}", flows.display()))?;
        let management = format!("unix:{}", switch.file(&format!("{INSIDE}.mgmt")));
        let flows = flows.to_string_lossy().into_owned();
        self.wait(PATIENCE, &[&daemon], || {
            switch.tool(&["ovs-ofctl", "add-flows", &management, &flows])
        })?;
        Ok("Open vSwitch".to_owned())
    }

    /// One transaction for ovs-vsctl: both bridges and their ports.
    fn switch_ports(&self, host: usize) -> Vec<String> {
        let host = &self.site.topology.hosts[host];
        let (uplink, _) = self.site.uplink(&host.name);
        let address = mac(&host.name, uplink);
        let mtu = self.uplink_mtu(&host.name);
        let mut text = format!(
            "--timeout=15 \
             -- add-br {OUTSIDE} -- set bridge {OUTSIDE} datapath_type=netdev \
                other-config:hwaddr=\"{address}\" \
             -- set interface {OUTSIDE} mtu_request={mtu} \
             -- add-port {OUTSIDE} {uplink} \
             -- add-br {INSIDE} -- set bridge {INSIDE} datapath_type=netdev fail_mode=secure \
             -- add-port {INSIDE} vxlan -- set interface vxlan type=vxlan \
                options:remote_ip=flow options:key=flow options:local_ip=\"{}\" \
                ofport_request={VXLAN_PORT}",
            host.vtep
        );
        for (number, (_, port)) in self.ports_of(&host.name).into_iter().enumerate() {
            write!(
                text,
                " -- add-port {INSIDE} {port} -- set interface {port} ofport_request={}",
                number + 1
            )
            .expect("writing into a string does not fail");
        }
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Gives the tunnel endpoint's addresses to the outer bridge. The kernel sees the
    /// uplink's frames too: with a MAC of its own and without ARP, it leaves them alone.
    fn give_endpoint(&self, host: usize) -> Result<()> {
        let host = &self.site.topology.hosts[host];
        let (uplink, routers) = self.site.uplink(&host.name);
        let mut devices = self.plan.devices_of(&host.name);
        let device = devices.find(|device| device.interface == uplink);
        let device = device.with_context(|| format!("{}:{uplink} is not planned", host.name))?;
        let mut commands = vec![format!(
            "link set dev {uplink} address {} arp off",
            mac(&host.name, "port")
        )];
        let addresses = device.addresses.iter();
        commands.extend(addresses.map(|address| format!("address add {address} dev {OUTSIDE}")));
        commands.push(format!("link set dev {OUTSIDE} up"));
        let routes = routers.iter();
        commands.extend(routes.map(|to| format!("route add default via {to} dev {OUTSIDE}")));
        tool::batch(
            self.run(),
            &["ip", "-n", &self.namespace(&host.name), "-batch", "-"],
            &commands,
        )
    }

    fn uplink_mtu(&self, host: &str) -> u32 {
        let (uplink, _) = self.site.uplink(host);
        let mut devices = self.plan.devices_of(host);
        devices
            .find(|device| device.interface == uplink)
            .map_or(1500, |device| device.mtu)
    }

    /// The instances of a host with their ports, in the order of the topology.
    fn ports_of(&self, host: &str) -> Vec<(InstanceId, &str)> {
        let topology = &self.site.topology;
        let own = topology
            .instances()
            .filter(|(_, vm)| topology.hosts[vm.host].name == host);
        own.map(|(id, _)| (id, self.plan.port(id))).collect()
    }

    /// Flows: table 0 tells tenants apart and where a frame comes from, table 1
    /// sends what instances send, table 2 delivers what comes out of a tunnel.
    fn flows(&self, host: usize) -> Result<String> {
        let topology = &self.site.topology;
        let name = &topology.hosts[host].name;
        let ports = self.ports_of(name);
        let number = |id: InstanceId| {
            let place = ports.iter().position(|(known, _)| *known == id);
            place
                .map(|place| place + 1)
                .with_context(|| format!("{id:?} is not on {name}"))
        };
        let mut text = format!("table=0,in_port={VXLAN_PORT},actions=resubmit(,2)\n");
        let mut add = |flow: String| {
            text.push_str(&flow);
            text.push('\n');
        };
        for (vpc, network) in topology.vpcs.iter().enumerate() {
            let Vpc {
                vni,
                router_mac,
                subnets,
                instances,
                ..
            } = network;
            let tunnel = |to: IpAddr| {
                let field = if to.is_ipv4() {
                    "tun_dst"
                } else {
                    "tun_ipv6_dst"
                };
                format!("set_field:{to}->{field},output:{VXLAN_PORT}")
            };
            let gateways = tunnel(topology.anycast_vtep);
            add(format!(
                "table=1,tun_id={vni},dl_dst={router_mac},actions={gateways}"
            ));
            for subnet in subnets {
                let asks = question(subnet.router);
                add(format!(
                    "table=1,tun_id={vni},{asks},priority=40000,actions={gateways}"
                ));
            }
            for (instance, vm) in instances.iter().enumerate() {
                let mac = vm.mac;
                let mut deliver = |table: u8, action: &str| {
                    add(format!(
                        "table={table},tun_id={vni},dl_dst={mac},actions={action}"
                    ));
                    for asks in vm.ips().map(question) {
                        add(format!(
                            "table={table},tun_id={vni},{asks},priority=40000,actions={action}"
                        ));
                    }
                };
                if vm.host != host {
                    deliver(1, &tunnel(topology.hosts[vm.host].vtep));
                    continue;
                }
                let port = number(InstanceId { vpc, instance })?;
                deliver(1, &format!("output:{port}"));
                deliver(2, &format!("output:{port}"));
                add(format!(
                    "table=0,in_port={port},dl_src={mac},actions=set_field:{vni}->tun_id,resubmit(,1)"
                ));
            }
        }
        Ok(text)
    }
}

/// What matches a question for the MAC of an address: ARP or a neighbour solicitation.
fn question(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("arp,arp_op=1,arp_tpa={ip}"),
        IpAddr::V6(ip) => format!("icmp6,icmp_type=135,nd_target={ip}"),
    }
}

/// One Open vSwitch among several on this machine.
struct Switch {
    run: RunId,
    directory: PathBuf,
}

impl Switch {
    fn file(&self, name: &str) -> String {
        Path::new(&self.directory)
            .join(name)
            .to_string_lossy()
            .into_owned()
    }

    /// Its own directories instead of the machine's.
    fn environment(&self) -> Vec<(String, String)> {
        let directory = self.directory.to_string_lossy().into_owned();
        ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"]
            .map(|name| (name.to_owned(), directory.clone()))
            .into()
    }

    fn vsctl(&self, words: &[&str]) -> Result<()> {
        let database = format!("--db=unix:{}", self.file("db.sock"));
        let mut argv = vec!["ovs-vsctl", &database];
        argv.extend(words);
        self.tool(&argv)
    }

    fn tool(&self, argv: &[&str]) -> Result<()> {
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).envs(self.environment());
        tool::run(&self.run, &mut command, b"")
    }
}
