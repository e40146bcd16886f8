//! The kernel's notifications: a socket of its own, so that a flood of them never
//! delays the answers to our questions.

use std::io;

use anyhow::{Context, Result};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE},
};

/// Everything that can change how a packet leaves the node.
const GROUPS: [MulticastGroup; 9] = [
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Nexthop,
];

/// Holds some thousand notifications; more than that is an overrun, which costs
/// one full re-read and nothing else.
const RECEIVE_BUFFER: i32 = 1 << 20;

/// More than the kernel puts into one datagram.
const DATAGRAM: usize = 64 << 10;

/// RTM_NEWNEXTHOP, RTM_DELNEXTHOP (linux/rtnetlink.h); the crate has no type for
/// them, and all that matters is that one changed.
const NEXTHOP: std::ops::RangeInclusive<u16> = 104..=105;

/// One notification.
#[derive(Debug)]
pub(super) enum Event {
    /// A message of a kind that says what changed.
    Message(Box<RouteNetlinkMessage>),
    /// A next-hop object changed: any route may be another one now.
    NextHop,
    /// The kernel had to throw notifications away: nothing known is certain.
    Overrun,
}

/// A socket that hears of changes.
pub(super) struct Events {
    socket: TokioSocket,
    buffer: Vec<u8>,
}

impl Events {
    /// Subscribes in the network namespace of the calling thread.
    pub(super) fn subscribe() -> Result<Self> {
        let open = || -> io::Result<_> {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            let inner = socket.socket_mut();
            inner.set_rx_buf_sz(RECEIVE_BUFFER)?;
            inner.bind(&SocketAddr::new(0, 0))?;
            for group in GROUPS {
                inner.add_membership(group as u32)?;
            }
            Ok(socket)
        };
        let socket = open().context("cannot subscribe to the kernel's network notifications")?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(DATAGRAM),
        })
    }

    /// Waits for the next datagram. Cancel-safe: what was not returned stays in
    /// the socket.
    pub(super) async fn next(&mut self) -> Result<Vec<Event>> {
        self.buffer.clear();
        match self.socket.recv(&mut self.buffer).await {
            Ok(()) => Ok(decode(&self.buffer)),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                Ok(vec![Event::Overrun])
            }
            Err(error) => Err(error).context("cannot read the kernel's network notifications"),
        }
    }
}

/// Splits a datagram. A message that cannot be read counts as an overrun: it said
/// that something changed, and we do not know what.
fn decode(mut datagram: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while let Ok(header) = NetlinkBuffer::new_checked(datagram) {
        let (kind, length) = (header.message_type(), header.length() as usize);
        events.push(match NetlinkMessage::deserialize(&datagram[..length]) {
            _ if NEXTHOP.contains(&kind) => Event::NextHop,
            Ok(NetlinkMessage {
                payload: NetlinkPayload::InnerMessage(message),
                ..
            }) => Event::Message(Box::new(message)),
            _ => Event::Overrun,
        });
        // Messages start on multiples of 4 bytes.
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    events
}
