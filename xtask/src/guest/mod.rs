//! Other kernels, as guests of QEMU: each boots with one test suite and nothing else,
//! and says on its second serial port what the suite prints.
//!
//! The guest's first process is `tests/src/bin/guest-init.rs`. All is emulated (TCG), so
//! that it needs neither KVM nor root and goes on every machine alike.

mod cpio;
mod image;
mod initramfs;
mod machine;

use std::{fmt, str::FromStr};

use anyhow::{Result, bail};

pub(crate) use image::Image;
pub(crate) use initramfs::Contents;
pub(crate) use machine::{Clock, Machine};

use crate::{
    apt,
    packages::{self, Package},
    ui::Step,
};

/// A kernel series of Debian, such as 6.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series(String);

impl Series {
    /// Those that the whole test runs: of Debian 12 and of Debian 13.
    pub(crate) fn all() -> Vec<Self> {
        ["6.1", "6.12"].map(|text| Self(text.into())).into()
    }

    /// What `--kernel` names: one series, or all of ours.
    pub(crate) fn named(text: &str) -> Result<Vec<Self>> {
        match text {
            "all" => Ok(Self::all()),
            _ => Ok(vec![text.parse()?]),
        }
    }
}

impl FromStr for Series {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match text.split_once('.') {
            Some((major, minor)) if number(major) && number(minor) => Ok(Self(text.into())),
            _ => bail!("`{text}` is no kernel series: type one such as 6.1 or 6.12, or `all`"),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Finds or fetches the kernel of a series, and installs what boots it; or says why
/// that cannot be had here.
pub(crate) fn set_up(step: &Step, series: &Series) -> Result<Result<Image, String>> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Err("guests run what was built here, on x86-64 only".into()));
    }
    let missing = packages::missing(&packages::GUEST.iter().collect::<Vec<_>>());
    if !missing.is_empty() {
        if !apt::can_install(step, &missing)? {
            return Ok(Err(format!("missing: {}", list(&missing))));
        }
        apt::install(step, &missing)?;
    }
    match Image::cached(series)? {
        Some(image) => Ok(Ok(image)),
        None => Image::fetch(step, series),
    }
}

fn list(packages: &[&Package]) -> String {
    let list: Vec<_> = packages
        .iter()
        .map(|package| format!("{} ({})", package.names[0], package.why))
        .collect();
    list.join(", ")
}

/// The kernels that are there to boot, or what is missing for it.
pub(crate) fn found() -> Result<String, String> {
    let packages = packages::missing(&packages::GUEST.iter().collect::<Vec<_>>());
    if !packages.is_empty() {
        return Err(list(&packages));
    }
    let mut releases = Vec::new();
    for series in Series::all() {
        match Image::cached(&series) {
            Ok(Some(image)) => releases.push(image.release),
            Ok(None) => return Err(format!("no kernel {series}")),
            Err(error) => return Err(format!("{error:#}")),
        }
    }
    Ok(releases.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_two_numbers() {
        assert_eq!(Series::named("6.1").unwrap(), [Series("6.1".into())]);
        assert_eq!(Series::named("all").unwrap().len(), 2);
        for wrong in ["6", "6.", "6.1.0", "six", "6.1 ", ""] {
            let error = Series::named(wrong).unwrap_err().to_string();
            assert!(error.contains("6.12, or `all`"), "{wrong}: {error}");
        }
    }
}
