//! The first and only process of a guest kernel: mounts, loads modules, runs one suite.
//!
//! `cargo xtask test --kernel` packs it as `/init` beside the suite (see
//! `xtask/src/guest/`). What the suite prints leaves by the second serial port, so that
//! no line of the kernel's falls among its lines; what goes wrong here leaves by the
//! first, with the kernel's. The machine ends by a reboot where the suite ended well,
//! and by QEMU's exit device where it did not.

use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    kmod::{ModuleInitFlags, finit_module},
    mount::{MsFlags, mount},
    sys::{
        reboot::{RebootMode, reboot},
        termios::{self, SetArg},
    },
};

/// Where the suite's output goes; the kernel's goes to the first port.
const RESULTS: &str = "/dev/ttyS1";

/// I/O port of QEMU's exit device: a byte written there ends QEMU with a failure.
const EXIT_PORT: u64 = 0x501;

/// The machine ends by itself after this long, even if nobody watches it any more.
const LONGEST: Duration = Duration::from_secs(1_150);

fn main() {
    if std::process::id() != 1 {
        eprintln!("guest-init is started by a guest kernel: type `cargo xtask test --kernel all`");
        std::process::exit(2);
    }
    let ended = run();
    if let Err(error) = &ended {
        eprintln!("guest: {error:#}");
    }
    end(ended.is_ok());
}

/// Sets up the machine and runs the suite to its end.
fn run() -> Result<()> {
    thread::spawn(|| {
        thread::sleep(LONGEST);
        end(false);
    });
    for (kind, path) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("bpf", "/sys/fs/bpf"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
    ] {
        fs::create_dir_all(path).with_context(|| format!("cannot create {path}"))?;
        mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>)
            .with_context(|| format!("cannot mount {kind} at {path}"))?;
    }
    let results = results()?;
    let mut modules: Vec<_> = fs::read_dir("/modules")
        .context("cannot read /modules")?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    // Their names begin with their number.
    modules.sort();
    for module in modules {
        load(&module).with_context(|| format!("cannot load {}", module.display()))?;
    }
    let arguments = fs::read_to_string("/arguments").context("cannot read /arguments")?;
    let status = Command::new("/suite")
        .args(arguments.lines())
        .env("PATH", "/bin")
        .env("LINGYUN_BPF_OBJECT", "/object")
        .env("LINGYUN_GUEST", "1")
        .stdin(Stdio::null())
        .stdout(results.try_clone()?)
        .stderr(results)
        .status()
        .context("cannot start the suite")?;
    ensure!(status.success(), "the suite ended with {status}");
    Ok(())
}

/// The port for results, as a plain pipe of bytes.
fn results() -> Result<File> {
    let port = OpenOptions::new()
        .read(true)
        .write(true)
        .open(RESULTS)
        .with_context(|| format!("cannot open {RESULTS}"))?;
    let mut settings = termios::tcgetattr(&port)?;
    termios::cfmakeraw(&mut settings);
    termios::tcsetattr(&port, SetArg::TCSANOW, &settings)?;
    Ok(port)
}

/// Loads one module; the kernel unpacks it itself where it can.
fn load(path: &Path) -> Result<()> {
    /// MODULE_INIT_COMPRESSED_FILE of linux/module.h, which nix does not name.
    const COMPRESSED: i32 = 4;
    let flags = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => ModuleInitFlags::empty(),
        Some("xz" | "zst" | "gz") => ModuleInitFlags::from_bits_retain(COMPRESSED as _),
        _ => bail!("its name ends neither in .ko nor like a compressed one's"),
    };
    finit_module(&File::open(path)?, c"", flags)?;
    Ok(())
}

/// Ends the machine; what was written to the ports first leaves them.
fn end(well: bool) -> ! {
    if let Ok(port) = OpenOptions::new().write(true).open(RESULTS) {
        let _ = termios::tcdrain(&port);
    }
    if !well {
        let exit = OpenOptions::new().write(true).open("/dev/port");
        let _ = exit.and_then(|mut port| {
            port.seek(SeekFrom::Start(EXIT_PORT))?;
            port.write_all(&[0])
        });
    }
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    unreachable!("a reboot does not return");
}
