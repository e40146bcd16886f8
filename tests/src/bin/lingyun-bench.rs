//! Measures Lingyun.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gateway_tests::bench::program;

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
}

fn main() -> ExitCode {
    let Command::Program(arguments) = Arguments::parse().command;
    match program::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lingyun-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
