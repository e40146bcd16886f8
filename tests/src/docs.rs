//! Pages of `docs/` that are written from the code: `cargo xtask docs` writes them, and
//! a test fails where one differs from what it would write.

use std::{
    fmt::{self, Write},
    fs, io,
    path::{Path, PathBuf},
};

use gateway_common::{Outcome, Reason};

use crate::{bench, conversation::conformance};

/// A page: where it lies in the checkout, and its text.
#[derive(Clone, Debug)]
pub struct Page {
    /// From the checkout's root.
    pub path: &'static str,
    text: String,
}

/// All pages.
pub fn pages() -> Vec<Page> {
    let page = |path, text: Result<String, fmt::Error>| Page {
        path,
        text: text.expect("writing to a string does not fail"),
    };
    let mut pages = vec![
        page("docs/drop-reasons.md", drop_reasons()),
        page("docs/nat-conformance.md", conformance::page()),
    ];
    let benchmarks = bench::document::page().expect("docs/benchmarks/ holds reports of benches");
    pages.extend(benchmarks.map(|text| Page {
        path: "docs/benchmarks.md",
        text,
    }));
    pages
}

impl Page {
    /// Whether the file says what the code does.
    pub fn is_fresh(&self) -> bool {
        fs::read_to_string(self.file()).is_ok_and(|text| text == self.text)
    }

    /// Writes the file.
    pub fn write(&self) -> io::Result<()> {
        fs::write(self.file(), &self.text)
    }

    fn file(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(self.path)
    }
}

/// Groups of reasons, with a sentence each. What is gone is what people look for.
const OUTCOMES: [(Outcome, &str, &str); 3] = [
    (
        Outcome::Dropped,
        "Dropped",
        "The packet is gone. Nothing was sent in its stead, unless the sentence says so.",
    ),
    (
        Outcome::Answered,
        "Answered",
        "The program sent an answer out of the interface that the packet came in by.",
    ),
    (
        Outcome::Passed,
        "Passed",
        "The node's own kernel got the packet, unchanged, as if there were no gateway.",
    ),
];

fn drop_reasons() -> Result<String, fmt::Error> {
    let mut page = String::from(HEAD);
    for (outcome, title, sentence) in OUTCOMES {
        write!(page, "\n## {title}\n\n{sentence}\n\n")?;
        writeln!(page, "| Name | Outcome | Why |\n|---|---|---|")?;
        let reasons = Reason::ALL.iter();
        for reason in reasons.filter(|reason| reason.outcome() == outcome) {
            // A bar would end the cell.
            let text = reason.text().replace('|', "\\|");
            writeln!(
                page,
                "| `{}` | {} | {text} |",
                reason.name(),
                outcome.name()
            )?;
        }
    }
    Ok(page)
}

const HEAD: &str = "\
<!-- Written by `cargo xtask docs` from gateway-common/src/reason.rs: change it there. -->

# Drop reasons

A packet that a gateway does not forward ends with exactly one of these reasons and is
counted under it, in packets and bytes. `lingyun status` lists those that occurred;
`lingyun_reason_packets_total{reason=\"...\", outcome=\"...\"}` has all of them
([agent.md](agent.md)). Where on its way a packet meets which check is in
[packet-walk.md](packet-walk.md).
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_say_what_the_code_does() {
        let stale: Vec<_> = pages()
            .into_iter()
            .filter(|page| !page.is_fresh())
            .map(|page| page.path)
            .collect();
        assert!(
            stale.is_empty(),
            "{stale:?} differs from the code: type `cargo xtask docs`"
        );
    }

    #[test]
    fn the_walk_names_reasons_that_there_are() {
        let page = include_str!("../../docs/packet-walk.md");
        let cells = page.lines().filter_map(|line| {
            let cell = line.strip_suffix(" |")?.rsplit(" | ").next()?;
            cell.starts_with('`').then_some(cell)
        });
        let names: Vec<_> = cells.flat_map(|cell| cell.split(", ")).collect();
        assert!(names.len() > 20, "the tables were not found: {names:?}");
        for name in names {
            let known = |reason: &&Reason| format!("`{}`", reason.name()) == name;
            assert!(Reason::ALL.iter().any(|reason| known(&reason)), "{name}");
        }
    }

    #[test]
    fn every_reason_has_one_line() {
        let page = drop_reasons().unwrap();
        for reason in Reason::ALL {
            let line = format!("| `{}` | {} | ", reason.name(), reason.outcome().name());
            assert_eq!(page.matches(&line).count(), 1, "{line}");
        }
    }
}
