//! How much work the object's programs are for the kernel's verifier.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use aya::programs::Xdp;

use super::{Inheritance, Sizes, Stamp, Ticks, open, refused};
use crate::model::Tables;

/// Loads every program of the object as for a node with these tables, those included
/// that such a node would not use, and tells how many instructions the verifier went
/// through for each. Nothing stays loaded.
pub fn verified(object: &[u8], tables: &Tables) -> Result<BTreeMap<String, u32>> {
    let (sizes, ticks) = (Sizes::of(tables), Ticks::measure()?);
    let left = Inheritance::find(None, tables.flows, &sizes.snat, Stamp::of(tables));
    let mut ebpf = open(object, tables, &sizes, &left, ticks)?;
    let mut counts = BTreeMap::new();
    for (name, program) in ebpf.programs_mut() {
        let program: &mut Xdp = program.try_into()?;
        program.load().with_context(|| refused(name))?;
        let count = program.info()?.verified_instruction_count();
        let count = count.context("the kernel tells no counts: it is older than 5.16")?;
        counts.insert(name.to_owned(), count);
    }
    Ok(counts)
}
