//! Questions to the kernel, and the two things we ask of it: keep a neighbour
//! fresh, hold a route.

use std::{collections::BTreeMap, net::IpAddr, sync::Once, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use nix::errno::Errno;
use rtnetlink::{
    Error, Handle, new_connection_with_strict_check,
    packet_route::{
        AddressFamily,
        neighbour::{NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage},
    },
};
use tokio::{task::JoinHandle, time::timeout};

use super::{
    messages,
    picture::{Hop, Link, Neighbour, NeighbourKey, Route, Wanted},
};

/// An answer takes microseconds; one that does not come was lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// Look-ups under way at once: enough to hide the latency of each, few enough
/// that the answers fit into the socket's buffer.
const LOOKUPS: usize = 32;

/// A connection for questions. Strict checking makes the kernel honour the filters
/// that dumps carry, so a full BGP table is not copied to find a handful of routes.
pub(super) struct Kernel {
    handle: Handle,
    connection: JoinHandle<()>,
}

impl Kernel {
    /// Connects in the network namespace of the calling thread.
    pub(super) fn connect() -> Result<Self> {
        let (connection, handle, _) = new_connection_with_strict_check()
            .context("cannot open a netlink socket (Lingyun needs Linux 5.0 or later)")?;
        Ok(Self {
            handle,
            connection: tokio::spawn(connection),
        })
    }

    /// The node's interfaces, and the public network's VLANs on them.
    pub(super) async fn links(&self, wanted: &Wanted) -> Result<BTreeMap<u32, Link>> {
        let messages = collect(self.handle.link().get().execute()).await;
        let links = messages.context("cannot read the interfaces")?;
        let all: BTreeMap<u32, Link> = links.iter().filter_map(messages::link).collect();
        let ours = |link: &Link| wanted.has_interface(&link.name) || wanted.has_vlan(link, &all);
        let links = all.iter().filter(|(_, link)| ours(link));
        Ok(links.map(|(index, link)| (*index, link.clone())).collect())
    }

    /// Addresses of these interfaces that reach beyond the link.
    pub(super) async fn addresses(
        &self,
        links: &BTreeMap<u32, Link>,
    ) -> Result<BTreeMap<u32, Vec<IpAddr>>> {
        let messages = collect(self.handle.address().get().execute()).await;
        let messages = messages.context("cannot read the interfaces' addresses")?;
        let mut addresses: BTreeMap<u32, Vec<IpAddr>> = BTreeMap::new();
        for (ifindex, address) in messages.iter().filter_map(messages::address) {
            if links.contains_key(&ifindex) {
                addresses.entry(ifindex).or_default().push(address);
            }
        }
        Ok(addresses)
    }

    /// Neighbour entries on these interfaces.
    pub(super) async fn neighbours(
        &self,
        links: &BTreeMap<u32, Link>,
    ) -> Result<BTreeMap<NeighbourKey, Neighbour>> {
        let messages = collect(self.handle.neighbours().get().execute()).await;
        let neighbours = messages.context("cannot read the neighbour table")?;
        let neighbours = neighbours.iter().filter_map(messages::neighbour);
        Ok(neighbours
            .filter(|((ifindex, _), _)| links.contains_key(ifindex))
            .collect())
    }

    /// How the kernel would reach each endpoint.
    pub(super) async fn endpoints(&self, wanted: &Wanted) -> Result<BTreeMap<IpAddr, Vec<Hop>>> {
        let lookups: Vec<_> = wanted.endpoints.iter().map(|ip| self.lookup(*ip)).collect();
        stream::iter(lookups)
            .buffer_unordered(LOOKUPS)
            .try_collect()
            .await
    }

    /// The kernel's own longest-prefix match: it knows of rules, tables, metrics
    /// and next-hop objects, and costs the same whatever the number of routes.
    /// RTM_F_FIB_MATCH returns the route with all its ways, not the one way that
    /// some flow would take.
    async fn lookup(&self, endpoint: IpAddr) -> Result<(IpAddr, Vec<Hop>)> {
        let mut question = RouteMessage::default();
        question.header.flags = RouteFlags::FibMatch;
        (
            question.header.address_family,
            question.header.destination_prefix_length,
        ) = family(endpoint);
        question
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::from(endpoint)));
        match collect(self.handle.route().get(question).execute()).await {
            Ok(routes) => {
                routes.iter().for_each(warn_if_opaque);
                let unicast = routes
                    .iter()
                    .filter(|route| messages::route(route).is_some());
                Ok((endpoint, unicast.flat_map(messages::hops).collect()))
            }
            // No route, or one that says "unreachable", "prohibit", "blackhole".
            Err(Failure::Kernel(
                Errno::ENETUNREACH | Errno::EHOSTUNREACH | Errno::EACCES | Errno::EINVAL,
            )) => Ok((endpoint, Vec::new())),
            Err(error) => {
                Err(anyhow!(error).context(format!("no answer on how to reach {endpoint}")))
            }
        }
    }

    /// Routes of the main table out of the node's public interfaces.
    pub(super) async fn outward(
        &self,
        wanted: &Wanted,
        links: &BTreeMap<u32, Link>,
    ) -> Result<Vec<Route>> {
        let mut routes = Vec::new();
        let families = [
            (wanted.outward_v4, AddressFamily::Inet),
            (wanted.outward_v6, AddressFamily::Inet6),
        ];
        let families = families
            .into_iter()
            .filter_map(|(wanted, family)| wanted.then_some(family));
        let public = links
            .iter()
            .filter(|(_, link)| wanted.is_public(link, links));
        let public: Vec<u32> = public.map(|(index, _)| *index).collect();
        for family in families {
            for ifindex in &public {
                let mut question = RouteMessage::default();
                question.header.address_family = family;
                question.header.table = RouteHeader::RT_TABLE_MAIN;
                question.attributes.push(RouteAttribute::Oif(*ifindex));
                let found = collect(self.handle.route().get(question).execute()).await;
                let found = found.context("cannot read the routing table")?;
                found.iter().for_each(warn_if_opaque);
                for route in found.iter().filter_map(messages::route) {
                    // A multipath route shows up once for each of its interfaces.
                    if !routes.contains(&route) {
                        routes.push(route);
                    }
                }
            }
        }
        Ok(routes)
    }

    /// Makes the kernel resolve a neighbour and, from Linux 5.16 on, keep it
    /// resolved by itself. Older kernels ignore the second half.
    pub(super) async fn manage(&self, neighbour: NeighbourKey) -> Result<()> {
        self.touch(neighbour, true).await
    }

    /// Takes the entry out of the kernel's care; it ages like any other.
    pub(super) async fn release(&self, neighbour: NeighbourKey) -> Result<()> {
        self.touch(neighbour, false).await
    }

    async fn touch(&self, (ifindex, address): NeighbourKey, managed: bool) -> Result<()> {
        let mut request = self.handle.neighbours().add(ifindex, address).replace();
        let message = request.message_mut();
        message.header.state = NeighbourState::None;
        message.header.flags = NeighbourFlags::Use;
        if managed {
            message
                .attributes
                .push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        let result = answer(request.execute()).await;
        result.with_context(|| format!("cannot resolve {address}"))
    }

    /// Routes of one table that carry a protocol number.
    pub(super) async fn owned_routes(&self, table: u32, protocol: u8) -> Result<Vec<RouteMessage>> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut question = RouteMessage::default();
            question.header.address_family = family;
            question.header.protocol = protocol.into();
            question.attributes.push(RouteAttribute::Table(table));
            match collect(self.handle.route().get(question).execute()).await {
                Ok(found) => routes.extend(found),
                // The table does not exist yet.
                Err(Failure::Kernel(Errno::ENOENT)) => {}
                // This kernel has no IPv6.
                Err(Failure::Kernel(Errno::EOPNOTSUPP)) if family == AddressFamily::Inet6 => {}
                Err(error) => bail!("cannot read routing table {table}: {error}"),
            }
        }
        Ok(routes)
    }

    /// Adds a route; one that is there already is left alone.
    pub(super) async fn add_route(&self, route: RouteMessage) -> Result<(), Failure> {
        answer(self.handle.route().add(route).execute()).await
    }

    /// Removes a route.
    pub(super) async fn remove_route(&self, route: RouteMessage) -> Result<(), Failure> {
        answer(self.handle.route().del(route).execute()).await
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Address family and length of a prefix that holds just this address.
pub(super) fn family(address: IpAddr) -> (AddressFamily, u8) {
    match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    }
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The kernel refused.
    Kernel(Errno),
    /// The message got lost or made no sense.
    Other(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kernel(errno) => write!(f, "the kernel says \"{}\"", errno.desc()),
            Self::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::NetlinkError(message) => {
                Self::Kernel(Errno::from_raw(message.raw_code().saturating_neg()))
            }
            error => Self::Other(error.to_string()),
        }
    }
}

async fn collect<T>(answers: impl Stream<Item = Result<T, Error>>) -> Result<Vec<T>, Failure> {
    answer(answers.try_collect()).await
}

async fn answer<T>(request: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    match timeout(PATIENCE, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Failure::Other("the kernel gave no answer".into())),
    }
}

/// With `nexthop_compat_mode` off the kernel names the next-hop object and does
/// not say what is in it.
fn warn_if_opaque(route: &RouteMessage) {
    static ONCE: Once = Once::new();
    if messages::is_opaque(route) {
        ONCE.call_once(|| {
            log::warn!(
                "routes with next-hop objects are not spelled out by the kernel: \
                 set net.ipv4.nexthop_compat_mode=1"
            );
        });
    }
}
