//! Every system package that Lingyun asks for, and why. Nothing else is installed.

use std::{collections::HashSet, process::Command};

use crate::{host, process};

/// One thing that a system package brings.
#[derive(Debug)]
pub(crate) struct Package {
    /// Names it goes by on Debian and Ubuntu; the first that can be had is installed.
    pub names: &'static [&'static str],
    /// A program it brings: how it is found where there is no dpkg.
    pub program: &'static str,
    /// What it is for.
    pub why: &'static str,
    /// Services that it would start at the next boot, and that nobody here wants.
    pub services: &'static [&'static str],
}

const fn package(
    names: &'static [&'static str],
    program: &'static str,
    why: &'static str,
) -> Package {
    Package {
        names,
        program,
        why,
        services: &[],
    }
}

/// What the lab runs and looks with.
pub(crate) const LAB: &[Package] = &[
    Package {
        services: &["bird.service", "bird6.service"],
        ..package(&["bird2"], "bird", "BGP and BFD on the lab's routers")
    },
    Package {
        services: &["openvswitch-switch.service"],
        ..package(
            &["openvswitch-switch"],
            "ovs-vswitchd",
            "virtual switch of a host",
        )
    },
    Package {
        services: &["haproxy.service"],
        ..package(&["haproxy"], "haproxy", "load balancers inside the VPC")
    },
    Package {
        services: &["postgresql.service"],
        ..package(
            &[
                "postgresql-15",
                "postgresql-17",
                "postgresql-16",
                "postgresql-14",
                "postgresql",
            ],
            "initdb",
            "database of the orders",
        )
    },
    package(
        &["ethtool"],
        "ethtool",
        "checksum offload off, where a veth would lie",
    ),
    package(
        &["tcpdump"],
        "tcpdump",
        "captures on every device of the way",
    ),
    package(&["tshark"], "tshark", "reading captures, tunnels included"),
    package(&["nftables"], "nft", "packet loss and operator NAT"),
    package(&["iproute2"], "ip", "namespaces, links and routes"),
    package(&["iputils-ping"], "ping", "floating IPs and VIPs answer"),
    package(&["curl"], "curl", "the phone's HTTPS client"),
    package(&["iperf3"], "iperf3", "bulk transfers"),
    package(&["traceroute"], "traceroute", "hops, as a user sees them"),
    package(
        &["iputils-tracepath"],
        "tracepath",
        "path MTU, as a user sees it",
    ),
    package(
        &["bpftool", "linux-tools-generic"],
        "bpftool",
        "what the kernel holds",
    ),
    package(&["procps"], "sysctl", "kernel settings of a namespace"),
    package(&["util-linux"], "nsenter", "entering a namespace"),
];

/// What boots other kernels for the tests.
pub(crate) const GUEST: &[Package] = &[
    package(
        &["qemu-system-x86"],
        "qemu-system-x86_64",
        "boots other kernels for the fixtures",
    ),
    package(&["kmod"], "depmod", "which kernel module needs which"),
];

/// A rustc with a ready core library for the BPF target.
pub(crate) const RUSTC: &[Package] = &[
    package(
        &["rustc-web"],
        "rustc",
        "compiler that knows the BPF target",
    ),
    package(&["cargo-web"], "cargo", "its cargo"),
    package(
        &["libstd-rust-web-dev-bpf"],
        "rustc",
        "its core library for BPF",
    ),
];

/// What bpf-linker is built from, besides LLVM.
pub(crate) const LINKER: &[Package] = &[
    package(&["g++"], "c++", "C++ runtime that LLVM links to"),
    package(&["zlib1g-dev"], "ld", "compression that LLVM links to"),
    package(&["libzstd-dev"], "ld", "compression that LLVM links to"),
];

/// LLVM's own libraries, newest wish first.
pub(crate) const LLVM: &[(u32, &[Package])] = &[
    (
        22,
        &[
            package(&["llvm-22-dev"], "llvm-config-22", "LLVM for bpf-linker"),
            package(
                &["libpolly-22-dev"],
                "llvm-config-22",
                "part of LLVM that it names",
            ),
        ],
    ),
    (
        23,
        &[
            package(&["llvm-23-dev"], "llvm-config-23", "LLVM for bpf-linker"),
            package(
                &["libpolly-23-dev"],
                "llvm-config-23",
                "part of LLVM that it names",
            ),
        ],
    ),
    (
        21,
        &[
            package(&["llvm-21-dev"], "llvm-config-21", "LLVM for bpf-linker"),
            package(
                &["libpolly-21-dev"],
                "llvm-config-21",
                "part of LLVM that it names",
            ),
        ],
    ),
];

/// The packages among these that are not installed: one question to dpkg for all.
pub(crate) fn missing<'a>(wanted: &[&'a Package]) -> Vec<&'a Package> {
    if wanted.is_empty() {
        return Vec::new();
    }
    if !host::has_apt() {
        return without(wanted, |package| host::find(package.program).is_some());
    }
    let installed = installed(wanted);
    without(wanted, |package| {
        package.names.iter().any(|name| installed.contains(*name))
    })
}

fn without<'a>(wanted: &[&'a Package], present: impl Fn(&Package) -> bool) -> Vec<&'a Package> {
    wanted
        .iter()
        .copied()
        .filter(|package| !present(package))
        .collect()
}

fn installed(wanted: &[&Package]) -> HashSet<String> {
    let names = wanted.iter().flat_map(|package| package.names);
    // dpkg-query fails when it has never heard of one of the names, and still
    // prints the others: only its output counts.
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat",
            "${Package} ${db:Status-Status}\\n",
        ])
        .args(names)
        .output();
    output
        .map(|output| parse_status(&String::from_utf8_lossy(&output.stdout)))
        .unwrap_or_default()
}

fn parse_status(text: &str) -> HashSet<String> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, status)| *status == "installed")
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Versions of the installed ones among these, in one question to dpkg.
pub(crate) fn versions(wanted: &[Package]) -> Vec<(String, String)> {
    let output = Command::new("dpkg-query")
        .args([
            "--show",
            "--showformat",
            "${Package} ${db:Status-Status} ${Version}\\n",
        ])
        .args(wanted.iter().flat_map(|package| package.names))
        .output();
    let Ok(output) = output else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| match *line.split(' ').collect::<Vec<_>>() {
            [name, "installed", version] => Some((name.to_owned(), version.to_owned())),
            _ => None,
        })
        .collect()
}

/// Those of the names that the archives apt knows of can give.
pub(crate) fn candidates(packages: &[&Package]) -> anyhow::Result<HashSet<String>> {
    let names = packages.iter().flat_map(|package| package.names);
    // In another language the words that we look for would differ.
    let mut command = Command::new("apt-cache");
    Ok(parse_policy(&process::output(
        command.env("LC_ALL", "C").arg("policy").args(names),
    )?))
}

fn parse_policy(text: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(header) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
            name = Some(header);
        } else if let (Some(name), Some(version)) = (name, line.trim().strip_prefix("Candidate: "))
            && version != "(none)"
        {
            found.insert(name.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_fully_installed_packages_count() {
        let text = "bird2 installed\nhaproxy config-files\ntshark half-installed\ncurl installed\n";
        let installed = parse_status(text);
        assert_eq!(
            installed,
            HashSet::from(["bird2".to_owned(), "curl".to_owned()])
        );
    }

    #[test]
    fn any_of_a_packages_names_will_do() {
        let installed = parse_status("postgresql-17 installed\nbird2 installed\n");
        let wanted: Vec<_> = LAB.iter().collect();
        let missing = without(&wanted, |package| {
            package.names.iter().any(|name| installed.contains(*name))
        });
        assert!(missing.iter().all(|package| package.program != "initdb"));
        assert_eq!(missing.len(), LAB.len() - 2);
    }

    #[test]
    fn a_package_without_candidate_cannot_be_had() {
        let text = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  \
                    Version table:\n     1.96.0+dfsg1-1~deb12u2 500\n        500 http://mirror.example/debian main amd64 Packages\n\
                    bpftool:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n";
        assert_eq!(parse_policy(text), HashSet::from(["rustc-web".to_owned()]));
    }

    #[test]
    fn the_lists_name_nothing_twice() {
        let all = LAB.iter().chain(GUEST);
        let names: Vec<_> = all.flat_map(|package| package.names).collect();
        assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
    }
}
