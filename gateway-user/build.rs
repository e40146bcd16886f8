//! Embeds the XDP object, and says which commit a release is built from.
//!
//! The object is for another target, by another toolchain: `cargo xtask build`
//! builds it. Without it the crate builds all the same, and loading says so.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// From this crate's folder, where `cargo xtask build` leaves the object.
const OBJECT: &str = "../target/bpf/bpfel-unknown-none/bpf/gateway-ebpf";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    embed_object();
    // A commit would rebuild everything while one works: releases only.
    if env::var("PROFILE").as_deref() == Ok("release") {
        name_commit();
    }
}

fn embed_object() {
    println!("cargo::rustc-check-cfg=cfg(xdp_object)");
    println!("cargo::rerun-if-env-changed=LINGYUN_BPF_OBJECT");
    let object = env::var_os("LINGYUN_BPF_OBJECT").map_or_else(|| OBJECT.into(), PathBuf::from);
    println!("cargo::rerun-if-changed={}", object.display());
    let folder = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    match fs::copy(&object, Path::new(&folder).join("gateway-ebpf")) {
        Ok(_) => println!("cargo::rustc-cfg=xdp_object"),
        Err(_) => println!("cargo::warning=the XDP object is not built: type cargo xtask build"),
    }
}

/// Outside a checkout there is none, and that is no error.
fn name_commit() {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // Its last line is new whenever the commit is.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo::rerun-if-changed={log}");
    }
    if let Some(commit) = git(&["describe", "--always", "--tags", "--dirty"]) {
        println!("cargo::rustc-env=LINGYUN_COMMIT={commit}");
    }
}
