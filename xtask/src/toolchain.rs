//! What compiles for WebAssembly: rustup's target where it is installed, otherwise Debian's packages, which bring the sources of the
//! standard library and so need no download from rustup.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::program;

const TARGET: &str = "wasm32-unknown-unknown";

/// What a page need not load: the places in the sources that panics name, and all that `{:?}` shows. So no text for people may use it.
/// Neither is stable yet, and the compiler is told to take them (`RUSTC_BOOTSTRAP`).
const FLAGS: &str = "-Zlocation-detail=none -Zfmt-debug=none";

/// Debian's: a compiler new enough for this workspace, and what it needs to build its standard library and the C parts of `ring`.
const DEBIAN: [&str; 6] = ["rustc-web", "cargo-web", "rust-web-src", "lld-19", "clang-19", "llvm-19"];

pub(crate) enum Toolchain {
    /// The compiler that builds all the rest, with this target.
    Rustup,
    /// Debian's.
    Debian,
}

impl Toolchain {
    /// The one to use, installed if it was missing.
    pub(crate) fn find() -> Result<Self> {
        if has_target() {
            return Ok(Toolchain::Rustup);
        }
        if has_debian() {
            return Ok(Toolchain::Debian);
        }
        if program("apt-get").is_some() && install_debian() && has_debian() {
            return Ok(Toolchain::Debian);
        }
        bail!(
            "nothing here compiles for WebAssembly. Install the target, and clang for the parts in C: `rustup target add {TARGET}`; \
             or on Debian, as root: `apt-get install {}`",
            DEBIAN.join(" ")
        )
    }

    /// Compiles the node; gives the module.
    pub(crate) fn build(&self, root: &Path) -> Result<PathBuf> {
        // Apart from the builds for this machine, which Debian's compiler could not share.
        let folder = target_folder(root).join("web");
        let mut cargo = match self {
            Toolchain::Rustup => Command::new("cargo"),
            Toolchain::Debian => {
                let mut cargo = Command::new("/usr/bin/cargo");
                cargo.env("RUSTC", "/usr/bin/rustc").env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", "wasm-ld-19");
                cargo
            }
        };
        // ring is in part written in C.
        if let Some(clang) = ["clang-19", "clang"].into_iter().find(|name| program(name).is_some()) {
            cargo.env("CC_wasm32_unknown_unknown", clang);
        }
        if let Some(archiver) = ["llvm-ar-19", "llvm-ar"].into_iter().find(|name| program(name).is_some()) {
            cargo.env("AR_wasm32_unknown_unknown", archiver);
        }
        cargo.args(["build", "--locked", "-p", "atoll-web", "--profile", "web", "--target", TARGET]);
        if matches!(self, Toolchain::Debian) {
            cargo.args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"]);
        }
        // The settings of the cargo that runs this program are not for the one that it runs.
        for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER"] {
            cargo.env_remove(name);
        }
        cargo.env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", FLAGS).env("CARGO_TARGET_DIR", &folder);
        let status = cargo.current_dir(root).status().context("cargo does not run")?;
        ensure!(status.success(), "the node does not compile for WebAssembly");
        Ok(folder.join(TARGET).join("web/atoll_web.wasm"))
    }
}

/// Where cargo has its builds.
fn target_folder(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn has_target() -> bool {
    let output = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    output.is_ok_and(|output| Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
}

fn has_debian() -> bool {
    let installed = Command::new("dpkg-query").args(["--show", "--showformat=${Status}\n"]).args(DEBIAN).output();
    installed.is_ok_and(|output| {
        output.status.success()
            && String::from_utf8_lossy(&output.stdout).lines().all(|line| line == "install ok installed")
    })
}

/// As root, or where `sudo` asks no password.
fn install_debian() -> bool {
    let apt = |arguments: &[&str]| {
        let direct = Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::null())
            .status();
        direct.is_ok_and(|status| status.success())
            || runs(
                Command::new("sudo").args(["-n", "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(arguments),
            )
    };
    println!("installing {}", DEBIAN.join(" "));
    apt(&["update", "-qq"]) && apt(&[&["install", "-y", "-qq", "--no-install-recommends"], &DEBIAN[..]].concat())
}

fn runs(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
