//! Histories in files: one arrival a line, `public 0200…`, comments behind `#`. A line
//! `site 7` says that it happens at the random site with this number.

use std::{
    fmt::Write,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::{Arrival, SHORTEST};
use crate::cases::Program;

/// Frames in the order in which a gateway sees them.
pub(super) type History = Vec<Arrival>;

/// Findings of the past, which every test run tries again.
pub(super) fn corpus() -> Result<Vec<(PathBuf, Option<u64>, History)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "frames")
    });
    files.sort();
    files
        .into_iter()
        .map(|path| load(&path).map(|(site, history)| (path, site, history)))
        .collect()
}

/// Reads a history, and where it happens.
pub(super) fn load(path: &Path) -> Result<(Option<u64>, History)> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (mut site, mut history) = (None, History::new());
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(seed) = line.strip_prefix("site ") {
            let wrong = || format!("{}: `{seed}` is not a site's number", path.display());
            site = Some(seed.parse().with_context(wrong)?);
        } else if !line.is_empty() {
            let arrival = parse_arrival(line)
                .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
            history.push(arrival);
        }
    }
    Ok((site, history))
}

/// Writes a history into a folder, under a name of its own, and says where.
pub(super) fn save(
    folder: &Path,
    site: Option<u64>,
    history: &[Arrival],
    comment: &str,
) -> Result<PathBuf> {
    let mut text = String::new();
    for line in comment.lines() {
        let _ = writeln!(text, "# {line}");
    }
    if let Some(site) = site {
        let _ = writeln!(text, "site {site}");
    }
    let mut hasher = DefaultHasher::new();
    for arrival in history {
        let line = in_words(arrival);
        line.hash(&mut hasher);
        let _ = writeln!(text, "{line}");
    }
    let path = folder.join(format!("{:016x}.frames", hasher.finish()));
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&path, text))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// An arrival as a line of a file.
pub(super) fn in_words(arrival: &Arrival) -> String {
    let mut line = format!("{} ", name(arrival.program));
    for byte in &arrival.frame {
        let _ = write!(line, "{byte:02x}");
    }
    line
}

/// The arrival that a line tells: a program and the frame's bytes.
pub(super) fn parse_arrival(line: &str) -> Result<Arrival> {
    let Some((word, hex)) = line.split_once([' ', ':']) else {
        bail!("`{line}` is not of the form `public 0200…`");
    };
    let program = program(word)?;
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let frame = digits
        .chunks(2)
        .map(|pair| {
            let pair = str::from_utf8(pair)?;
            u8::from_str_radix(pair, 16).with_context(|| format!("`{pair}` is not a byte"))
        })
        .collect::<Result<Vec<u8>>>()?;
    if !digits.len().is_multiple_of(2) || frame.len() < SHORTEST {
        bail!("a frame has whole bytes, at least {SHORTEST}");
    }
    Ok(Arrival { program, frame })
}

/// The program with a name.
pub(super) fn program(name: &str) -> Result<Program> {
    Ok(match name {
        "public" => Program::Public,
        "underlay" => Program::Underlay,
        "single" => Program::SingleArm,
        _ => bail!("`{name}` is none of the programs: public, underlay, single"),
    })
}

fn name(program: Program) -> &'static str {
    match program {
        Program::Public => "public",
        Program::Underlay => "underlay",
        Program::SingleArm => "single",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back() {
        let arrival = |program, last| Arrival {
            program,
            frame: [[0x02; 13].as_slice(), &[last]].concat(),
        };
        let history = vec![
            arrival(Program::Public, 0xfe),
            arrival(Program::SingleArm, 0),
        ];
        let folder = tempfile::tempdir().unwrap();
        let path = save(folder.path(), Some(7), &history, "why\nand how").unwrap();
        assert_eq!(load(&path).unwrap(), (Some(7), history));
    }

    #[test]
    fn what_is_no_frame_is_refused_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.frames");
        fs::write(&path, "# fine\npublic 02020202020202020202020202zz\n").unwrap();
        let error = format!("{:#}", load(&path).unwrap_err());
        assert!(error.contains("line 2") && error.contains("zz"), "{error}");
    }
}
