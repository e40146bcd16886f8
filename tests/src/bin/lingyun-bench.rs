//! Measures Lingyun.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gateway_tests::bench::{
    all, control, instructions, interrupt, program,
    wire::{self, latency},
};

/// Measures Lingyun, beside the least that any program must pay and beside others; all of
/// it, or one bench.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Bench {
    #[command(flatten)]
    all: all::Arguments,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The XDP program alone: nanoseconds a packet.
    Program(program::Arguments),
    /// The same cases on emulated machines: instructions a packet.
    Instructions(instructions::Arguments),
    /// Through real veths, beside others: packets a second.
    Wire(wire::Arguments),
    /// Through real veths, under load: how long frames are on their way.
    Latency(latency::Arguments),
    /// The agent with a large site: times and memory.
    Control(control::Arguments),
}

fn main() -> ExitCode {
    let Bench { all, command } = Bench::parse();
    let ended = interrupt::listen().and_then(|()| match command {
        None => all::run(&all),
        Some(Command::Program(arguments)) => program::run(&arguments),
        Some(Command::Instructions(arguments)) => instructions::run(&arguments),
        Some(Command::Wire(arguments)) => wire::run(&arguments),
        Some(Command::Latency(arguments)) => latency::run(&arguments),
        Some(Command::Control(arguments)) => control::run(&arguments),
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lingyun-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn words_and_options_are_told_apart() {
        Bench::command().debug_assert();
        let bench = Bench::try_parse_from(["lingyun-bench", "--quick"]).unwrap();
        assert!(bench.command.is_none());
        let bench = Bench::try_parse_from(["lingyun-bench", "wire", "--quick"]).unwrap();
        assert!(matches!(bench.command, Some(Command::Wire(_))));
    }
}
