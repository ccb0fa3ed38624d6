//! The program as a user meets it: settings in layers, key files, and errors in one line.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

/// An empty directory to run the program in. It goes when the test does.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("atoll-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Place(path)
    }

    fn with(self, file: &str, content: &str) -> Self {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Runs the program with these words, split at spaces, and no variable but these.
    fn run(&self, words: &str, variables: &[(&str, &str)]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_node-cli"));
        command.args(words.split_whitespace()).current_dir(&self.0).env_clear().envs(variables.iter().copied());
        Run { words: words.to_owned(), output: command.output().unwrap() }
    }

    /// The value of a setting and where it comes from.
    fn setting(&self, name: &str, words: &str, variables: &[(&str, &str)]) -> (Vec<String>, String) {
        let run = self.run(&format!("settings --json {words}"), variables);
        let lines = run.succeeds();
        let line =
            lines.iter().find(|line| line["setting"] == name).unwrap_or_else(|| panic!("no {name} in {lines:?}"));
        let values =
            line["values"].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect();
        (values, line["source"].as_str().unwrap().to_owned())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Run {
    words: String,
    output: Output,
}

impl Run {
    fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    /// Its output: one JSON value a line.
    #[track_caller]
    fn succeeds(&self) -> Vec<Value> {
        assert!(self.output.status.success(), "node-cli {}: {}", self.words, self.stderr());
        self.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// It ends with this code and one line that holds `said`.
    #[track_caller]
    fn fails(&self, code: i32, said: &str) {
        let error = self.stderr();
        assert_eq!(self.output.status.code(), Some(code), "node-cli {}: {error}", self.words);
        assert_eq!(error.lines().count(), 1, "node-cli {} did not fail in one line: {error}", self.words);
        assert!(error.contains(said), "node-cli {} did not say {said:?}: {error}", self.words);
        assert_eq!(self.stdout(), "", "node-cli {} printed in spite of its failure", self.words);
    }
}

const ID: &str = "00f3a1b2c4d5";

#[test]
fn a_flag_goes_before_a_variable_and_a_variable_before_the_file() {
    let bare = Place::new();
    assert_eq!(bare.setting("network", "", &[]), (vec![], "not set".into()));

    let place = Place::new().with("atoll.toml", "# mine\nnetwork = \"file\"\nmax-links = 0x20\n");
    let variable = [("ATOLL_NETWORK", "variable")];
    assert_eq!(place.setting("network", "", &[]), (vec!["file".into()], "atoll.toml:2".into()));
    assert_eq!(place.setting("network", "", &variable), (vec!["variable".into()], "ATOLL_NETWORK".into()));
    assert_eq!(place.setting("network", "--network flag", &variable), (vec!["flag".into()], "flag".into()));
    assert_eq!(place.setting("max-links", "--network flag", &variable), (vec!["32".into()], "atoll.toml:3".into()));
}

#[test]
fn lists_are_replaced_and_not_mixed() {
    let file = "signalling = [\"ws://a:1\", \"ws://b:2\"]\nbind = \"127.0.0.1\"\n";
    let place = Place::new().with("atoll.toml", file);
    let variable = [("ATOLL_SIGNALLING", "ws://c:3,ws://d:4")];
    let values = |words, variables| place.setting("signalling", words, variables).0;
    assert_eq!(values("", &[]), ["ws://a:1", "ws://b:2"]);
    assert_eq!(values("", &variable), ["ws://c:3", "ws://d:4"]);
    assert_eq!(values("--signalling ws://e:5 --signalling ws://f:6", &variable), ["ws://e:5", "ws://f:6"]);
    assert_eq!(place.setting("bind", "", &[]).0, ["127.0.0.1"]);
}

#[test]
fn a_named_settings_file_takes_the_place_of_the_default_one() {
    let place = Place::new()
        .with("atoll.toml", "network = \"default\"")
        .with("etc/other.toml", "network = \"other\"\nkey = \"node.key\"");
    assert_eq!(place.setting("network", "--config etc/other.toml", &[]).0, ["other"]);
    assert_eq!(place.setting("network", "", &[("ATOLL_CONFIG", "etc/other.toml")]).0, ["other"]);
    let key = Path::new("etc").join("node.key").to_string_lossy().into_owned();
    assert_eq!(place.setting("key", "--config etc/other.toml", &[]).0, [key], "seen from the file's own folder");
    place.run("settings --config nowhere.toml", &[]).fails(2, "there is no settings file nowhere.toml");
}

#[test]
fn switches_come_from_every_layer() {
    let place = Place::new().with("atoll.toml", "json = true\nverbose = 2\n");
    let first = |run: Run| run.succeeds()[0]["setting"].clone();
    assert_eq!(first(place.run("settings", &[])), "signalling");
    assert_eq!(place.setting("verbose", "", &[]), (vec!["2".into()], "atoll.toml:2".into()));
    assert_eq!(place.setting("verbose", "", &[("ATOLL_VERBOSE", "1")]), (vec!["1".into()], "ATOLL_VERBOSE".into()));
    assert_eq!(place.setting("verbose", "-vvv", &[]), (vec!["3".into()], "flag".into()));
    let bare = Place::new();
    assert_eq!(first(bare.run("settings", &[("ATOLL_JSON", "1")])), "signalling");
    assert!(bare.run("settings", &[("ATOLL_JSON", "0")]).stdout().starts_with("signalling  "));
}

#[test]
fn the_file_holds_ice_servers_in_the_shape_of_the_web_and_their_credentials_stay_hidden() {
    let file = "ice-server = [\"stun:s:3478\", { urls = [\"turn:t\"], username = \"u\", credential = \"hush\" }]\n";
    let place = Place::new().with("atoll.toml", file);
    assert_eq!(place.setting("ice-server", "", &[]).0, ["stun:s:3478", "turn:t"]);
    assert!(!place.run("settings", &[]).stdout().contains("hush"));

    let bare = Place::new();
    let malformed = [("ATOLL_ICE_SERVER", r#"{"urls":"http:t","username":"u","credential":"hush"}"#)];
    bare.run("settings", &malformed).fails(2, r#""http:t" is not the URL of an ICE server"#);
    for (words, variables) in [("settings", &malformed), ("--help", &malformed)] {
        let run = bare.run(words, variables);
        assert!(!run.stderr().contains("hush") && !run.stdout().contains("hush"), "{words} tells the credential");
    }
}

#[test]
fn the_example_of_a_settings_file_is_taken_whole() {
    let place = Place::new().with("atoll.toml", include_str!("../../docs/atoll.example.toml"));
    let lines = place.run("settings --json", &[]).succeeds();
    for line in &lines {
        let source = line["source"].as_str().unwrap();
        // The test itself asks for JSON.
        assert!(source.starts_with("atoll.toml:") || line["setting"] == "json", "the example does not show {line}");
    }
    assert_eq!(lines.len(), 10, "{lines:?}");
}

#[test]
fn a_mistake_in_the_file_is_named_with_its_line() {
    for (file, said) in [
        ("\nnetwork = ", "error: atoll.toml:2: "),
        ("network = \"a\"\nnetwork = \"b\"\n", "atoll.toml:2: duplicate key"),
        ("# one\n\nsignaling = \"ws://a\"\n", "atoll.toml:3: there is no setting \"signaling\""),
        ("config = \"x\"\n", "atoll.toml:1: there is no setting \"config\""),
        ("[listen]\nnodes = 3\n", "atoll.toml:2: there is no setting \"nodes\" of this verb"),
        ("max-links = 2\n", "atoll.toml:1: invalid value '2' for '--max-links <N>': 2 is not in 6..=1024"),
        ("max-links = 4.5\n", "atoll.toml:1: max-links takes text or a whole number"),
        ("\nnetwork = [\"a\"]\n", "atoll.toml:2: network takes one value"),
        ("json = \"yes\"\n", "atoll.toml:1: json takes true or false"),
        (
            "signalling = \"http://a\"\n",
            "atoll.toml:1: invalid value 'http://a' for '--signalling <URL>': a signalling server",
        ),
        ("ice-server = { urls = \"turn:t\" }\n", "turn:t needs credentials"),
        ("network = \"two words\"\n", "a network's name is 1 to 64 of"),
    ] {
        Place::new().with("atoll.toml", file).run("settings", &[]).fails(2, said);
    }
}

#[test]
fn a_table_holds_the_flags_of_one_verb() {
    // An id is asked for, so that the words are right and only the file is judged.
    let place = Place::new().with("atoll.toml", "[dial]\ntcp = \"nonsense\"\n");
    place.run(&format!("dial {ID}"), &[]).fails(2, "atoll.toml:2: invalid value 'nonsense' for '--tcp <ADDR>'");
    assert_eq!(place.setting("network", "", &[]).1, "not set", "another verb does not mind");
}

#[test]
fn a_malformed_value_is_told_in_one_line_and_is_a_usage_error() {
    let place = Place::new();
    for (words, said) in [
        ("dial xyz", "an id is 12 hexadecimal digits, such as 00f3a1b2c4d5; this has the character 'x'"),
        ("trace 00f3", "this has 4 digits"),
        ("bench 00f3a1b2c4d5e", "this has 13 digits"),
        ("dial 00f3a1b2c4d5 --tcp here", "write a port, or an IP address and a port"),
        ("listen --tcp here", "write a port, or a host and a port"),
        ("listen --door 99999", "write a port, or an IP address and a port"),
        ("up --nodes 0", "0 is not in 1..=256"),
        ("status --signalling 127.0.0.1:9000", "a signalling server is ws://HOST:PORT or wss://HOST"),
        ("status --bind localhost", "invalid IP address"),
        ("key create", "name the key file, after the verb or with --key"),
    ] {
        place.run(words, &[]).fails(2, said);
    }
    place.run("status", &[("ATOLL_MAX_LINKS", "many")]).fails(2, "invalid value 'many' for '--max-links <N>'");
}

#[test]
fn unknown_words_are_usage_errors_and_help_is_none() {
    let place = Place::new();
    for words in ["", "fly", "dial", "listen --echo --pipe", "--nonsense status"] {
        assert_eq!(place.run(words, &[]).output.status.code(), Some(2), "node-cli {words}");
    }
    for words in ["--help", "--version", "listen --help", "key create --help"] {
        let run = place.run(words, &[]);
        assert_eq!((run.output.status.code(), run.stderr().as_str()), (Some(0), ""), "node-cli {words}");
        assert!(!run.stdout().is_empty());
    }
}

#[test]
fn a_key_is_created_once_and_shown_again() {
    let place = Place::new();
    let created = place.run("key create node.key --json", &[]).succeeds();
    let shown = place.run("key show --json", &[("ATOLL_KEY", "node.key")]).succeeds();
    assert_eq!(created, shown);
    assert_eq!(shown[0]["id"].as_str().unwrap().len(), 12);
    assert_eq!(shown[0]["public_key"].as_str().unwrap().len(), 2 * 91);
    let text = place.run("key show node.key", &[]).stdout();
    assert!(text.contains(shown[0]["id"].as_str().unwrap()), "{text}");

    assert_eq!(place.run("key show --key node.key --json", &[]).succeeds(), shown);

    let before = fs::read(place.path("node.key")).unwrap();
    place.run("key create node.key", &[]).fails(1, "node.key exists already and is not overwritten");
    assert_eq!(fs::read(place.path("node.key")).unwrap(), before);
}

#[test]
fn an_encrypted_key_opens_with_its_passphrase_alone() {
    let place = Place::new().with("right", "hörse battery\n").with("wrong", "horse\n").with("empty", "\n");
    let created = place.run("key create k --passphrase-file right --json", &[]).succeeds();
    assert_eq!(place.run("key show k --json", &[("ATOLL_PASSPHRASE_FILE", "right")]).succeeds(), created);
    place.run("key show k", &[]).fails(1, "the key file k is encrypted: give its passphrase with --passphrase-file");
    place.run("key show k --passphrase-file wrong", &[]).fails(1, "wrong passphrase for the key file k");
    place.run("key show k --passphrase-file empty", &[]).fails(1, "the passphrase file empty is empty");
    place.run("key show k --passphrase-file nowhere", &[]).fails(1, "the passphrase file nowhere: No such file");
    place.run("key show nowhere", &[]).fails(1, "create it first with node-cli key create nowhere");
}

#[test]
fn with_json_an_error_is_one_object() {
    let run = Place::new().run("key show nowhere --json", &[]);
    let error: Value = serde_json::from_str(&run.stderr()).unwrap();
    assert!(error["error"].as_str().unwrap().starts_with("there is no key file nowhere"), "{error}");
    assert_eq!(run.output.status.code(), Some(1));
    for words in ["dial xyz --json", "dial --json", "fly --json"] {
        let run = Place::new().run(words, &[]);
        let error: Value = serde_json::from_str(&run.stderr()).unwrap();
        assert!(error["error"].is_string(), "node-cli {words}: {error}");
        assert_eq!(run.output.status.code(), Some(2), "node-cli {words}");
    }
}
