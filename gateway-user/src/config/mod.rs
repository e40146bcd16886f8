//! From a topology file to a [`Topology`] that is known to be sound.
//!
//! text -> `tree` (YAML with places) -> `document` (typed, by `read`) -> `validate`
//! (the rules) -> `build` -> [`Topology`]. Every step reports all that it finds.

mod address;
mod build;
mod choice;
mod defaults;
mod document;
mod guard;
mod list;
mod lists;
mod number;
mod problem;
mod read;
mod render;
mod scalar;
mod snat;
mod topology;
mod tree;
mod validate;

use std::{fs, path::Path};

pub use guard::*;
pub use problem::{Problem, Report, Severity};
pub use render::pretty;
pub use snat::*;
pub use topology::*;

use self::{
    document::Document,
    problem::{Place, Problems},
    read::At,
    tree::{Node, Value},
};

/// The version of the format that this code reads.
const VERSION: i128 = 1;

/// A sound topology, and what somebody should look at nevertheless.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The topology.
    pub topology: Topology,
    /// Problems of severity [`Severity::Warning`], in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Reads a topology file.
pub fn load(path: &Path) -> Result<Loaded, Report> {
    parse(&path.display().to_string(), &read_text(path)?)
}

/// Reads the text of a topology file, without a look at what it says.
pub fn read_text(path: &Path) -> Result<String, Report> {
    let name = path.display().to_string();
    let bytes = fs::read(path).map_err(|error| {
        let what = format!("cannot read the file: {error}");
        Report::unreadable(&name, what, "check the path and the permissions")
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let start = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        let what =
            format!("the file is not UTF-8 text: line {line} holds a byte that is no part of it");
        Report::unreadable(&name, what, "save it as UTF-8")
    })
}

/// Reads a topology from text. `file` names it in messages, and tells where the files
/// are that it names.
pub fn parse(file: &str, text: &str) -> Result<Loaded, Report> {
    let mut problems = Problems::default();
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let topology = topology(text, folder, &mut problems);
    let refused = problems.has_errors();
    let problems = problems.into_sorted();
    match topology {
        Some(topology) if !refused => Ok(Loaded {
            topology,
            warnings: problems,
        }),
        _ => Err(Report::new(file, text, problems)),
    }
}

/// The JSON Schema of topology files, for editors.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Document)
}

fn topology(text: &str, folder: &Path, problems: &mut Problems) -> Option<Topology> {
    let root = tree::parse(text, problems)?;
    if matches!(root.value, Value::Null) {
        problems.error(
            Place::START,
            "the file is empty",
            "start from the example in docs/topology.md (topologies/minimal.yaml)",
        );
        return None;
    }
    check_version(&root, problems)?;
    let document = At::<Document>::read(&root, "", problems)?;
    let lists = lists::read(&document, folder, problems);
    validate::validate(&document, problems);
    validate::guard(&document, problems);
    if problems.has_errors() {
        return None;
    }
    let topology = build::build(&document, lists);
    if topology.is_none() {
        problems.error(
            Place::START,
            "a value is missing that validation should have asked for",
            "this is a fault of lingyun: please report it together with the file",
        );
    }
    topology
}

/// Another version may mean anything, so nothing else is said about such a file.
fn check_version(root: &Node, problems: &mut Problems) -> Option<()> {
    let Value::Map(entries) = &root.value else {
        return Some(());
    };
    let Some((_, version)) = entries.iter().find(|(key, _)| key.name == "version") else {
        return Some(());
    };
    match version.value {
        Value::Integer(number) if number > VERSION => {
            problems.error(
                version.at,
                format!("this file has version {number}, this lingyun reads version 1"),
                "use a newer lingyun, or write the file in version 1",
            );
            None
        }
        _ => Some(()),
    }
}
