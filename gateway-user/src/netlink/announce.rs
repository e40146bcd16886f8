//! Announcements: the routes from which the node's router daemon announces.
//!
//! For each address the agent holds a route `blackhole ADDRESS/32` in a table of
//! its own, and BIRD (or FRR) learns that table and tells the neighbours. The
//! kernel never uses these tables for forwarding, since no rule points at them.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use anyhow::{Result, bail};
use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteScope, RouteType,
};

use super::{
    kernel::{Failure, Kernel, family},
    messages,
};

/// Where announcements are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcements {
    /// Table of the public addresses.
    pub public_table: u32,
    /// Table of the anycast VTEP.
    pub vtep_table: u32,
    /// Protocol number that marks a route as ours.
    pub protocol: u8,
}

/// One announced address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Announcement {
    /// Routing table.
    pub table: u32,
    /// Address.
    pub address: IpAddr,
}

impl fmt::Display for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = IpNet::from(self.address);
        write!(f, "{prefix} in table {}", self.table)
    }
}

/// Writes and removes announcements.
pub struct Announcer {
    tables: Announcements,
}

impl Announcer {
    /// Announces from these tables.
    pub const fn new(tables: Announcements) -> Self {
        Self { tables }
    }

    /// Makes the kernel hold exactly these announcements among the routes that
    /// carry our protocol number in our tables. What an agent that crashed left
    /// behind is kept if it is wanted and removed if it is not; other routes are
    /// never touched. Withdraws before it announces. Works in the network namespace
    /// of the calling thread, through a connection of its own each time, so that a
    /// connection that broke does no lasting harm.
    pub async fn set(&self, wanted: &BTreeSet<Announcement>) -> Result<()> {
        let Announcements {
            public_table,
            vtep_table,
            protocol,
        } = self.tables;
        let kernel = Kernel::connect()?;
        let mut held = BTreeSet::new();
        for table in BTreeSet::from([public_table, vtep_table]) {
            for route in kernel.owned_routes(table, protocol).await? {
                match announcement(&route, self.tables) {
                    Some(announcement) if wanted.contains(&announcement) => {
                        held.insert(announcement);
                    }
                    Some(_) => withdraw(&kernel, route).await?,
                    None => {}
                }
            }
        }
        for announcement in wanted.difference(&held) {
            self.announce(&kernel, *announcement).await?;
        }
        Ok(())
    }

    async fn announce(&self, kernel: &Kernel, announcement: Announcement) -> Result<()> {
        match kernel
            .add_route(message(announcement, self.tables.protocol))
            .await
        {
            Ok(()) => Ok(()),
            Err(Failure::Kernel(Errno::EEXIST)) => bail!(
                "cannot announce {announcement}: somebody else's route is there already; remove \
                 it, or choose another table with --announce-table or --announce-vtep-table"
            ),
            Err(error) => bail!("cannot announce {announcement}: {error}"),
        }
    }
}

async fn withdraw(kernel: &Kernel, route: RouteMessage) -> Result<()> {
    match kernel.remove_route(route.clone()).await {
        // Somebody was faster.
        Ok(()) | Err(Failure::Kernel(Errno::ESRCH)) => Ok(()),
        Err(error) => {
            let prefix = messages::prefix(&route)
                .map(|p| p.to_string())
                .unwrap_or_default();
            bail!("cannot withdraw {prefix}: {error}")
        }
    }
}

/// The announcement that a route stands for; nothing when the route is not ours.
fn announcement(route: &RouteMessage, tables: Announcements) -> Option<Announcement> {
    let table = messages::table(route);
    let prefix = messages::prefix(route)?;
    let ours = u8::from(route.header.protocol) == tables.protocol
        && route.header.kind == RouteType::BlackHole
        && (table == tables.public_table || table == tables.vtep_table)
        && prefix.prefix_len() == prefix.max_prefix_len();
    ours.then_some(Announcement {
        table,
        address: prefix.addr(),
    })
}

fn message(announcement: Announcement, protocol: u8) -> RouteMessage {
    let mut route = RouteMessage::default();
    (
        route.header.address_family,
        route.header.destination_prefix_length,
    ) = family(announcement.address);
    route.header.protocol = protocol.into();
    route.header.scope = RouteScope::Universe;
    route.header.kind = RouteType::BlackHole;
    route.attributes = vec![
        RouteAttribute::Destination(RouteAddress::from(announcement.address)),
        RouteAttribute::Table(announcement.table),
    ];
    route
}
