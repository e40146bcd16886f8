//! `cargo xtask`: set-up, build, run, test and bench of Lingyun, from one command each.
//!
//! What each command needs is looked up, not remembered: the checks take a fraction
//! of a second, and what is there is left alone.

mod apt;
mod bench;
mod bpf;
mod build;
mod doctor;
mod fuzz;
mod guest;
mod host;
mod packages;
mod process;
mod run;
mod setup;
mod test;
mod ui;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, build, run, test and bench of Lingyun.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install all that the other commands need.
    Setup,
    /// Say what is there, what is missing and how to mend it; install nothing.
    Doctor(doctor::Arguments),
    /// Build the XDP object, then the programs around it.
    Build(build::Arguments),
    /// Bring up the lab, place an order and show its journey; or run a gateway node.
    Run(run::Arguments),
    /// Tear down what `run --keep` left up.
    Down,
    /// Measure everything, beside the least that any program must pay and beside others.
    Bench(bench::Arguments),
    /// Write the pages under docs/ that come from the code.
    Docs,
    /// Random frames against a model of the gateway, as long as one likes.
    Fuzz(fuzz::Arguments),
    /// Run every test and end with one line that counts them.
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Setup => setup::setup().map(|()| true),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Build(arguments) => build::build(&arguments).map(|()| true),
        Command::Run(arguments) => run::run(&arguments).map(|()| true),
        Command::Down => run::down().map(|()| true),
        Command::Bench(arguments) => bench::bench(&arguments).map(|()| true),
        Command::Fuzz(arguments) => fuzz::fuzz(&arguments).map(|()| true),
        Command::Docs => run::docs().map(|()| true),
        Command::Test(arguments) => test::test(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            ui::error(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
