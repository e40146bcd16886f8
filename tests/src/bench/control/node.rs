//! The node that the agent runs on: a network namespace with two veths, whose other
//! ends stand for the border router and the fabric.

use std::{io, net::Ipv4Addr, process::Command};

use anyhow::{Context, Result, ensure};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, unshare},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::site::LISTEN;
use crate::{
    capture::address,
    lab::{Offload, set_offload},
    packet::{self, Mac},
};

/// The ends that are not the gateway's.
const BORDER: &str = "border";
const FABRIC: &str = "fabric";

/// The gateway's public device, and the router beside it.
const PUBLIC_MAC: Mac = [0x02, 0, 0, 0, 0, 0x10];
const BORDER_MAC: Mac = [0x02, 0, 0, 0, 0, 0x09];

/// One command of `ip` each. Neighbours are known, since nobody would answer for them.
const SET_UP: [&str; 12] = [
    "link set lo up",
    "link add public address 02:00:00:00:00:10 type veth peer name border",
    "link add underlay mtu 1600 type veth peer name fabric mtu 1600",
    "link set border up",
    "link set public up",
    "link set fabric up",
    "link set underlay up",
    "address add 192.0.2.10/30 dev public",
    "address add 10.0.11.2/30 dev underlay",
    "neighbour add 192.0.2.9 lladdr 02:00:00:00:00:09 dev public nud permanent",
    "neighbour add 10.0.11.1 lladdr 02:00:00:00:00:01 dev underlay nud permanent",
    "route add default via 192.0.2.9",
];

/// A namespace that goes with this process.
pub(super) struct Node {
    border: Socket,
    fabric: Socket,
    buffer: Vec<u8>,
}

impl Node {
    /// Moves the calling thread, and what it starts from now on, into the namespace.
    pub(super) fn new() -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        for command in SET_UP {
            ip(command)?;
        }
        ip("route add 10.0.16.0/20 via 10.0.11.1")?;
        // A veth takes redirected frames only if its other end has NAPI on.
        for end in [BORDER, FABRIC] {
            set_offload(end, Offload::GenericReceive, true)?;
        }
        Ok(Self {
            border: socket(BORDER)?,
            fabric: socket(FABRIC)?,
            buffer: vec![0; 2_048],
        })
    }

    /// Sends a client's SYN to a service.
    pub(super) fn send(&self, vip: Ipv4Addr) -> Result<()> {
        let client = Ipv4Addr::new(192, 0, 2, 9);
        let frame = packet::eth(BORDER_MAC, PUBLIC_MAC).ipv4(client, vip);
        let frame = frame.tcp(40_000, LISTEN).bytes();
        self.border.send(&frame).context("send a frame")?;
        Ok(())
    }

    /// Whether a tunnelled frame came out of the gateway since this was last asked.
    pub(super) fn arrived(&mut self) -> Result<bool> {
        /// VXLAN's port (RFC 7348, section 5), where Ethernet, IPv4 and UDP put it.
        const PORT: u16 = 4_789;
        const PORT_AT: usize = 14 + 20 + 2;
        loop {
            match io::Read::read(&mut &self.fabric, &mut self.buffer) {
                Ok(length) => {
                    let port = self.buffer[..length].get(PORT_AT..PORT_AT + 2);
                    if port == Some(&PORT.to_be_bytes()) {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("look for frames"),
            }
        }
    }
}

/// Sees and sends whole frames of a device.
fn socket(device: &str) -> Result<Socket> {
    /// ETH_P_ALL of linux/if_ether.h.
    const ALL: u16 = 3;
    let open = || {
        let protocol = Protocol::from(i32::from(ALL.to_be()));
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol))?;
        socket.bind(&address(if_nametoindex(device)?)?)?;
        socket.set_nonblocking(true)?;
        anyhow::Ok(socket)
    };
    open().with_context(|| format!("open a packet socket on {device}"))
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.context("cannot run `ip`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {arguments}: {}", said.trim());
    Ok(())
}
