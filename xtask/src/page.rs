//! The page of the signalling server, put together in `browser/dist`: what is written in `browser/page`, and the node that it loads.
//! Beside each file lies a compressed one, for servers to send.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::gzip;

/// Smaller files gain nothing: all of it fits into one packet.
const WORTH_COMPRESSING: usize = 1024;

/// Puts the page together. `browser/wasm` must be there.
pub(crate) fn assemble(root: &Path) -> Result<()> {
    let browser = root.join("browser");
    let (dist, wasm) = (browser.join("dist"), browser.join("wasm"));
    ensure!(wasm.is_dir(), "browser/wasm is missing: `cargo xtask web` makes it");
    empty(&dist)?;
    let mut bytes = copy(&browser.join("page"), &dist, |_| true)?;
    bytes += copy(&browser.join("js"), &dist.join("js"), |name| name.ends_with(".js"))?;
    bytes += copy(&wasm, &dist.join("wasm"), |_| true)?;
    println!("browser/dist: the page, {} KiB compressed; build the signalling server to have it in", bytes / 1024);
    Ok(())
}

/// Removes what was there, but not the file that keeps the folder in the repository.
fn empty(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != ".gitignore" {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Copies the files of a folder, those in folders in it left out; gives their size as they are sent.
fn copy(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) -> Result<usize> {
    fs::create_dir_all(to)?;
    let mut sent = 0;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name().into_string().ok().context("a name that is no text")?;
        if entry.file_type()?.is_dir() || !wanted(&name) {
            continue;
        }
        let bytes = fs::read(entry.path())?;
        fs::write(to.join(&name), &bytes)?;
        if bytes.len() < WORTH_COMPRESSING {
            sent += bytes.len();
            continue;
        }
        let compressed = gzip(&bytes)?;
        sent += compressed.len();
        fs::write(to.join(format!("{name}.gz")), compressed)?;
    }
    Ok(sent)
}
