//! The emulated machine.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Contents, Image, initramfs};
use crate::process;

/// What emulates it.
const PROGRAM: &str = "qemu-system-x86_64";

/// What a guest's time goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// The host's.
    Host,
    /// A nanosecond for each instruction: figures that repeat, for twice the time.
    Instructions,
}

/// A machine that is ready to be started.
pub(crate) struct Machine {
    /// The program and its arguments. Its output is the suite's; it ends well if and
    /// only if the suite did, or the kernel died.
    pub command: Vec<String>,
    /// What the kernel says.
    pub console: PathBuf,
}

impl Machine {
    /// Packs what the guest runs, under a name that tells it from others of its kernel.
    pub(crate) fn prepare(
        image: &Image,
        name: &str,
        clock: Clock,
        contents: &Contents<'_>,
    ) -> Result<Self> {
        let name = format!("guest-{}-{name}", image.release);
        let files = process::log_path(&name).with_extension("cpio");
        let console = process::log_path(&format!("{name}-console"));
        initramfs::write(&files, image, contents)?;
        // QEMU truncates it when it starts; before that it must not be an older run's.
        process::create(&console)?;
        Ok(Self {
            command: command(clock, &image.kernel(), &files, &console),
            console,
        })
    }
}

/// A computer with two serial ports, the device by which the guest tells a failure, and
/// nothing that needs looking for. A kernel that dies reboots at once, which ends it.
const COMPUTER: [&str; 13] = [
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    "-accel",
    "tcg",
    "-smp",
    "1",
    "-m",
    "3072",
    "-device",
    "isa-debug-exit,iobase=0x501,iosize=1",
];

/// The kernel's command line. What it does not know itself goes into the environment of
/// the guest's first process.
const KERNEL: &str = "console=ttyS0 panic=-1 oops=panic";

impl Clock {
    const fn options(self) -> &'static [&'static str] {
        match self {
            Self::Host => &["-cpu", "max", "-append"],
            // A string instruction counts once for each step, so that the kernel's
            // copies would cost an instruction a byte: without these two features it
            // copies with plain loads and stores. An idle machine's time jumps ahead.
            Self::Instructions => &[
                "-cpu",
                "max,erms=off,fsrm=off",
                "-icount",
                "shift=0,sleep=off",
                "-append",
            ],
        }
    }

    fn kernel_line(self) -> String {
        match self {
            Self::Host => KERNEL.to_owned(),
            Self::Instructions => format!("{KERNEL} LINGYUN_COUNTS=1"),
        }
    }
}

fn command(clock: Clock, kernel: &Path, files: &Path, console: &Path) -> Vec<String> {
    let shown = |path: &Path| path.display().to_string();
    // In a list of options a comma is written twice.
    let console = shown(console).replace(',', ",,");
    let mut words = vec![PROGRAM.to_owned()];
    words.extend(COMPUTER.map(str::to_owned));
    words.extend(clock.options().iter().map(|&word| word.to_owned()));
    words.push(clock.kernel_line());
    words.extend(["-kernel".into(), shown(kernel)]);
    words.extend(["-initrd".into(), shown(files)]);
    words.extend(["-chardev".into(), format!("file,id=console,path={console}")]);
    words.extend(["-chardev".into(), "stdio,id=results".into()]);
    words.extend(["-serial".into(), "chardev:console".into()]);
    words.extend(["-serial".into(), "chardev:results".into()]);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(clock: Clock) -> Vec<String> {
        let paths = ["/k", "/f", "/a,b/console"].map(Path::new);
        command(clock, paths[0], paths[1], paths[2])
    }

    #[test]
    fn a_machine_that_counts_says_so_to_what_runs_in_it() {
        for (clock, counts) in [(Clock::Host, false), (Clock::Instructions, true)] {
            let words = words(clock);
            let append = words.iter().position(|word| word == "-append").unwrap();
            assert!(words[append + 1].starts_with(KERNEL));
            assert_eq!(words[append + 1].contains("LINGYUN_COUNTS"), counts);
            assert_eq!(words.contains(&"-icount".to_owned()), counts);
        }
    }

    #[test]
    fn a_folder_with_a_comma_is_one_option() {
        let words = words(Clock::Host);
        assert!(words.contains(&"file,id=console,path=/a,,b/console".to_owned()));
    }
}
