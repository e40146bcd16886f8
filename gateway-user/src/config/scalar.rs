//! The single values of a topology file: what is accepted, and what is said when not.

use std::fmt;

use schemars::{Schema, json_schema};

use super::{
    problem::Problems,
    read::Read,
    topology::{Mac, Protocol},
    tree::{Node, Value},
};

/// What is wrong with a text, and what helps.
pub(super) type Wrong = (String, String);

pub(super) fn wrong<T>(what: impl Into<String>, hint: impl Into<String>) -> Result<T, Wrong> {
    Err((what.into(), hint.into()))
}

/// A value that is written as text.
pub(super) trait Scalar: Sized {
    /// An example as people write it.
    const EXAMPLE: &'static str;
    /// Schema name.
    const NAME: &'static str;

    /// Reads the text.
    fn parse(text: &str) -> Result<Self, Wrong>;

    /// What editors check and show.
    fn schema() -> Schema;
}

impl<T: Scalar> Read for T {
    fn example() -> String {
        T::EXAMPLE.into()
    }

    fn read(node: &Node, key: &str, problems: &mut Problems) -> Option<Self> {
        let (what, hint) = match &node.value {
            Value::Text(text) => match T::parse(text) {
                Ok(value) => return Some(value),
                Err(wrong) => wrong,
            },
            // YAML takes it for a number; perhaps it is fine as a text.
            Value::Integer(number) => match T::parse(&number.to_string()) {
                Ok(_) => (
                    format!("`{key}` must be text, this is a number"),
                    "put quotes around it".into(),
                ),
                Err(wrong) => wrong,
            },
            other => {
                let hint = format!("write it like `{key}: {}`", T::EXAMPLE);
                (
                    format!("`{key}` must be text, this is {}", other.kind()),
                    hint,
                )
            }
        };
        problems.error(node.at, what, hint);
        None
    }
}

macro_rules! scalar_schemas {
    ($( $name:ident )*) => { $(
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::config::scalar::Scalar>::NAME.into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <Self as $crate::config::scalar::Scalar>::schema()
            }
        }
    )* };
}

pub(super) use scalar_schemas;

scalar_schemas! { Name Interface MacAddress Secret Listen }

/// The name of something.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) String);

impl Name {
    /// Longest name; it becomes part of metric labels and namespace names.
    const MAX: usize = 63;
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Scalar for Name {
    const EXAMPLE: &'static str = "NAME";
    const NAME: &'static str = "Name";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let hint = "names have 1 to 63 of the characters a-z A-Z 0-9 . - _ and begin with a \
                    letter or digit";
        if text.len() > Self::MAX {
            return wrong(format!("this name is {} characters long", text.len()), hint);
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(allowed) {
            return wrong(format!("`{text}` is not a name"), hint);
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$" })
    }
}

/// The name of a network interface, as the kernel takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Interface(pub(super) String);

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Scalar for Interface {
    const EXAMPLE: &'static str = "eth0";
    const NAME: &'static str = "Interface";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let odd = |c: char| !c.is_ascii_graphic() || "/:".contains(c);
        if text.is_empty() || text.len() > 15 || text.starts_with('.') || text.contains(odd) {
            return wrong(
                format!("`{text}` is not an interface name"),
                "use a name that `ip link` shows: 1 to 15 characters, no spaces, `/` or `:`",
            );
        }
        Ok(Self(text.to_owned()))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[^\\s/:.][^\\s/:]{0,14}$" })
    }
}

/// The MAC address of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MacAddress(pub(super) Mac);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Scalar for MacAddress {
    const EXAMPLE: &'static str = "\"02:aa:00:00:01:11\"";
    const NAME: &'static str = "MacAddress";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let Ok(mac) = text.parse::<Mac>() else {
            return wrong(
                format!("`{text}` is not a MAC address"),
                "a MAC address is six bytes in hexadecimal, such as \"02:aa:00:00:01:11\"",
            );
        };
        let mut unicast = mac;
        unicast.0[0] = unicast.0[0] & !1 | 2;
        if mac.0[0] & 1 != 0 {
            return wrong(
                format!("{mac} is a multicast MAC"),
                format!("the first byte of a machine's MAC is even, as in \"{unicast}\""),
            );
        }

        if mac == Mac::default() {
            return wrong("this MAC is all zero", "write the MAC of the interface");
        }
        Ok(Self(mac))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$" })
    }
}

/// The seed of the flow hash, 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Secret(pub(super) [u64; 2]);

impl Scalar for Secret {
    const EXAMPLE: &'static str = "\"8f1e2d3c4b5a69788796a5b4c3d2e1f0\"";
    const NAME: &'static str = "Secret";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let hint = "write 32 hexadecimal digits in quotes; `openssl rand -hex 16` makes some";
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            // The secret itself stays out of logs.
            return wrong("`secret` is not a secret of 32 hexadecimal digits", hint);
        }
        let half = |digits| u64::from_str_radix(digits, 16).map_err(|_| ("".into(), hint.into()));
        Ok(Self([half(&text[..16])?, half(&text[16..])?]))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9A-Fa-f]{32}$" })
    }
}

/// Where a service listens: protocol and port, as in `tcp/443`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    pub(super) protocol: Protocol,
    pub(super) port: u16,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.protocol, self.port)
    }
}

impl Scalar for Listen {
    const EXAMPLE: &'static str = "tcp/443";
    const NAME: &'static str = "Listen";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let what = format!("`{text}` is not a protocol and a port");
        let Some((protocol, port)) = text.split_once('/') else {
            return match text.parse::<u16>() {
                Ok(port) => wrong(what, format!("write `tcp/{port}` or `udp/{port}`")),
                Err(_) => wrong(what, "write `tcp/443` or `udp/53`"),
            };
        };
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other if other.eq_ignore_ascii_case("tcp") || other.eq_ignore_ascii_case("udp") => {
                return wrong(what, format!("write `{}/{port}`", other.to_lowercase()));
            }
            other => {
                let turned = matches!(port, "tcp" | "udp") && other.parse::<u16>().is_ok();
                return match turned {
                    true => wrong(what, format!("write `{port}/{other}`")),
                    false => wrong(what, "the protocol is `tcp` or `udp`, as in `tcp/443`"),
                };
            }
        };
        match port.parse() {
            Ok(port @ 1..) => Ok(Self { protocol, port }),
            _ => wrong(
                what,
                format!("the port is a number from 1 to 65535, as in `{protocol}/443`"),
            ),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^(tcp|udp)/[1-9][0-9]{0,4}$" })
    }
}
