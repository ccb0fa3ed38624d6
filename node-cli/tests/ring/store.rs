//! `put`, `get` and `rm`: what is stored in the ring outlives whoever stored it, and with `--store` the whole ring.

use std::time::Duration;

use crate::support::{Listening, Place, Up, run, run_with, soon, text};

#[test]
fn what_one_visitor_stores_another_reads_and_a_file_comes_back_whole() {
    let up = Up::start(4, "");
    let at = &up.at;
    let key = run_with(&format!("put -{at}"), "hello, ring\n").text().trim().to_owned();
    assert_eq!(key.len(), 64, "{key}");
    assert_eq!(run(&format!("get {key}{at}")).text(), "hello, ring\n");
    let got = run(&format!("get {key} --json{at}")).json();
    assert_eq!((text(&got[0]["key"]), text(&got[0]["text"])), (key, "hello, ring\n".to_owned()));

    let place = Place::new();
    let content: String = (0..60_000).map(|number| format!("{number}\n")).collect();
    let file = place.file("file", &content);
    let put = run(&format!("put {file} --ttl 10min --json{at}")).json();
    let key = text(&put[0]["key"]);
    assert_eq!(
        (key.starts_with("file:"), &put[0]["bytes"], &put[0]["copies"]),
        (true, &content.len().into(), &4.into())
    );
    assert!(run(&format!("get {key}{at}")).text() == content, "the file on standard output is another");
    let copy = place.path("copy");
    assert_eq!(run(&format!("get {key} -o {copy}{at}")).text(), "");
    assert!(std::fs::read_to_string(&copy).unwrap() == content, "the file that was written is another");
}

#[test]
fn an_entry_is_written_again_and_deleted_by_the_holder_of_its_key_alone() {
    let up = Up::start(3, "");
    let place = Place::new();
    let (mine, other) = (place.path("mine"), place.path("other"));
    for file in [&mine, &other] {
        run(&format!("key create {file}")).text();
    }
    let at = format!("{} --key {mine}", up.at);
    let key = run_with(&format!("put - --name greeting{at}"), "one").text().trim().to_owned();
    assert!(key.ends_with("/greeting"), "{key}");
    assert_eq!(run_with(&format!("put - --name greeting{at}"), "two").text().trim(), key);
    assert_eq!(run(&format!("get {key}{}", up.at)).text(), "two");
    let others = run(&format!("rm greeting{} --key {other}", up.at));
    assert_eq!(others.code, Some(0), "it deletes what is its own: {others:?}");
    assert_eq!(run(&format!("get {key}{}", up.at)).text(), "two");
    run(&format!("rm greeting{at}")).text();
    let gone = run(&format!("get {key}{}", up.at));
    assert_eq!((gone.code, gone.stderr.contains("nothing is stored under")), (Some(4), true), "{gone:?}");
}

#[test]
fn what_cannot_be_stored_or_read_is_told_in_one_line() {
    let up = Up::start(1, "");
    let place = Place::new();
    let large = place.file("large", &"x".repeat(70_000));
    let (file, key) = (place.path("none"), place.path("key"));
    run(&format!("key create {key}")).text();
    let nothing = "0".repeat(64);
    for (words, code, said) in [
        (format!("get {nothing}"), 4, "nothing is stored under"),
        (format!("get file:{nothing}"), 4, "no such file is stored"),
        ("get hello".to_owned(), 2, "a key is what put printed"),
        (format!("get file:{nothing} --json"), 2, "-o"),
        ("get @nobody/greeting".to_owned(), 1, "no node on the ring holds this name"),
        (format!("put {file}"), 1, "cannot read"),
        ("put /tmp".to_owned(), 1, "is a directory"),
        (format!("put {large} --ttl 25h"), 2, "24 h at most"),
        (format!("put {large} --name x"), 2, "--key"),
        (format!("put {large} --name x --key {key}"), 8, "65536 bytes"),
        ("rm x".to_owned(), 2, "--key"),
    ] {
        let failed = run(&format!("{words}{}", up.at));
        assert_eq!((failed.code, failed.stderr.contains(said)), (Some(code), true), "{words}: {failed:?}");
        assert_eq!(failed.stderr.lines().filter(|line| line.contains("error")).count(), 1, "{words}: {failed:?}");
    }
}

#[test]
fn records_on_disks_are_there_when_all_nodes_were_killed_and_come_back() {
    let place = Place::new();
    let words = |number: usize| {
        format!("--key {} --store {}", place.path(&format!("key{number}")), place.path(&format!("store{number}")))
    };
    (0..3)
        .for_each(|number| drop(run(&format!("key create {}", place.path(&format!("key{number}")))).text().to_owned()));
    let start = || {
        let door = Listening::start(&format!("--door 0 {}", words(0)));
        let rest = [1, 2].map(|number| Listening::start(&format!("{}{}", words(number), door.at)));
        (door, rest)
    };
    let (mut door, rest) = start();
    let mut keys = Vec::new();
    for number in 0..5 {
        let put = run_with(&format!("put - --json{}", door.at), &format!("value {number}")).json();
        keys.push(text(&put[0]["key"]));
    }
    for process in rest.into_iter().map(|listening| listening.process) {
        process.signal("-KILL");
    }
    door.process.signal("-KILL");
    door.process.end();

    let (door, _rest) = start();
    for (number, key) in keys.iter().enumerate() {
        soon("the record is there again", Duration::from_secs(20), || {
            let got = run(&format!("get {key}{}", door.at));
            got.code == Some(0) && got.stdout == format!("value {number}")
        });
    }
    let second = run(&format!("listen --store {}{}", place.path("store0"), door.at));
    assert_eq!((second.code, second.stderr.contains("is used by another node")), (Some(1), true), "{second:?}");
}

#[test]
fn a_store_that_is_damaged_is_an_error_that_says_what_to_do() {
    let place = Place::new();
    std::fs::create_dir(place.path("store")).unwrap();
    place.file("store/records.redb", &"not a database at all".repeat(1000));
    let failed = run(&format!("listen --door 0 --store {}", place.path("store")));
    let said = failed.stderr.contains("is damaged") && failed.stderr.contains("move it away");
    assert_eq!((failed.code, said), (Some(1), true), "{failed:?}");
}
