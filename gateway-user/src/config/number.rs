//! Whole numbers in a range, and values of any kind.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    problem::Problems,
    read::Read,
    tree::{Node, Value},
};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Number<const MIN: u32, const MAX: u32>(pub(super) u32);

/// A VXLAN network identifier: 24 bits, and 0 is not one.
pub(super) type Vni = Number<1, 0xff_ffff>;
/// An 802.1Q VLAN; 0 and 4095 are none.
pub(super) type Vlan = Number<1, 4094>;
/// A TCP or UDP port.
pub(super) type Port = Number<1, 0xffff>;
/// A backend's share.
pub(super) type Weight = Number<0, 1000>;
/// Entries of the table of remembered flows.
pub(super) type Flows = Number<1_024, 16_777_216>;
/// An MTU; whether it serves is for validation to say.
pub(super) type Mtu = Number<1, 0xffff>;
/// ICMP errors a second.
pub(super) type ErrorRate = Number<0, 1_000_000>;
/// Bytes of TCP in a packet.
pub(super) type SegmentSize = Number<0, 0xffff>;
/// Public ports of a tenant.
pub(super) type Quota = Number<1, 10_000_000>;
/// Shares of a port space.
pub(super) type Shares = Number<1, { gateway_common::SNAT_MAX_SHARES }>;
/// One of them.
pub(super) type Share = Number<0, { gateway_common::SNAT_MAX_SHARES - 1 }>;
/// The version of the format.
pub(super) type Version = Number<1, 1>;

impl<const MIN: u32, const MAX: u32> Number<MIN, MAX> {
    /// The number, of a kind that has no larger ones.
    pub(super) const fn get(self) -> u16 {
        const { assert!(MAX <= u16::MAX as u32) };
        self.0 as u16
    }
}

impl<const MIN: u32, const MAX: u32> Read for Number<MIN, MAX> {
    fn example() -> String {
        MIN.max(1).to_string()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let range = || match MIN == MAX {
            true => format!("the only value is {MIN}"),
            false => format!("write a number from {MIN} to {MAX}"),
        };
        let (what, hint) = match &node.value {
            Value::Integer(number) => match u32::try_from(*number) {
                Ok(number) if (MIN..=MAX).contains(&number) => return Some(Self(number)),
                _ => (format!("`{key}` cannot be {number}"), range()),
            },
            Value::Text(text) if text.parse::<u32>().is_ok() => (
                format!("`{key}` must be a number, this is text"),
                format!("write {text}, no quotes"),
            ),
            other => (
                format!("`{key}` must be a whole number, this is {}", other.kind()),
                range(),
            ),
        };
        problems.error(node.at, what, hint);
        None
    }
}

impl<const MIN: u32, const MAX: u32> JsonSchema for Number<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NumberFrom{MIN}To{MAX}").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        match MIN == MAX {
            true => json_schema!({ "const": MIN }),
            false => json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX }),
        }
    }
}

/// A value that somebody else reads.
#[derive(Debug)]
pub(super) struct Anything;

impl Read for Anything {
    fn example() -> String {
        "{}".into()
    }

    fn read(_: &Node, _: &str, _: &mut Problems) -> Option<Self> {
        Some(Self)
    }
}

impl JsonSchema for Anything {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Anything".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!(true)
    }
}
