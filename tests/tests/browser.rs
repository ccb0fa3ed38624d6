//! Tabs of real browsers as nodes. The tests themselves are JavaScript, in `tests/browser`: they need Node.js, the npm packages there,
//! Chromium, Firefox, and the package that `cargo xtask web` builds. `run-tests` brings all of it.

use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Several browsers at once would wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs a file of tests.
fn passes(file: &str) {
    succeeds("node", &["--test", "--test-reporter=spec", file]);
}

/// Runs a program, or says what is missing. With `ATOLL_BROWSERS=required`, as `run-tests` has it, nothing may be missing.
fn succeeds(program: &str, arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    let needed = ["node_modules/puppeteer-core", "../../browser/wasm/atoll_web.js", "../../browser/dist/index.html"];
    if let Some(missing) = needed.iter().find(|path| !folder.join(path).exists()) {
        let required = std::env::var_os("ATOLL_BROWSERS").is_some_and(|wanted| wanted == "required");
        assert!(!required, "{missing} is missing");
        eprintln!("{missing} is missing: skipped; `./run-tests` brings it");
        return;
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&folder).env("ATOLL_TEST_NODE", env!("CARGO_BIN_EXE_test-node"));
    let done = command.output().expect("Node.js is installed");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}\n{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_tab_and_a_native_node_use_each_other() {
    passes("pair.test.mjs");
}

#[test]
fn tabs_and_native_nodes_are_one_ring() {
    passes("ring.test.mjs");
}

#[test]
fn pages_use_and_misuse_a_node() {
    passes("face.test.mjs");
}

#[test]
fn the_page_computes_the_circle_of_ids() {
    passes("circle.test.mjs");
}

#[test]
fn the_page_of_a_signalling_server_shows_the_ring_and_uses_it() {
    passes("page.test.mjs");
}

#[test]
fn channels_connections_and_calls_by_the_names_of_sea() {
    passes("seeds.test.mjs");
}

#[test]
fn a_tab_lives_through_what_browsers_do_to_it() {
    passes("life.test.mjs");
}

#[test]
fn the_examples_work() {
    passes("examples.test.mjs");
}

#[test]
fn the_package_serves_pages_vite_and_typescript() {
    passes("package.test.mjs");
}

#[test]
fn the_types_tell_right_from_wrong() {
    succeeds("npm", &["run", "--silent", "types"]);
}
