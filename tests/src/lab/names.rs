//! Names that a lab gives to what it makes: all carry the run's id, so that
//! several labs stand side by side and each finds its own again.

use std::{
    collections::HashSet,
    fmt,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    str::FromStr,
};

use lingyun::config::Mac;
use serde::{Deserialize, Serialize};

/// Where BPF objects are pinned.
pub(crate) const BPFFS: &str = "/sys/fs/bpf";

/// Short id of one run of the lab: it is part of every name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId(String);

impl RunId {
    /// An id drawn at random: four of 0-9a-z.
    pub fn random() -> Self {
        let mut number = RandomState::new().hash_one(std::process::id());
        let mut text = String::new();
        for _ in 0..4 {
            text.extend(char::from_digit((number % 36) as u32, 36));
            number /= 36;
        }
        Self(text)
    }

    /// What every namespace of the run starts with.
    pub fn prefix(&self) -> String {
        format!("ly-{}-", self.0)
    }

    /// Name of a node's network namespace. Instances are written `vpc/name`;
    /// a file name has no slash.
    pub fn namespace(&self, node: &str) -> String {
        format!("{}{}", self.prefix(), node.replace('/', "."))
    }

    /// Where the agent of a gateway pins its programs, links and maps.
    pub fn pin_dir(&self, gateway: &str) -> PathBuf {
        Path::new(BPFFS).join(format!("{}{gateway}", self.pin_prefix()))
    }

    /// What every pin directory of the run starts with.
    pub fn pin_prefix(&self) -> String {
        format!("lingyun-{}-", self.0)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RunId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=8).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !fits {
            return Err(format!(
                "run id `{text}`: use 1 to 8 of the characters a-z and 0-9"
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for RunId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RunId> for String {
    fn from(run: RunId) -> Self {
        run.0
    }
}

/// MAC of an interface, derived from its name: the same in every run, and all
/// of one node start alike, so that a capture reads like a list of nodes.
pub(super) fn mac(node: &str, interface: &str) -> Mac {
    let [a, b] = fold(node);
    let [c, d] = fold(interface);
    Mac([0x02, 0x1e, a, b, c, d])
}

/// FNV-1a, folded to 16 bits.
fn fold(text: &str) -> [u8; 2] {
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    ((hash >> 16) as u16 ^ hash as u16).to_be_bytes()
}

/// Interface names that are still free on one node.
///
/// A kernel name has at most 15 bytes, and `ip` takes some words for keywords,
/// so names of VM ports are built, not copied.
#[derive(Default)]
pub(super) struct Ports(HashSet<String>);

impl Ports {
    /// Longest name that the kernel takes.
    pub(super) const MAX: usize = 15;

    /// Marks a name as taken. False when it already was.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.0.insert(name.to_owned())
    }

    /// A name for the port of a VM: `vm-NAME` where that fits and is free.
    pub(super) fn vm(&mut self, instance: &str) -> String {
        let plain = format!("vm-{instance}");
        if plain.len() <= Self::MAX && self.take(&plain) {
            return plain;
        }
        (1..)
            .map(|number| format!("vm{number}"))
            .find(|name| self.take(name))
            .expect("numbers do not run out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_are_short_and_plain() {
        assert!(RunId::random().to_string().parse::<RunId>().is_ok());
        for wrong in ["", "a-b", "Ab", "123456789", "a/b"] {
            assert!(wrong.parse::<RunId>().is_err(), "{wrong:?} must be refused");
        }
    }

    #[test]
    fn a_prefix_of_one_run_is_no_prefix_of_another() {
        let short: RunId = "a".parse().unwrap();
        let long: RunId = "a1".parse().unwrap();
        assert!(!long.namespace("phone").starts_with(&short.prefix()));
        assert_eq!(short.namespace("shop/web-1"), "ly-a-shop.web-1");
    }

    #[test]
    fn macs_are_local_unicast_and_share_the_nodes_part() {
        let (one, two) = (mac("border", "gw1"), mac("border", "gw2"));
        assert_eq!(one.0[..4], two.0[..4]);
        assert_ne!(one, two);
        assert_eq!(one.0[0] & 3, 2);
    }

    #[test]
    fn ports_fit_the_kernel_and_differ() {
        let mut ports = Ports::default();
        assert_eq!(ports.vm("controller-1"), "vm-controller-1");
        assert_eq!(ports.vm("controller-1"), "vm1");
        assert_eq!(ports.vm("a-very-long-name-of-a-vm"), "vm2");
    }
}
