//! The guest's file system: one suite, what it runs, and the libraries of both.

use std::{
    collections::BTreeSet,
    fs,
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{cpio::Archive, image::Image};
use crate::{host, process};

/// Modules that the suites need, beyond what Debian builds into its kernels.
const MODULES: [&str; 1] = ["veth"];

/// Programs that the suites start.
const PROGRAMS: [&str; 1] = ["ip"];

/// Folders of the checkout that the suites read, at the same place in the guest.
const FOLDERS: [&str; 1] = ["tests/corpus"];

/// What differs between guests.
pub(crate) struct Contents<'a> {
    /// The guest's first process.
    pub init: &'a Path,
    /// The test program.
    pub suite: &'a Path,
    /// Its arguments.
    pub arguments: &'a [String],
    /// Files that it reads, and where it finds them.
    pub files: &'a [(&'a str, PathBuf)],
}

/// Writes the archive for an image's kernel.
pub(super) fn write(path: &Path, image: &Image, contents: &Contents<'_>) -> Result<()> {
    let mut programs = vec![
        ("/init".to_owned(), contents.init.to_owned()),
        ("/suite".to_owned(), contents.suite.to_owned()),
    ];
    for name in PROGRAMS {
        let program = host::find(name).with_context(|| format!("no program {name} here"))?;
        programs.push((format!("/bin/{name}"), program));
    }
    let mut libraries = BTreeSet::new();
    for (_, program) in &programs {
        libraries.extend(libraries_of(program)?);
    }
    let mut files = programs;
    let read = contents.files.iter();
    files.extend(read.map(|(place, file)| ((*place).to_owned(), file.clone())));
    let mut in_place: Vec<PathBuf> = libraries.into_iter().collect();
    for folder in FOLDERS {
        in_place.extend(files_in(&process::root().join(folder))?);
    }
    files.extend(
        in_place
            .into_iter()
            .map(|file| (file.display().to_string(), file)),
    );
    for (number, module) in image.modules(&MODULES)?.into_iter().enumerate() {
        let name = module.file_name().context("a module has a name")?;
        // The guest loads them in the order of their names.
        let path = format!("/modules/{number:02}-{}", name.to_string_lossy());
        files.push((path, module));
    }
    let mut archive = Archive::new(BufWriter::new(process::create(path)?));
    for folder in FOLDERS {
        archive.folder(&process::root().join(folder).display().to_string())?;
    }
    archive.folder("modules")?;
    archive.file("/arguments", contents.arguments.join("\n").as_bytes())?;
    for (path, source) in files {
        let content =
            fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        archive.file(&path, &content)?;
    }
    archive.finish()?;
    Ok(())
}

fn files_in(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .filter(|path| path.as_ref().is_ok_and(|path| path.is_file()))
        .collect()
}

fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    let list = process::output(Command::new("ldd").arg(program).env("LC_ALL", "C"))?;
    parse_libraries(&list).with_context(|| format!("{} cannot start", program.display()))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)`, and the loader's own path alone.
fn parse_libraries(list: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in list.lines() {
        if let Some((name, _)) = line.split_once(" => not found") {
            anyhow::bail!("the library {} is not here", name.trim());
        }
        let words = line
            .split_whitespace()
            .take_while(|word| !word.starts_with('('));
        found.extend(
            words
                .filter(|word| word.starts_with('/'))
                .map(PathBuf::from),
        );
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_what_ldd_says() {
        let list = "\tlinux-vdso.so.1 (0x00007ffc)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fca)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007fcb)\n";
        let found = parse_libraries(list).unwrap();
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.map(PathBuf::from));
        assert!(parse_libraries("\tstatically linked\n").unwrap().is_empty());
        let error = parse_libraries("\tlibx.so => not found\n").unwrap_err();
        assert!(error.to_string().contains("libx.so"));
    }
}
