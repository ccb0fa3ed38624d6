//! `cargo xtask web`: the node for browsers, built into the npm package `browser/`, and the page that signalling servers show.

mod page;
mod shrink;
mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, Subcommand};
use flate2::Compression;
use flate2::write::GzEncoder;
use wasm_bindgen_cli_support::Bindgen;

use crate::toolchain::Toolchain;

/// Bytes that a page loads at most for a node, compressed as web servers do.
const MAX_GZIP: usize = 650 * 1024;

/// Builds of Atoll that take more than cargo.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds the node for browsers into `browser/wasm`, what `browser/js/index.js` loads, and the page of the signalling server.
    Web {
        /// Leaves out `wasm-opt`, for a quick look. What comes out is too large to ship.
        #[arg(long)]
        quick: bool,
        /// Keeps the names of functions, for profilers. What comes out is too large to ship.
        #[arg(long)]
        names: bool,
    },
    /// Puts the page of the signalling server together anew, in `browser/dist`, with the node that is built.
    Page,
}

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask lies in the workspace")?;
    match Arguments::parse().task {
        Task::Web { quick, names } => web(root, quick, names)?,
        Task::Page => {}
    }
    page::assemble(root)
}

fn web(root: &Path, quick: bool, names: bool) -> Result<()> {
    let module = Toolchain::find()?.build(root)?;
    let out = root.join("browser/wasm");
    bind(&module, &out, names)?;
    let bound = out.join("atoll_web_bg.wasm");
    if !quick {
        shrink::shrink(&bound, &root.join("browser"), names)?;
    }
    for license in ["LICENSE-APACHE", "LICENSE-MIT"] {
        fs::copy(root.join(license), root.join("browser").join(license))?;
    }
    let bytes = fs::read(&bound)?;
    // Imports of C functions that nobody defines end up in this module, which no browser has.
    let needs_env = bytes.windows(4).any(|window| window == b"\x03env");
    ensure!(!needs_env, "the module imports from \"env\": a C function is missing in it");
    let compressed = gzip(&bytes)?.len();
    println!(
        "{}: {} KiB, {} KiB compressed with gzip (at most {} KiB)",
        bound.strip_prefix(root)?.display(),
        bytes.len() / 1024,
        compressed / 1024,
        MAX_GZIP / 1024
    );
    if !quick && !names && compressed > MAX_GZIP {
        bail!("the module has grown over the limit");
    }
    Ok(())
}

/// Writes the module and the JavaScript that loads it.
fn bind(module: &Path, out: &Path, names: bool) -> Result<()> {
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    Bindgen::new()
        .input_path(module)
        .web(true)?
        .typescript(false)
        .omit_default_module_path(false)
        .remove_name_section(!names)
        .remove_producers_section(true)
        .generate(out)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut encoder, bytes)?;
    Ok(encoder.finish()?)
}

/// Where a program is, if it can be found.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
