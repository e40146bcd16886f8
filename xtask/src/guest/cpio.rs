//! Writing an archive that the kernel unpacks as its first file system: cpio's "newc"
//! format, as Documentation/driver-api/early-userspace/buffer-format.rst has it.

use std::{
    collections::BTreeSet,
    io::{Result, Write},
    path::Path,
};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// An archive that is being written.
pub(super) struct Archive<W> {
    out: W,
    entries: u32,
    folders: BTreeSet<String>,
}

impl<W: Write> Archive<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            entries: 0,
            folders: BTreeSet::new(),
        }
    }

    /// Adds a file that may be run, and the folders that lead to it.
    pub(super) fn file(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        if let Some(folder) = Path::new(path).parent().and_then(Path::to_str) {
            self.folder(folder)?;
        }
        self.entry(path, PROGRAM, content)
    }

    /// Adds a folder and those that lead to it.
    pub(super) fn folder(&mut self, path: &str) -> Result<()> {
        let path = path.trim_start_matches('/');
        let mut end = 0;
        for name in path.split_inclusive('/') {
            end += name.len();
            let folder = path[..end].trim_end_matches('/');
            if !folder.is_empty() && self.folders.insert(folder.to_owned()) {
                self.entry(folder, FOLDER, &[])?;
            }
        }
        Ok(())
    }

    /// Ends the archive.
    pub(super) fn finish(mut self) -> Result<W> {
        self.entry("TRAILER!!!", 0, &[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.entries += 1;
        let (nobody, no_time, no_device) = (0, 0, 0);
        let size = u32::try_from(content.len()).map_err(std::io::Error::other)?;
        let fields = [
            self.entries,
            mode,
            nobody,
            nobody,
            1,
            no_time,
            size,
            no_device,
            no_device,
            no_device,
            no_device,
            name.len() as u32 + 1,
            0,
        ];
        let mut header = String::from("070701");
        header.extend(fields.map(|field| format!("{field:08x}")));
        header.push_str(name);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    /// Headers and contents begin at multiples of four.
    fn padded(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes)?;
        let rest = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.write_all(&[0; 3][..rest])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_begins_at_a_multiple_of_four() {
        let mut archive = Archive::new(Vec::new());
        archive.file("/a/b", b"12345").unwrap();
        let bytes = archive.finish().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let starts: Vec<_> = text.match_indices("070701").map(|(at, _)| at).collect();
        // The folder, the file, the end.
        assert_eq!(starts.len(), 3);
        assert!(starts.iter().all(|at| at % 4 == 0), "{starts:?}");
        assert_eq!(&text[starts[0] + 110..][..2], "a\0");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"));
        assert!(text.contains("a/b\0") && text.contains("12345\0\0\0"));
    }
}
