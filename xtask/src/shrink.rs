//! `wasm-opt`: makes the module smaller than the compiler can.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::program;

/// The npm package that brings it.
const PACKAGE: &str = "binaryen@132.0.0";

/// What makes fewer bytes, but more of them once they are compressed: large functions put into their one caller, and values of
/// expressions kept in locals.
const UNCOMPRESSIBLE: [&str; 2] = ["--one-caller-inline-max-function-size=10", "--skip-pass=local-cse"];

/// Optimises the module in its place for size. `package` is the folder of the npm package. With `names`, functions keep theirs.
pub(crate) fn shrink(module: &Path, package: &Path, names: bool) -> Result<()> {
    let brought = package.join("node_modules/.bin/wasm-opt");
    if !brought.is_file() {
        ensure!(program("npm").is_some(), "npm is missing, which brings wasm-opt: install Node.js");
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-save", "--no-audit", "--no-fund", "--silent", PACKAGE]).current_dir(package);
        ensure!(npm.status()?.success(), "npm does not install {PACKAGE}");
    }
    // What all browsers of the last years have.
    let features = [
        "--enable-bulk-memory",
        "--enable-multivalue",
        "--enable-mutable-globals",
        "--enable-nontrapping-float-to-int",
        "--enable-reference-types",
        "--enable-sign-ext",
    ];
    let status = Command::new(&brought)
        // A second round still finds 1 KiB.
        .args(["-Oz", "-Oz"])
        .args(UNCOMPRESSIBLE)
        .args(features)
        .args(names.then_some("-g"))
        .arg(module)
        .arg("-o")
        .arg(module)
        .status();
    ensure!(status.context("wasm-opt does not run")?.success(), "wasm-opt failed");
    Ok(())
}
