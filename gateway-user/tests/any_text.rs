//! No text makes the reading of topologies panic, hang or take much memory.

use std::{fs, path::Path};

use lingyun::config;
use proptest::prelude::*;

fn order() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies/order.yaml");
    fs::read_to_string(path).expect("a topology of the project")
}

#[test]
fn small_files_cannot_become_large_trees() {
    let nested = format!("lab: {}", "[".repeat(100_000));
    assert!(config::parse("nested", &nested).is_err());
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let aliases = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{aliases}]\n"));
    }
    let report = config::parse("bomb", &bomb).expect_err("too many values");
    assert!(report.to_string().contains("not valid YAML"), "{report}");
}

#[test]
fn a_file_cut_anywhere_is_judged_without_panic() {
    let text = order();
    let vpcs = text.find("\nvpcs:").expect("VPCs");
    for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
        let result = config::parse("cut", &text[..end]);
        if let Err(report) = result {
            assert!(!report.pretty().is_empty());
            assert!(!report.to_string().is_empty());
        } else {
            // Services, which come last, may be missing; what comes before may not.
            assert!(end > vpcs, "{end} bytes passed");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_are_judged_without_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = order().into_bytes();
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Err(report) = config::parse("changed", &String::from_utf8_lossy(&bytes)) {
            prop_assert!(!report.pretty().is_empty());
        }
    }

    #[test]
    fn moved_lines_are_judged_without_panic(
        lines in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..4), 1..12),
    ) {
        let text = order();
        let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
        for (index, action) in lines {
            let index = index.index(all.len());
            match action {
                0 => _ = all.remove(index),
                1 => all.insert(index, all[index].clone()),
                2 => all[index] = format!("  {}", all[index]),
                _ => all[index] = all[index].trim_start().to_owned(),
            }
            if all.is_empty() {
                break;
            }
        }
        let _ = config::parse("moved", &all.join("\n"));
    }

    #[test]
    fn any_text_is_judged_without_panic(text in "[-a-z0-9:,{}\\[\\]\"'&*<>|~!?#% \n\t]{0,200}") {
        let _ = config::parse("any", &text);
    }
}
