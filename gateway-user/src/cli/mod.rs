//! The command line.

pub mod check;
pub mod drain;
pub mod run;
pub mod schema;
mod socket;
pub mod status;
mod table;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A VPC edge gateway in XDP: public addresses to private ones, L4 load
/// balancing, VXLAN.
#[derive(Parser)]
#[command(name = "lingyun", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  lingyun check site.yaml
      Everything that is wrong with a topology file, and how to mend it.

  lingyun run --topology site.yaml --node gw1
      Take over gateway gw1's interfaces on this machine and carry traffic
      until Ctrl-C. With a single gateway in the file, --node is not needed.

  lingyun run --topology site.yaml --node gw1 --xdp-mode generic
      The same on a NIC whose driver has no XDP: slower, good for a trial.

  lingyun status
      What the gateway on this machine serves, how much, and what it dropped.

  lingyun drain shop/web-1
      No new connections to that backend; those that it has go on.

  lingyun status --json | jq '.reasons[] | select(.packets > 0)'
      The same for scripts. Metrics: curl http://127.0.0.1:9477/metrics";

#[derive(Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    /// Prints the JSON Schema of topology files, for editors
    Schema,
    Status(status::Args),
    Drain(drain::Args),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema => schema::run(),
        Command::Status(arguments) => status::run(&arguments),
        Command::Drain(arguments) => drain::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        anstream::eprintln!("{}", explain(&error));
        ExitCode::FAILURE
    })
}

/// An error and what led to it, the innermost cause last.
fn explain(error: &anyhow::Error) -> String {
    let style = anstyle::Style::new()
        .bold()
        .fg_color(Some(anstyle::AnsiColor::Red.into()));
    let mut text = format!("{style}error:{style:#} {error}");
    for cause in error.chain().skip(1) {
        text += &format!("\n  because: {cause}");
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_fits_80_columns_and_every_example_parses() {
        let help = Cli::command().term_width(80).render_long_help().to_string();
        assert!(
            help.lines().all(|line| line.chars().count() <= 80),
            "{help}"
        );
        let commands = EXAMPLES
            .lines()
            .filter_map(|line| line.strip_prefix("  lingyun "));
        let commands = commands.map(|line| line.split(" | ").next().expect("there is a first"));
        let mut examples = 0;
        for command in commands {
            let words = ["lingyun"].into_iter().chain(command.split(' '));
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
            examples += 1;
        }
        assert!(examples >= 4, "the filter finds the examples");
    }
}
