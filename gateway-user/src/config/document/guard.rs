//! The keys of the guard, as people write them.

use std::{borrow::Cow, net::IpAddr};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::config::{Bogons, Rate};
use crate::config::{
    choice::Time,
    list::List,
    problem::Problems,
    read::{Maybe, Must, Read, record},
    scalar::{Interface, Name, Scalar, Wrong, wrong},
    tree::{Node, Value},
};

record! {
    /// What the public side lets in. With this key, impossible sources and TCP flags
    /// are dropped; without it, nothing is looked at and nothing is paid.
    Guard = "the guard", "{ deny: [192.0.2.0/24], per_source: { new_flows: 100/s } }" {
        /// Sources that are dropped: addresses or ranges. Of all prefixes that hold a
        /// source, in whatever list, the longest decides.
        deny: Maybe<List<Source, 0>>,
        /// File with more of them, one a line, `#` begins a comment. The path is
        /// relative to this file.
        deny_file: Maybe<FileName>,
        /// Sources that are let in, past all limits and challenges.
        allow: Maybe<List<Source, 0>>,
        /// File with more of them.
        allow_file: Maybe<FileName>,
        /// Sources that cannot come from outside: `martians` (no machine can have
        /// them, or they are our own; the default), `strict` (private and
        /// documentation ranges, too), `none`.
        bogons: Maybe<BogonsWord>,
        /// TCP flags and ports that no connection has: `drop` (the default) or `pass`.
        malformed: Maybe<MalformedWord>,
        /// Limits of each source: an IPv4 address, or the /64 of an IPv6 one.
        per_source: Maybe<Rates>,
        /// Guard of every load balancer that has none of its own.
        services: Maybe<ServiceGuard>,
        /// For how long a source is known that answered a challenge, 5m if left out.
        verified_for: Maybe<Time>,
        /// Lists for some interfaces, besides the ones for all.
        interfaces: Maybe<List<InterfaceLists, 1>>,
    }

    /// Lists for public interfaces of one gateway.
    InterfaceLists = "lists for an interface",
        "{ gateway: gw1, interface: eth0, deny: [192.0.2.0/24] }"
    {
        /// Name of the gateway.
        gateway: Must<Name>,
        /// One of its public interfaces. If left out: all of them.
        interface: Maybe<Interface>,
        /// Sources that are dropped.
        deny: Maybe<List<Source, 0>>,
        /// File with more of them.
        deny_file: Maybe<FileName>,
        /// Sources that are let in.
        allow: Maybe<List<Source, 0>>,
        /// File with more of them.
        allow_file: Maybe<FileName>,
    }

    /// Limits.
    Rates = "limits", "{ new_flows: 100/s, packets: 20000/s }" {
        /// New flows: TCP segments with SYN and without ACK. Other protocols have no
        /// first packet that could be told from later ones.
        new_flows: Maybe<RateText>,
        /// Packets of all protocols.
        packets: Maybe<RateText>,
    }

    /// The guard of a service.
    ServiceGuard = "a service's guard", "{ new_flows: 10000/s, challenge: 5000/s }" {
        /// New flows of all sources together.
        new_flows: Maybe<RateText>,
        /// Packets of all sources together.
        packets: Maybe<RateText>,
        /// When unknown sources must show that they are real before their connection
        /// reaches a backend: above a rate of SYNs (until it falls to half of it), or
        /// `always`, or a mapping with `above` and `below`.
        challenge: Maybe<Challenge>,
    }

    /// When a challenge begins and ends.
    ChallengeKeys = "a challenge", "{ above: 5000/s, below: 1000/s }" {
        /// More SYNs than this switch it on.
        above: Must<RateText>,
        /// It stays on while SYNs of unknown sources are more than this. If left out:
        /// half of `above`.
        below: Maybe<RateText>,
    }
}

/// A challenge: a rate, a word, or a mapping.
#[derive(Debug)]
pub(in crate::config) enum Challenge {
    Always,
    Above(RateText),
    Keys(ChallengeKeys),
}

impl Read for Challenge {
    const KEYS: &'static [&'static str] = ChallengeKeys::KEYS;

    fn example() -> String {
        "5000/s".into()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        match &node.value {
            Value::Map(_) => Some(Self::Keys(ChallengeKeys::read(node, key, problems)?)),
            Value::Text(text) if text == "always" => Some(Self::Always),
            _ => Some(Self::Above(RateText::read(node, key, problems)?)),
        }
    }
}

impl JsonSchema for Challenge {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Challenge".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "const": "always" },
            generator.subschema_for::<RateText>(),
            generator.subschema_for::<ChallengeKeys>(),
        ] })
    }
}

/// A rate: `100/s`, `30/min`, `5/h`; a bare number is for a second.
#[derive(Clone, Copy, Debug)]
pub(in crate::config) struct RateText(pub(in crate::config) Rate);

impl RateText {
    /// Most in one second: more than any link carries, and costs stay exact.
    const MAX: u32 = 100_000_000;

    fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/').unwrap_or((text, "s"));
        let seconds = match unit.trim() {
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            _ => return None,
        };
        let count = count.trim().parse().ok()?;
        (1..=Self::MAX)
            .contains(&count)
            .then_some(Self(Rate { count, seconds }))
    }
}

impl Read for RateText {
    fn example() -> String {
        "1000/s".into()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let (what, read) = match &node.value {
            Value::Text(text) => (format!("`{text}` is not a rate"), Self::parse(text)),
            Value::Integer(number) => (
                format!("`{key}` cannot be {number}"),
                Self::parse(&number.to_string()),
            ),
            other => (
                format!("`{key}` must be a rate, this is {}", other.kind()),
                None,
            ),
        };
        if read.is_none() {
            let hint = format!(
                "write a number from 1 to {} and a unit of time: `1000/s`, `30/min`, `5/h`",
                Self::MAX
            );
            problems.error(node.at, what, hint);
        }
        read
    }
}

impl JsonSchema for RateText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1, "maximum": Self::MAX },
            { "type": "string", "pattern": "^[1-9][0-9]{0,8} */ *(s|min|h)$" },
        ] })
    }
}

/// A source: an address or a range, of either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Source(pub(in crate::config) IpNet);

impl Scalar for Source {
    const EXAMPLE: &'static str = "192.0.2.0/24";
    const NAME: &'static str = "Source";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self(ip.into()));
        }
        match text.parse::<IpNet>() {
            Ok(net) if net == net.trunc() => Ok(Self(net)),
            Ok(net) => wrong(
                format!("{net} has bits set behind its /{}", net.prefix_len()),
                format!("the range that holds {} is {}", net.addr(), net.trunc()),
            ),
            Err(_) => wrong(
                format!("`{text}` is neither an address nor a range"),
                "write an address such as 192.0.2.7, or a range such as 192.0.2.0/24",
            ),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$" })
    }
}

/// The path of a file.
#[derive(Clone, Debug)]
pub(in crate::config) struct FileName(pub(in crate::config) String);

impl Scalar for FileName {
    const EXAMPLE: &'static str = "deny.txt";
    const NAME: &'static str = "FileName";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "" => wrong("the path is empty", "write the path of a file"),
            path => Ok(Self(path.into())),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
}

/// Values that are one of a few words.
macro_rules! words {
    ($( $(#[$doc:meta])* $name:ident($type:ty) = $schema:literal { $( $word:literal => $value:expr ),* } )*) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub(in crate::config) struct $name(pub(in crate::config) $type);

        impl Scalar for $name {
            const EXAMPLE: &'static str = [$($word),*][0];
            const NAME: &'static str = $schema;

            fn parse(text: &str) -> Result<Self, Wrong> {
                match text {
                    $( $word => Ok(Self($value)), )*
                    _ => wrong(
                        format!("`{text}` is none of the words that can stand here"),
                        format!("write {}", [$( concat!("`", $word, "`") ),*].join(" or ")),
                    ),
                }
            }

            fn schema() -> Schema {
                json_schema!({ "enum": [$($word),*] })
            }
        }
    )* };
}

words! {
    /// Which sources are taken for impossible.
    BogonsWord(Bogons) = "Bogons" {
        "martians" => Bogons::Martians,
        "strict" => Bogons::Strict,
        "none" => Bogons::None
    }

    /// Whether impossible flags and ports are dropped.
    MalformedWord(bool) = "Malformed" { "drop" => true, "pass" => false }
}

crate::config::scalar::scalar_schemas! { Source FileName BogonsWord MalformedWord }
