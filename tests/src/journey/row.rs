//! One form that the packet took on its way, and who saw it.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

use super::decode::Headers;
use crate::capture::{Direction, Point, State};

/// A row of the story's table. `f` to `l` there, the same with a prime on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hop {
    /// The letter; `m` is the database, behind the table's last row.
    pub letter: char,
    /// On the way back.
    pub is_back: bool,
}

impl Hop {
    /// On the way there.
    pub const fn there(letter: char) -> Self {
        Self {
            letter,
            is_back: false,
        }
    }

    /// On the way back.
    pub const fn back(letter: char) -> Self {
        Self {
            letter,
            is_back: true,
        }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.letter, if self.is_back { "'" } else { "" })
    }
}

impl Serialize for Hop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A device that saw the packet.
#[derive(Clone, Debug, Serialize)]
pub struct Sighting {
    /// Where.
    #[serde(serialize_with = "as_text")]
    pub point: Arc<Point>,
    /// Which way.
    pub direction: Direction,
    /// When, nanoseconds since 1970.
    pub at_ns: u64,
    /// Whether the bytes are those of a wire.
    pub state: State,
}

fn as_text<S: Serializer>(point: &Arc<Point>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(point)
}

/// One form of the packet.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its row in the story's table.
    pub hop: Hop,
    /// When it was first seen so, nanoseconds since the journey began.
    pub since_start_ns: u64,
    /// Who saw it so, in order. Empty for what happens inside a gateway: that is read
    /// from the frame that went in or came out.
    pub seen: Vec<Sighting>,
    /// All headers.
    pub headers: Headers,
    /// What differs from the row before.
    pub changes: Vec<Change>,
}

/// What may change from one row to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A tunnel was put around it.
    Wrapped,
    /// The tunnel was taken off.
    Unwrapped,
    /// MACs of the underlay hop.
    OuterMacs,
    /// Sender's tunnel endpoint.
    OuterSource,
    /// Receiver's tunnel endpoint.
    OuterDestination,
    /// TTL of the outer header.
    OuterTtl,
    /// UDP source port of the tunnel.
    OuterPort,
    /// VXLAN network.
    Vni,
    /// Source MAC.
    SourceMac,
    /// Destination MAC.
    DestinationMac,
    /// Source address or port.
    Source,
    /// Destination address or port.
    Destination,
    /// TTL.
    Ttl,
}

impl Change {
    /// What differs between two forms.
    pub(super) fn between(old: &Headers, new: &Headers) -> Vec<Self> {
        let mut changes = Vec::new();
        let mut note = |differs: bool, change| {
            if differs {
                changes.push(change);
            }
        };
        match (&old.outer, &new.outer) {
            (None, Some(_)) => note(true, Self::Wrapped),
            (Some(_), None) => note(true, Self::Unwrapped),
            (None, None) => {}
            (Some(old), Some(new)) => {
                note(old.macs != new.macs, Self::OuterMacs);
                note(old.source != new.source, Self::OuterSource);
                note(old.destination != new.destination, Self::OuterDestination);
                note(old.ttl != new.ttl, Self::OuterTtl);
                note(old.source_port != new.source_port, Self::OuterPort);
                note(old.vni != new.vni, Self::Vni);
            }
        }
        note(old.macs.source != new.macs.source, Self::SourceMac);
        note(
            old.macs.destination != new.macs.destination,
            Self::DestinationMac,
        );
        note(old.source != new.source, Self::Source);
        note(old.destination != new.destination, Self::Destination);
        note(old.ttl != new.ttl, Self::Ttl);
        changes
    }
}
