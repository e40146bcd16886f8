//! Times, switches, and words out of a few.

use std::{borrow::Cow, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{
    problem::Problems,
    read::{Read, listed, similar},
    scalar::{Scalar, Wrong, scalar_schemas, wrong},
    snat, topology,
    tree::{Node, Value},
};

/// A length of time: `90s`, `15m`, `2h`. At least a second, at most a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) u64);

impl Time {
    const MAX: u64 = 7 * 24 * 3600;
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, unit) = [(3600, "h"), (60, "m")]
            .into_iter()
            .find(|(unit, _)| self.0.is_multiple_of(*unit))
            .map_or((self.0, "s"), |(unit, name)| (self.0 / unit, name));
        write!(f, "{number}{unit}")
    }
}

impl Scalar for Time {
    const EXAMPLE: &'static str = "15m";
    const NAME: &'static str = "Time";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let what = || format!("`{text}` is not a length of time");
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('0'..='9') => {
                return wrong(what(), format!("write the unit too, such as `{text}s`"));
            }
            _ => return wrong(what(), "write a number and s, m or h, such as 15m"),
        };
        let number = text[..text.len() - 1].parse::<u64>().ok();
        let seconds = number.and_then(|number| number.checked_mul(unit));
        match seconds {
            Some(seconds @ 1..=Self::MAX) => Ok(Self(seconds)),
            Some(_) => wrong(what(), "write a time from 1s to 168h"),
            None => wrong(what(), "write a number and s, m or h, such as 15m"),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+[smh]$" })
    }
}

/// What decides which backend a flow gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Affinity(pub(super) topology::Affinity);

impl Scalar for Affinity {
    const EXAMPLE: &'static str = "source_ip";
    const NAME: &'static str = "Affinity";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text {
            "flow" => Ok(Self(topology::Affinity::Flow)),
            "source_ip" => Ok(Self(topology::Affinity::SourceIp)),
            _ => wrong(
                format!("`{text}` is not an affinity"),
                "write `flow` (each flow for itself) or `source_ip` (all flows of a client \
                 together)",
            ),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["flow", "source_ip"] })
    }
}

/// One word of a few.
fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, Wrong> {
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*meant);
    }
    let names = || words.iter().map(|(word, _)| *word);
    let hint = match similar(text, names()) {
        Some(word) => format!("did you mean `{word}`?"),
        None => format!("choose from {}", listed(names())),
    };
    wrong(format!("`{text}` is none of the words here"), hint)
}

/// Whose packets a mapping lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FilteringName(pub(super) snat::Filtering);

impl Scalar for FilteringName {
    const EXAMPLE: &'static str = "endpoint_independent";
    const NAME: &'static str = "Filtering";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let words = [
            ("endpoint_independent", snat::Filtering::EndpointIndependent),
            ("address_dependent", snat::Filtering::AddressDependent),
            (
                "address_and_port_dependent",
                snat::Filtering::AddressAndPortDependent,
            ),
        ];
        one_of(text, &words).map(Self)
    }

    fn schema() -> Schema {
        json_schema!({
            "enum": ["endpoint_independent", "address_dependent", "address_and_port_dependent"],
        })
    }
}

/// Whether packets of either direction keep a mapping alive, or outbound ones alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refresh {
    pub(super) inbound: bool,
}

impl Scalar for Refresh {
    const EXAMPLE: &'static str = "outbound";
    const NAME: &'static str = "Refresh";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let inbound = one_of(text, &[("outbound", false), ("both", true)])?;
        Ok(Self { inbound })
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["outbound", "both"] })
    }
}

scalar_schemas! { Time Affinity FilteringName Refresh }

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Switch(pub(super) bool);

impl Read for Switch {
    fn example() -> String {
        "true".into()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        if let Value::Truth(on) = node.value {
            return Some(Self(on));
        }
        problems.error(
            node.at,
            format!(
                "`{key}` must be true or false, this is {}",
                node.value.kind()
            ),
            format!("write `{key}: true` or `{key}: false`, no quotes"),
        );
        None
    }
}

impl JsonSchema for Switch {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Switch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h", 7_200), ("168h", 604_800)] {
            let time = Time::parse(text).unwrap();
            assert_eq!(time.0, seconds);
            assert_eq!(Time::parse(&time.to_string()), Ok(time));
        }
        for text in [
            "",
            "s",
            "0s",
            "169h",
            "15",
            "1.5h",
            "-1s",
            "2d",
            "99999999999999999999h",
            "1µ",
        ] {
            assert!(Time::parse(text).is_err(), "{text}");
        }
        assert!(Time::parse("15").unwrap_err().1.contains("`15s`"));
    }
}
