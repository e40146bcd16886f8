//! Measures Lingyun.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gateway_tests::bench::{instructions, program};

/// Measures Lingyun's parts, each beside the least that any program must pay.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The XDP program alone: nanoseconds a packet.
    Program(program::Arguments),
    /// The same cases on emulated machines: instructions a packet.
    Instructions(instructions::Arguments),
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Program(arguments) => program::run(&arguments),
        Command::Instructions(arguments) => instructions::run(&arguments),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lingyun-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
