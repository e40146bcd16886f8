//! The XDP object.

use anyhow::{Context, Result};

/// The XDP object, read once.
pub fn object() -> Result<&'static [u8]> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../target/bpf/bpfel-unknown-none/bpf/gateway-ebpf"
    );
    let object =
        std::fs::read(path).context("the XDP object is not built: type `cargo xtask build`")?;
    Ok(object.leak())
}
