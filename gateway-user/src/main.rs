//! The `lingyun` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    lingyun::cli::main()
}
