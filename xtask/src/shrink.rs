//! `wasm-opt`: makes the module smaller than the compiler can.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::program;

/// The npm package that brings it.
const PACKAGE: &str = "binaryen@132.0.0";

/// Functions with one caller are put into it up to this size: larger ones make fewer bytes, but more once they are compressed.
const MAX_INLINED: &str = "--one-caller-inline-max-function-size=30";

/// Optimises the module in its place for size. `package` is the folder of the npm package.
pub(crate) fn shrink(module: &Path, package: &Path) -> Result<()> {
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
    let status =
        Command::new(&brought).args(["-Oz", MAX_INLINED]).args(features).arg(module).arg("-o").arg(module).status();
    ensure!(status.context("wasm-opt does not run")?.success(), "wasm-opt failed");
    Ok(())
}
