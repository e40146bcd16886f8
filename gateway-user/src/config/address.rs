//! Addresses and ranges of both families, as a topology file has them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::scalar::{Scalar, Wrong, scalar_schemas, wrong};

scalar_schemas! { Address Prefix }

/// The address of one machine: unicast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Address(pub(super) IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What people call the family of an address.
pub(super) fn family(ip: IpAddr) -> &'static str {
    match ip {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

/// What an address cannot be when it stands for one machine, wherever it is.
fn not_a_machine(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) => not_a_machine_v4(ip),
        IpAddr::V6(ip) => not_a_machine_v6(ip),
    }
}

fn not_a_machine_v4(ip: Ipv4Addr) -> Option<&'static str> {
    Some(match ip.octets()[0] {
        0 => "an unspecified address",
        127 => "a loopback address",
        224..=239 => "a multicast address",
        240.. if ip.is_broadcast() => "the broadcast address",
        240.. => "a reserved address",
        _ => return None,
    })
}

fn not_a_machine_v6(ip: Ipv6Addr) -> Option<&'static str> {
    Some(match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => "an unspecified address",
        [0, 0, 0, 0, 0, 0, 0, 1] => "a loopback address",
        [0, 0, 0, 0, 0, 0xffff, ..] => "an IPv4 address in the form of IPv6",
        [0xff00..=0xffff, ..] => "a multicast address",
        [0xfe80..=0xfeff, ..] => "a link-local address",
        _ => return None,
    })
}

impl Scalar for Address {
    const EXAMPLE: &'static str = "10.0.0.1";
    const NAME: &'static str = "Address";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text.parse() {
            Ok(ip) => match not_a_machine(ip) {
                Some(kind) => wrong(
                    format!("{ip} is {kind}"),
                    "use the address of one machine (unicast)",
                ),
                None => Ok(Self(ip)),
            },
            Err(_) => wrong(format!("`{text}` is not an IP address"), hint(text)),
        }
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }],
        })
    }
}

/// How to write the address that somebody may have meant.
fn hint(text: &str) -> String {
    let alone = |ip: &str| format!("write the address alone: {ip}");
    if let Some((ip, _)) = text.split_once('/')
        && ip.parse::<IpAddr>().is_ok()
    {
        return alone(ip);
    }
    match text.split_once(':') {
        Some((ip, _)) if ip.parse::<Ipv4Addr>().is_ok() => alone(ip),
        Some(_) => "an IPv6 address is eight groups of hexadecimal digits, `::` standing for \
                    groups of 0, such as 2001:db8::1"
            .into(),
        None => "an IPv4 address is four numbers from 0 to 255, such as 10.0.0.1".into(),
    }
}

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix(pub(super) IpNet);

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Scalar for Prefix {
    const EXAMPLE: &'static str = "172.16.1.0/24";
    const NAME: &'static str = "Prefix";

    fn parse(text: &str) -> Result<Self, Wrong> {
        match text.parse::<IpNet>() {
            Ok(net) => {
                if let Some(kind) = not_a_machine(net.network()) {
                    return wrong(
                        format!("{net} begins with {kind}"),
                        "use a range of unicast addresses, such as 172.16.1.0/24",
                    );
                }
                if net != net.trunc() {
                    return wrong(
                        format!("{net} has bits set behind its /{}", net.prefix_len()),
                        format!("the range that holds {} is {}", net.addr(), net.trunc()),
                    );
                }
                Ok(Self(net))
            }
            Err(_) => match text.parse() {
                Ok(ip) => {
                    let length = match ip {
                        IpAddr::V4(_) => 24,
                        IpAddr::V6(_) => 64,
                    };
                    wrong(
                        format!("`{text}` is an address, not a range"),
                        format!("add the prefix length, such as {text}/{length}"),
                    )
                }
                Err(_) => wrong(
                    format!("`{text}` is not an address range"),
                    "a range is an address and a prefix length, such as 172.16.1.0/24",
                ),
            },
        }
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]+(\\.[0-9]+){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)/[0-9]{1,3}$",
        })
    }
}
