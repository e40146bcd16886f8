//! Attaching programs to interfaces by pinned links, which outlive the agent.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::programs::{
    ProgramError, Xdp, XdpMode,
    links::{FdLink, PinnedLink},
    xdp::XdpLink,
};
use gateway_common::{ABI_VERSION, Program};
use serde::{Deserialize, Serialize};

/// What an interface faces; each role has its own entry into the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The public network.
    Public,
    /// The hosts.
    Underlay,
    /// Both.
    SingleArm,
}

impl Role {
    /// The program for the role, where the public side is in VLANs or not.
    pub const fn program(self, tagged: bool) -> Program {
        let [public, underlay, single_arm] = Program::entries(tagged);
        match self {
            Self::Public => public,
            Self::Underlay => underlay,
            Self::SingleArm => single_arm,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Public => "public",
            Self::Underlay => "underlay",
            Self::SingleArm => "single-arm",
        })
    }
}

/// Where the program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the driver, before the kernel allocates anything.
    #[default]
    Native,
    /// In the kernel's receive path, after it: works everywhere, several times slower.
    Generic,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// A program on an interface.
#[derive(Debug)]
pub struct Attachment {
    /// Name of the interface.
    pub interface: String,
    /// What the interface faces.
    pub role: Role,
    /// Where the program runs.
    pub mode: Mode,
    /// Whether a link of an earlier agent was taken over.
    pub taken_over: bool,
    link: PinnedLink,
}

impl Attachment {
    /// Detaches the program.
    pub(super) fn detach(self) -> Result<()> {
        self.link
            .unpin()
            .map(drop)
            .with_context(|| format!("cannot detach from {}", self.interface))
    }
}

/// The directory for this ABI's links.
pub(super) fn directory(base: &Path) -> Result<PathBuf> {
    let directory = base.join(format!("abi-{ABI_VERSION}"));
    fs::create_dir_all(&directory).with_context(|| {
        format!(
            "cannot create {} on the BPF file system",
            directory.display()
        )
    })?;
    Ok(directory)
}

/// Removes the directory and its parent when they are empty.
pub(super) fn remove_directory(directory: &Path) {
    if fs::remove_dir(directory).is_ok()
        && let Some(base) = directory.parent()
    {
        // Not empty when another ABI's links are there: then it stays.
        let _ = fs::remove_dir(base);
    }
}

/// Attaches a loaded program, or swaps it into the link that is pinned already.
pub(super) fn attach(
    program: &mut Xdp,
    directory: &Path,
    interface: &str,
    role: Role,
    mode: Mode,
) -> Result<Attachment> {
    let pin = directory.join(file_name(interface, mode));
    if let Ok(link) = PinnedLink::from_pin(&pin) {
        match swap(program, link, &pin) {
            Ok(link) => {
                let interface = interface.into();
                return Ok(Attachment {
                    interface,
                    role,
                    mode,
                    taken_over: true,
                    link,
                });
            }
            // The interface was removed and made again: the link is dead.
            Err(error) => {
                log::info!("the link pinned at {} is dead ({error:#})", pin.display());
                fs::remove_file(&pin)?;
            }
        }
    }
    let flags = match mode {
        Mode::Native => XdpMode::Driver,
        Mode::Generic => XdpMode::Skb,
    };
    let id = program
        .attach(interface, flags)
        .map_err(|error| explain(error, interface, mode))?;
    let link: FdLink = program.take_link(id)?.try_into().with_context(|| {
        format!("{interface}: this kernel has no BPF links for XDP (needs 5.9)")
    })?;
    let link = link
        .pin(&pin)
        .with_context(|| format!("cannot pin {}", pin.display()))?;
    Ok(Attachment {
        interface: interface.into(),
        role,
        mode,
        taken_over: false,
        link,
    })
}

/// Puts `program` into a pinned link in one step; packets run either the old one
/// or the new one.
fn swap(program: &mut Xdp, link: PinnedLink, pin: &Path) -> Result<PinnedLink> {
    let id = program.attach_to_link(XdpLink::try_from(FdLink::from(link))?)?;
    // The pin keeps the link alive; the program need not.
    drop(program.take_link(id)?);
    Ok(PinnedLink::from_pin(pin)?)
}

/// Detaches links that are pinned but not among `attachments`.
pub(super) fn drop_stale(directory: &Path, attachments: &[Attachment]) -> Result<Vec<String>> {
    let mut dropped = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_used = attachments
            .iter()
            .any(|link| file_name(&link.interface, link.mode) == name);
        if name.starts_with(PREFIX) && !is_used {
            PinnedLink::from_pin(directory.join(&name))?.unpin()?;
            dropped.push(name);
        }
    }
    Ok(dropped)
}

fn file_name(interface: &str, mode: Mode) -> String {
    // bpffs refuses dots in names.
    format!("{PREFIX}{mode}-{}", interface.replace('.', "_"))
}

/// Start of the names of all links' pins.
const PREFIX: &str = "link-";

fn explain(error: ProgramError, interface: &str, mode: Mode) -> anyhow::Error {
    let code = match &error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let hint = match (code, mode, &error) {
        (_, _, ProgramError::UnknownInterface { .. }) => {
            "there is no such interface: compare the topology with `ip link`".into()
        }
        (Some(nix::libc::EBUSY | nix::libc::EEXIST), ..) => format!(
            "another XDP program is attached: see `ip link show {interface}`, and remove it with \
             `ip link set {interface} xdp off` if it is not needed"
        ),
        (Some(nix::libc::EOPNOTSUPP | nix::libc::EINVAL | nix::libc::ERANGE), Mode::Native, _) => {
            format!(
                "the driver of {interface} does not run XDP natively, or not at this MTU: lower the \
             MTU, or run with --xdp-mode generic (several times slower)"
            )
        }
        (Some(nix::libc::EPERM), ..) => {
            "not permitted: the agent needs CAP_NET_ADMIN and CAP_BPF (run as root)".into()
        }
        _ => "the kernel refused".into(),
    };
    anyhow::Error::new(error).context(format!("cannot attach to {interface}: {hint}"))
}
