//! `cargo xtask bench`: set-up, build, then the measurements.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::{
    bpf, build,
    guest::{self, Clock, Contents, Machine, Series},
    host, process, run, setup, test, ui,
};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure and how, as `lingyun-bench --help` tells; `instructions` takes
    /// `--kernel` 6.1, 6.12 or `all`. Without a word: all that needs no other kernel.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// `cargo xtask bench`.
pub(crate) fn bench(arguments: &Arguments) -> Result<()> {
    let mut words = arguments.words.clone();
    // The report says how to get it again.
    let typed = [&["cargo xtask bench".to_owned()], &words[..]].concat();
    let typed = typed.join(" ");
    let program = match words.first().map(String::as_str) {
        // All of it happens in an emulated machine.
        Some("instructions") => {
            build::object(&bpf::find_or_install()?)?;
            let programs = build::programs()?;
            let series = taken(&mut words, "--kernel")?;
            let series = Series::named(series.as_deref().unwrap_or("all"))?;
            for file in guests(&series, &programs)? {
                words.extend(["--guest".into(), file.display().to_string()]);
            }
            run::program(&programs, BENCH)?
        }
        _ if !host::is_root() => {
            bail!("BPF needs root: type `sudo -E env PATH=\"$PATH\" {typed}`")
        }
        // With the agent as it runs on real nodes.
        word if needs_agent(word) => {
            build::object(&setup::all()?)?;
            let agent = run::program(&build::release()?, "lingyun")?;
            words.extend(["--agent".into(), agent.display().to_string()]);
            run::program(&build::programs()?, BENCH)?
        }
        _ => {
            build::object(&setup::all()?)?;
            run::program(&build::programs()?, BENCH)?
        }
    };
    run::replace_with(
        Command::new(program)
            .args(&words)
            .env("LINGYUN_COMMAND", typed),
    )
}

const BENCH: &str = "lingyun-bench";

/// Whether the agent is measured: by its own bench, and where options alone stand for all.
fn needs_agent(word: Option<&str>) -> bool {
    word.is_none_or(|word| word == "control" || word.starts_with('-') && !is_help(word))
}

fn is_help(word: &str) -> bool {
    matches!(word, "-h" | "--help")
}

/// Prepares a machine that counts for each kernel; returns what tells how to start it.
fn guests(
    series: &[Series],
    programs: &std::collections::HashMap<String, PathBuf>,
) -> Result<Vec<PathBuf>> {
    let init = run::program(programs, "guest-init")?;
    let bench = run::program(programs, BENCH)?;
    let mut found = Vec::new();
    for series in series {
        let step = ui::step(format!("kernel {series}"));
        let image = match guest::set_up(&step, series)? {
            Ok(image) => image,
            Err(reason) => bail!("{reason}"),
        };
        let contents = Contents {
            init: &init,
            suite: &bench,
            arguments: &["instructions".to_owned()],
            files: &test::guest_files(),
        };
        let machine = Machine::prepare(&image, "bench", Clock::Instructions, &contents)?;
        let file = process::log_path(&format!("bench-{series}")).with_extension("json");
        let start = json!({ "command": machine.command, "console": machine.console });
        fs::write(&file, start.to_string())
            .with_context(|| format!("cannot write {}", file.display()))?;
        step.done(&image.release);
        found.push(file);
    }
    Ok(found)
}

/// Takes an option and its value out of the words.
fn taken(words: &mut Vec<String>, option: &str) -> Result<Option<String>> {
    let Some(at) = words.iter().position(|word| word == option) else {
        return Ok(None);
    };
    words.remove(at);
    if at == words.len() {
        bail!("{option} needs a value");
    }
    Ok(Some(words.remove(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_built_where_it_is_measured() {
        for word in [None, Some("--quick"), Some("control")] {
            assert!(needs_agent(word), "{word:?}");
        }
        for word in ["program", "wire", "--help"] {
            assert!(!needs_agent(Some(word)), "{word}");
        }
    }

    #[test]
    fn an_option_is_taken_with_its_value() {
        let mut words = ["instructions", "--kernel", "6.1", "--json"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(
            taken(&mut words, "--kernel").unwrap().as_deref(),
            Some("6.1")
        );
        assert_eq!(words, ["instructions", "--json"]);
        assert_eq!(taken(&mut words, "--kernel").unwrap(), None);
        words.push("--kernel".into());
        assert!(taken(&mut words, "--kernel").is_err());
    }
}
