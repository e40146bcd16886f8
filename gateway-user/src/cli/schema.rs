//! `lingyun schema`: what editors need to complete and check topology files.

use std::process::ExitCode;

use anyhow::Context;

use crate::config;

/// Prints the JSON Schema of topology files.
pub fn run() -> anyhow::Result<ExitCode> {
    use std::io::Write;
    let text = text()?;
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write the schema")?;
    Ok(ExitCode::SUCCESS)
}

/// The JSON Schema as it lies in topologies/schema.json.
pub fn text() -> anyhow::Result<String> {
    let mut text = serde_json::to_string_pretty(&config::schema())?;
    text.push('\n');
    Ok(text)
}
