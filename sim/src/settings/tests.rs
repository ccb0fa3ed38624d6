use std::path::{Path, PathBuf};

use super::groups::fits;
use super::{Refused, parse};

/// A scenario file that is gone when the test is over.
struct Scene(PathBuf);

impl Scene {
    fn of(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("atoll-sim-{}-{name}.toml", std::process::id()));
        std::fs::write(&path, text).expect("the temporary directory takes a file");
        Scene(path)
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_file(&self.0);
    }
}

fn words(words: &[&str]) -> Result<super::Parsed, Refused> {
    parse(std::iter::once("sim").chain(words.iter().copied()))
}

/// What is said about such a file, without the directory that it is in.
#[track_caller]
fn refused(name: &str, text: &str) -> String {
    let scene = Scene::of(name, text);
    let path = scene.0.to_str().expect("the path is plain text");
    match words(&["run", path]) {
        Err(Refused::Text(text)) => text.replace(path, "file"),
        Err(Refused::Clap(error)) => panic!("not told of the file: {error}"),
        Ok(parsed) => panic!("accepted: {parsed:?}"),
    }
}

#[test]
fn an_unknown_name_is_told_with_its_line_and_the_likely_one() {
    let text = refused("unknown", "scenario = \"hops\"\nnodes = [100]\nlookup = 7\n");
    assert_eq!(text, "file:3: there is no setting lookup: did you mean lookups?\n  |\n3 | lookup = 7\n  | ^^^^^^");
}

#[test]
fn a_negative_rate_is_told() {
    let text = refused("rate", "scenario = \"churn\"\n\nrate = [0.05, -0.1]\n");
    assert!(text.starts_with("file:3: rate: a rate cannot be negative; 0 turns it off\n"), "{text}");
    assert!(text.contains("3 | rate = [0.05, -0.1]"), "{text}");
}

#[test]
fn a_share_above_one_is_told() {
    let text = refused("share", "scenario = \"fail\"\n[network]\nloss = 30\n");
    assert!(text.starts_with("file:3: loss: a share lies between 0 and 1; for 30 % write 0.3\n"), "{text}");
}

#[test]
fn more_links_than_nodes_are_told_where_the_links_stand() {
    let text = refused("links", "scenario = \"hops\"\nnodes = [1000, 40]\nlinks = [16, 64]\n");
    assert!(
        text.starts_with("file:3: links: 64 links are more than 40 nodes: write at most 40, or more nodes\n"),
        "{text}"
    );
}

#[test]
fn more_links_than_nodes_are_told_where_the_nodes_stand_when_the_links_are_the_default() {
    let text = refused("nodes", "scenario = \"hops\"\nnodes = [10]\n");
    assert!(text.starts_with("file:2: nodes: 16 links are more than 10 nodes"), "{text}");
}

#[test]
fn an_empty_list_is_told() {
    let text = refused("empty", "scenario = \"hops\"\nnodes = []\n");
    assert!(text.starts_with("file:2: nodes is an empty list: give at least one value\n"), "{text}");
}

#[test]
fn more_memory_than_the_machine_has_is_told() {
    let text = refused("memory", "scenario = \"hops\"\nnodes = [1_000_000_000_000]\n");
    assert!(text.starts_with("file:2: nodes: 1000000000000 nodes need about 8192000.0 GB of memory, and "), "{text}");
    assert!(fits(1000, 8_192_000).is_ok());
    let wrong = fits(1001, 8_192_000).unwrap_err();
    assert!(wrong.why.contains("write at most 1000"), "{wrong}");
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let text = refused("toml", "scenario = \"hops\"\nnodes = [1000\nseed = 1\n");
    assert!(text.starts_with("file:3: ") || text.starts_with("file:2: "), "{text}");
}

#[test]
fn a_setting_in_the_wrong_table_is_told_the_right_one() {
    let text = refused("table", "scenario = \"hops\"\nloss = 0.1\n");
    assert!(text.starts_with("file:2: loss belongs in the table [network]\n"), "{text}");
    let text = refused("outside", "scenario = \"hops\"\n[network]\nnodes = [100]\n");
    assert!(text.starts_with("file:3: nodes belongs above all tables\n"), "{text}");
    let text = refused("no-table", "scenario = \"hops\"\n[networks]\nloss = 0\n");
    assert!(text.starts_with("file:2: there is no table [networks]: did you mean [network]?\n"), "{text}");
}

#[test]
fn a_value_of_the_wrong_kind_is_told_what_is_taken() {
    let text = refused("list", "scenario = \"join\"\nlinks = [16]\n");
    assert!(text.starts_with("file:2: links takes one value, not a list\n"), "{text}");
    let text = refused("choice", "scenario = \"fail\"\ntarget = \"nobody\"\n");
    assert!(text.starts_with("file:2: target: it is one of keys, nodes\n"), "{text}");
    let text = refused("unit", "scenario = \"hops\"\nsettle = 60\n");
    assert!(text.starts_with("file:2: settle: a wait needs its unit; write 60ms, 60s or 60min\n"), "{text}");
}

#[test]
fn a_scenario_that_does_not_exist_is_told_the_likely_one() {
    let text = refused("scenario", "scenario = \"hop\"\n");
    assert!(text.starts_with("file:1: there is no scenario \"hop\": did you mean hops?\n"), "{text}");
    let text = refused("none", "nodes = [100]\n");
    assert!(text.starts_with("file:1: the file does not say what it is for: add scenario = \"hops\""), "{text}");
}

#[test]
fn a_file_of_another_scenario_is_told() {
    let scene = Scene::of("other", "scenario = \"join\"\n");
    let path = scene.0.to_str().expect("the path is plain text");
    let Err(Refused::Text(text)) = words(&["hops", "--file", path]) else { panic!("accepted") };
    assert!(text.contains(":1: this file is for the scenario join, not hops: use sim run"), "{text}");
}

#[test]
fn settings_that_do_not_go_together_are_told_on_the_command_line_too() {
    let Err(Refused::Text(text)) = words(&["hops", "--nodes", "10", "--links", "16"]) else { panic!("accepted") };
    assert!(text.starts_with("--links: 16 links are more than 10 nodes"), "{text}");
    let Err(Refused::Text(text)) = words(&["churn", "--rate", "-1"]) else { panic!("accepted") };
    assert!(text.contains("a rate cannot be negative"), "{text}");
}

#[test]
fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
    let scene = Scene::of("order", "scenario = \"hops\"\nnodes = [100, 200]\nlookups = 50\n");
    let path = scene.0.to_str().expect("the path is plain text");
    let parsed = words(&["run", path, "--lookups", "60", "--json"]).expect("the file is right");
    assert!(parsed.cli.output.json);
    let chosen = parsed.chosen();
    let value = |name: &str| chosen.iter().find(|chosen| chosen.name == name).map(|chosen| chosen.value.as_str());
    assert_eq!((value("lookups"), value("nodes"), value("seed")), (Some("60"), Some("100,200"), Some("1")));
}

#[test]
fn the_scenarios_that_come_along_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut count = 0;
    for file in std::fs::read_dir(&folder).expect("the folder is part of the crate") {
        let path = file.expect("the folder can be read").path();
        // The folders hold what `sim check --file` runs.
        if path.is_dir() {
            continue;
        }
        let parsed = words(&["run", path.to_str().expect("the path is plain text")]);
        let parsed = parsed.unwrap_or_else(|refused| panic!("{refused}"));
        assert_eq!(Some(parsed.verb()), path.file_stem().and_then(|stem| stem.to_str()));
        count += 1;
    }
    assert_eq!(count, 10);
}
