//! The emulated machine.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Contents, Image, initramfs};
use crate::process;

/// What emulates it.
const PROGRAM: &str = "qemu-system-x86_64";

/// A machine that is ready to be started.
pub(crate) struct Machine {
    /// The program and its arguments. Its output is the suite's; it ends well if and
    /// only if the suite did, or the kernel died.
    pub command: Vec<String>,
    /// What the kernel says.
    pub console: PathBuf,
}

impl Machine {
    /// Packs what the guest runs.
    pub(crate) fn prepare(image: &Image, contents: &Contents<'_>) -> Result<Self> {
        let files = process::log_path(&format!("guest-{}", image.release)).with_extension("cpio");
        let console = process::log_path(&format!("guest-{}-console", image.release));
        initramfs::write(&files, image, contents)?;
        // QEMU truncates it when it starts; before that it must not be an older run's.
        process::create(&console)?;
        Ok(Self {
            command: command(&image.kernel(), &files, &console),
            console,
        })
    }
}

/// A computer with two serial ports, the device by which the guest tells a failure, and
/// nothing that needs looking for. A kernel that dies reboots at once, which ends it.
const COMPUTER: [&str; 17] = [
    "-nodefaults",
    "-no-user-config",
    "-no-reboot",
    "-display",
    "none",
    "-accel",
    "tcg",
    "-cpu",
    "max",
    "-smp",
    "1",
    "-m",
    "1024",
    "-device",
    "isa-debug-exit,iobase=0x501,iosize=1",
    "-append",
    "console=ttyS0 panic=-1 oops=panic",
];

fn command(kernel: &Path, files: &Path, console: &Path) -> Vec<String> {
    let shown = |path: &Path| path.display().to_string();
    // In a list of options a comma is written twice.
    let console = shown(console).replace(',', ",,");
    let mut words = vec![PROGRAM.to_owned()];
    words.extend(COMPUTER.map(str::to_owned));
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

    #[test]
    fn a_folder_with_a_comma_is_one_option() {
        let words = command(Path::new("/k"), Path::new("/f"), Path::new("/a,b/console"));
        assert!(words.contains(&"file,id=console,path=/a,,b/console".to_owned()));
    }
}
