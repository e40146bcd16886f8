//! The gateway as a candidate: its program loaded with each scale's tables, and checked.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramFd;
use lingyun::datapath::{self, Datapath, Role};

use super::{
    cases::{Case, Scale, Shape},
    generator::Generator,
};
use crate::{
    cases::Program,
    harness::{Action, Host, object_path},
};

/// The loaded data paths.
pub(super) struct Subjects(BTreeMap<Scale, Datapath>);

impl Subjects {
    /// Loads one for each scale.
    pub(super) fn load() -> Result<Self> {
        datapath::ensure_bpffs()?;
        let mut loaded = BTreeMap::new();
        for scale in Scale::ALL {
            loaded.insert(scale, load(scale)?);
        }
        Ok(Self(loaded))
    }

    /// Leaves nothing behind.
    pub(super) fn unload(self) -> Result<()> {
        for datapath in self.0.into_values() {
            datapath.detach()?;
        }
        Ok(())
    }

    /// The program that gets the frames of a case.
    pub(super) fn program(&mut self, case: &Case) -> Result<ProgramFd> {
        let datapath = self.0.get_mut(&case.site).context("each scale is loaded")?;
        Ok(datapath.program(role(case.program))?.fd()?.try_clone()?)
    }

    /// A measurement of a program that drops is worthless: what comes out must be what
    /// the library makes of the same frame on the host.
    pub(super) fn check(&mut self, case: &Case, generator: &mut Generator) -> Result<()> {
        let host = Host::new(case.site.tables());
        generator.restart()?;
        let sent = generator.run_floor("floor_tx", 1)?.output;
        generator.restart()?;
        let outcome = generator.run(&self.program(case)?, 1)?;
        let expected = host.send(case.program, &sent, 256);
        let action = match expected.action {
            Action::Drop => 1,
            Action::Pass => 2,
            Action::Transmit => 3,
            Action::Redirect(_) => 4,
        };
        ensure!(
            (action == 1) == (case.shape == Shape::Drop),
            "{}: the frame goes another way: {:?}",
            case.name,
            expected.reasons
        );
        ensure!(
            outcome.action == action,
            "{}: action {}, not {action}",
            case.name,
            outcome.action
        );
        ensure!(
            outcome.output == expected.output,
            "{}: the bytes that come out are not those of the host:\n{}",
            case.name,
            crate::packet::diff(&expected.output, &outcome.output).unwrap_or_default()
        );
        Ok(())
    }
}

fn load(scale: Scale) -> Result<Datapath> {
    let path = object_path();
    let object = std::fs::read(&path)
        .with_context(|| format!("{} is not built: type `cargo xtask build`", path.display()))?;
    let options = datapath::Options {
        object: &object,
        pin_dir: format!("/sys/fs/bpf/lingyun-bench-{}", std::process::id()).into(),
    };
    Datapath::load(&options, &scale.tables())
}

const fn role(program: Program) -> Role {
    match program {
        Program::Public => Role::Public,
        Program::Underlay => Role::Underlay,
        Program::SingleArm => Role::SingleArm,
    }
}
