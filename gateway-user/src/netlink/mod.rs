//! The node's surroundings by netlink: a [`Reachability`](crate::reachability::Reachability)
//! that is kept true, and the routes from which the router daemon announces.
//!
//! Notifications only say *that* something changed; what is true is then asked
//! anew. That costs a few hundred microseconds and can neither drift nor miss.

mod announce;
mod events;
mod kernel;
mod messages;
mod picture;
mod watch;

pub use announce::{Announcement, Announcements, Announcer};
pub use picture::{Hop, Link, Neighbour, NeighbourKey, Picture, Route, Wanted, public_ips};
pub use watch::Watcher;
