//! Tries the gateway with frames that nobody thought of.

use std::process::ExitCode;

use clap::Parser;
use gateway_tests::fuzz::run;

fn main() -> ExitCode {
    match run::run(&run::Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lingyun-fuzz: {error:#}");
            ExitCode::FAILURE
        }
    }
}
