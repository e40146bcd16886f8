//! Open vSwitch with its userspace datapath, as the lab's hypervisors have it.

use std::sync::Arc;

use anyhow::{Context, Result};
use lingyun::config::Mac;

use super::{
    lane::{Middle, PUBLIC, UNDERLAY},
    other_processor,
};
use crate::{
    cases::site::{
        ANYCAST, HOST_A, HOST_B, ROUTER_MAC, SHOP, SPINE_MAC, UNDERLAY_MAC, VIP, WEB_1, mac_of,
    },
    lab::{Process, Stand},
};

/// The bridge of the public side and of the tunnel, and that of the underlay.
const INSIDE: &str = "br-int";
const OUTSIDE: &str = "br-phy";

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// One backend, which is least work: every flow has the same actions.
pub(super) fn set_up(stand: &Stand, node: &str) -> Result<Middle> {
    let switch = Switch { stand, node };
    switch.start()?;
    switch.ports()?;
    switch.underlay()?;
    switch.flows()?;
    Ok(Middle::Others)
}

struct Switch<'a> {
    stand: &'a Stand,
    node: &'a str,
}

impl Switch<'_> {
    fn file(&self, name: &str) -> String {
        let path = self.stand.directory().join(name);
        path.to_string_lossy().into_owned()
    }

    /// Its own directories instead of the machine's.
    fn environment(&self) -> Vec<(String, String)> {
        let directory = self.stand.directory().to_string_lossy().into_owned();
        ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"]
            .map(|name| (name.to_owned(), directory.clone()))
            .into()
    }

    fn tool(&self, argv: &[&str]) -> Result<()> {
        self.stand.tool(argv, &self.environment(), "")
    }

    fn vsctl(&self, words: &str) -> Result<()> {
        let database = format!("--db=unix:{}", self.file("db.sock"));
        let mut argv = vec!["ovs-vsctl", &database, "--timeout=60"];
        argv.extend(words.split_whitespace());
        self.tool(&argv)
    }

    /// Its threads have the other processor for themselves: the source, which XDP and
    /// the kernel share theirs with, would starve them.
    fn start(&self) -> Result<()> {
        let database = self.file("conf.db");
        self.tool(&["ovsdb-tool", "create", &database, SCHEMA])?;
        let start = |name: &str, argv: &[&str]| -> Result<Arc<Process>> {
            self.stand.start(self.node, name, argv, self.environment())
        };
        let socket = self.file("db.sock");
        let remote = format!("--remote=punix:{socket}");
        let control = format!("--unixctl={}", self.file("db.ctl"));
        let server = start("ovsdb", &["ovsdb-server", &database, &remote, &control])
            .context("Open vSwitch's packages are openvswitch-switch and openvswitch-common")?;
        self.stand.wait(&server, || self.vsctl("--no-wait init"))?;
        let processor = other_processor().to_string();
        let (socket, control) = (
            format!("unix:{socket}"),
            format!("--unixctl={}", self.file("switch.ctl")),
        );
        let argv = [
            "taskset",
            "-c",
            &processor,
            "ovs-vswitchd",
            &socket,
            &control,
        ];
        start("vswitchd", &argv)?;
        Ok(())
    }

    fn ports(&self) -> Result<()> {
        self.vsctl(&format!(
            "-- add-br {OUTSIDE} -- set bridge {OUTSIDE} datapath_type=netdev \
                other-config:hwaddr=\"{}\" \
             -- set interface {OUTSIDE} mtu_request=1600 \
             -- add-port {OUTSIDE} {UNDERLAY} \
             -- add-br {INSIDE} -- set bridge {INSIDE} datapath_type=netdev fail_mode=secure \
             -- add-port {INSIDE} {PUBLIC} -- set interface {PUBLIC} ofport_request=1 \
             -- add-port {INSIDE} vxlan -- set interface vxlan type=vxlan \
                options:remote_ip=flow options:key=flow options:local_ip={ANYCAST} \
                ofport_request=2",
            Mac(UNDERLAY_MAC)
        ))
    }

    /// The tunnel endpoint's address is at the outer bridge; the kernel, which sees the
    /// device's frames too, has another MAC and stays out of it.
    fn underlay(&self) -> Result<()> {
        let spine = Mac(SPINE_MAC);
        self.stand.ip_in(
            self.node,
            &[
                format!("link set dev {UNDERLAY} address 02:00:00:00:09:09 arp off"),
                format!("address add {ANYCAST}/32 dev {OUTSIDE}"),
                format!("address add 10.0.11.2/30 dev {OUTSIDE}"),
                format!("link set dev {OUTSIDE} up"),
                format!("neighbour add 10.0.11.1 lladdr {spine} dev {OUTSIDE}"),
                format!("route add {HOST_A}/32 via 10.0.11.1 dev {OUTSIDE}"),
                format!("route add {HOST_B}/32 via 10.0.11.1 dev {OUTSIDE}"),
            ],
        )?;
        self.stand.poll(self.node, PUBLIC)?;
        let control = self.file("switch.ctl");
        let spine = spine.to_string();
        let words = ["tnl/neigh/set", OUTSIDE, "10.0.11.1", &spine];
        self.tool(&[&["ovs-appctl", "-t", &control][..], &words].concat())
    }

    fn flows(&self) -> Result<()> {
        let (mac, router) = (Mac(mac_of(SHOP, WEB_1)), Mac(ROUTER_MAC));
        let flow = format!(
            "in_port=1,tcp,nw_dst={VIP},tp_dst=443,\
             actions=mod_nw_dst:{WEB_1},mod_tp_dst:8443,dec_ttl,mod_dl_src:{router},\
             mod_dl_dst:{mac},set_field:{SHOP}->tun_id,set_field:{HOST_A}->tun_dst,output:2"
        );
        let management = format!("unix:{}", self.file(&format!("{INSIDE}.mgmt")));
        self.tool(&["ovs-ofctl", "add-flow", &management, &flow])
    }
}
