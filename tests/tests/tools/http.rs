//! Requests by curl, as the lab's phone makes them.

use std::{ffi::OsStr, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use super::process::output;

/// Sends a request; status and JSON body of the answer.
pub(crate) fn request<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
) -> Result<(u16, Value)> {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--max-time",
        "20",
        "--write-out",
        "\n%{http_code}",
    ]);
    let text = output(curl.args(arguments))?;
    let (body, status) = text
        .rsplit_once('\n')
        .context("curl writes the status last")?;
    let body = serde_json::from_str(body).with_context(|| format!("`{body}` is not JSON"))?;
    Ok((status.parse()?, body))
}
