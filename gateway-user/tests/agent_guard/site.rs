//! A client behind the border, a gateway, and a host with one instance that serves
//! HTTP: three namespaces, real kernels' TCP at both ends.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpListener},
    os::fd::AsRawFd,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    programs::{Xdp, XdpMode},
};
use gateway_common::{Program, Underlay};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
    },
};

use crate::{
    agent_site::OBJECT,
    netlink_lab::{Lab, Peer},
};

/// The service's public address; its port is 443.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// A client's address: any of 198.51.100.0/24.
pub(super) fn client(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, last)
}

/// Client, gateway (the test's own namespace) and host.
pub(super) struct Net<'l> {
    lab: &'l Lab,
    host: Peer,
    _receives: Ebpf,
}

impl<'l> Net<'l> {
    /// Links, addresses, routes, and the instance's server.
    pub(super) fn new(lab: &'l Lab) -> Self {
        let host = Peer::new();
        lab.ip("link set lo up");
        lab.link("eth0", "192.0.2.10/30", "192.0.2.9/30");
        lab.link_to(&host, "eth1", "10.0.11.2/30", "10.0.11.1/30");
        lab.ip("route add default via 192.0.2.9");
        lab.ip("route add 10.0.1.0/24 via 10.0.11.1");

        lab.peer_ip("link set lo up");
        lab.peer_ip("address add 198.51.100.0/24 dev lo");
        lab.peer_ip("route add 203.0.113.0/24 via 192.0.2.10");

        host.ip("link set lo up");
        host.ip("address add 10.0.1.1/32 dev lo");
        host.ip("route add 10.0.0.0/24 via 10.0.11.2");
        host.ip("link add vm type vxlan id 5001 local 10.0.1.1 remote 10.0.0.100 dstport 4789");
        host.ip("link set vm address 02:aa:00:00:01:11 mtu 1400 up");
        host.ip("address add 172.16.1.11/24 dev vm");
        host.ip("route add default via 172.16.1.1");
        // What XDP sees must be whole: no checksum is left to a card. A veth takes
        // redirected frames only while it polls, as it does for GRO.
        for (peer, interface) in [(lab.peer.command("ethtool"), "eth0")]
            .into_iter()
            .chain(["eth1", "vm"].map(|name| (host.command("ethtool"), name)))
        {
            let mut ethtool = peer;
            ethtool.args(["-K", interface, "tx", "off", "gro", "on"]);
            let output = ethtool.output().expect("ethtool");
            assert!(output.status.success(), "{ethtool:?}: {output:?}");
        }
        let receives = receives(&lab.peer);
        let net = Self {
            lab,
            host,
            _receives: receives,
        };
        net.serve();
        net
    }

    /// A server in the instance, one thread: an answer to each connection.
    fn serve(&self) {
        let (ready, bound) = std::sync::mpsc::channel();
        let namespace = namespace(&self.host);
        thread::spawn(move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("the host's namespace");
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 443)).expect("a port");
            ready.send(()).expect("the test waits");
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let timeout = Some(Duration::from_secs(1));
                stream.set_read_timeout(timeout).expect("a time");
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n");
            }
        });
        bound.recv().expect("the server listens");
    }

    /// curl from an address, at most so many seconds; and how long it took.
    pub(super) fn curl(&self, from: Ipv4Addr, seconds: u32) -> (bool, Duration) {
        let start = Instant::now();
        let Output { status, stdout, .. } = self
            .curl_command(from, seconds)
            .output()
            .expect("curl runs");
        (status.success() && stdout == b"ok\n", start.elapsed())
    }

    fn curl_command(&self, from: Ipv4Addr, seconds: u32) -> Command {
        let mut curl = self.lab.peer.command("curl");
        curl.args(["-s", "--noproxy", "*", "--interface", &from.to_string()])
            .args(["--max-time", &seconds.to_string()])
            .arg(format!("http://{VIP}:443/"));
        curl
    }

    /// Frames that came out of the tunnel to the instance.
    pub(super) fn frames_at_instance(&self) -> u64 {
        let output = self.host.command("cat").arg("/proc/net/dev").output();
        let text = String::from_utf8(output.expect("a file").stdout).expect("text");
        let line = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("vm:"));
        let packets = line.expect("the device").split_whitespace().nth(1);
        packets.expect("packets").parse().expect("a number")
    }

    /// Sends SYNs to the service, each from another made-up source, and returns how
    /// many and how long it took.
    pub(super) fn flood(&self, for_seconds: f64, in_second: u32) -> (u64, f64) {
        let namespace = namespace(&self.lab.peer);
        let pause = Duration::from_secs_f64(1.0 / f64::from(in_second));
        let flood = move || {
            setns(namespace, CloneFlags::CLONE_NEWNET).expect("the client's namespace");
            let raw = socket(
                AddressFamily::Inet,
                SockType::Raw,
                SockFlag::empty(),
                SockProtocol::Raw,
            );
            let raw = raw.expect("a raw socket");
            let to = SockaddrIn::from(SocketAddrV4::new(VIP, 0));
            let (start, mut sent) = (Instant::now(), 0_u32);
            while start.elapsed().as_secs_f64() < for_seconds {
                let source = Ipv4Addr::from(0x0b00_0000 | sent.wrapping_mul(2_654_435_761) >> 8);
                let segment = syn(source, VIP, 443, sent);
                sendto(raw.as_raw_fd(), &segment, &to, MsgFlags::empty()).expect("sent");
                sent += 1;
                thread::sleep((pause * sent).saturating_sub(start.elapsed()));
            }
            (u64::from(sent), start.elapsed().as_secs_f64())
        };
        thread::spawn(flood).join().expect("the flood ends")
    }
}

/// A namespace, for a thread that goes there.
fn namespace(peer: &Peer) -> File {
    let path = format!("/proc/{}/ns/net", peer.pid());
    File::open(path).expect("the process is there")
}

/// Gives the client's interface an XDP program that passes everything: a veth hands
/// over what XDP sends back (XDP_TX) only if there is a program at its other end.
fn receives(client: &Peer) -> Ebpf {
    let namespace = namespace(client);
    let attach = move || {
        setns(namespace, CloneFlags::CLONE_NEWNET).expect("the client's namespace");
        let mut object = Ebpf::load_file(OBJECT).expect("the XDP object");
        let name = Program::CLOCK.name(Underlay::V4);
        let program: &mut Xdp = object
            .program_mut(name)
            .expect("passes every frame")
            .try_into()
            .expect("an XDP program");
        program.load().expect("loaded");
        program.attach("eth0", XdpMode::Driver).expect("attached");
        object
    };
    thread::spawn(attach).join().expect("the client receives")
}

/// An IPv4 packet with a SYN. The kernel fills in length and checksum of the IP header.
fn syn(source: Ipv4Addr, destination: Ipv4Addr, port: u16, number: u32) -> Vec<u8> {
    let mut tcp = Vec::new();
    tcp.extend((1024 + number as u16 % 60_000).to_be_bytes());
    tcp.extend(port.to_be_bytes());
    tcp.extend(number.to_be_bytes());
    tcp.extend([0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    let pseudo = [source.octets(), destination.octets(), [0, 6, 0, 20]].concat();
    let words = [pseudo, tcp.clone()].concat();
    let words = words
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0];
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(tcp);
    packet
}
