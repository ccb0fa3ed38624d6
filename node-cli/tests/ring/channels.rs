//! Messages of a channel, from process to process.

use crate::support::{Daemon, Place, Process, Up, run, run_with};

#[test]
fn what_is_published_is_printed_by_those_who_subscribe() {
    let up = Up::start(5, "");
    let at = &up.at;
    let news = Process::start(&format!("sub news --scope a --count 4 --json{at}"));
    let all = Process::start(&format!("sub news --count 3{at} --json"));
    news.remark("joined");
    all.remark("joined");
    run_with(&format!("pub news --scope a{at}"), "one\ntwo\n");
    run(&format!("pub news --scope b other{at}"));
    run(&format!("pub news --scope a again --count 2 --rate 100{at}"));
    let texts = |process: &Process, count: usize| -> Vec<String> {
        (0..count).map(|_| process.event("message")["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(&news, 4), ["one", "two", "again", "again"]);
    assert_eq!(texts(&all, 3), ["one", "two", "other"]);
}

#[test]
fn a_private_channel_needs_its_secret() {
    let up = Up::start(4, "");
    let (at, place) = (&up.at, Place::new());
    let secret = place.file("secret", "many random bytes, more than sixteen\n");
    let ours = Process::start(&format!("sub ours --channel-secret-file {secret} --count 1 --json{at}"));
    ours.remark("joined");
    run(&format!("pub ours nothing{at}"));
    run(&format!("pub ours --channel-secret-file {secret} hidden{at}"));
    assert_eq!(ours.event("message")["text"], "hidden");
}

#[test]
fn pub_and_sub_use_the_daemon_and_reach_those_who_do_not() {
    let up = Up::start(3, "");
    let (daemon, place) = (Daemon::start(&up.at, ""), Place::new());
    let secret = place.file("secret", "many random bytes, more than sixteen\n");
    let options = format!("ours --unsigned --scope a --channel-secret-file {secret}");
    let through = Process::start(&format!("sub {options} --count 3 --json{}", daemon.at));
    let visitor = Process::start(&format!("sub {options} --count 3 --json{}", up.at));
    let joined = [&through, &visitor].map(|process| process.remark("joined"));
    assert_eq!(joined[0]["channel"], joined[1]["channel"]);
    run_with(&format!("pub {options}{}", daemon.at), "$one\n");
    run(&format!("pub {options} two --count 2{}", daemon.at));
    for process in [&through, &visitor] {
        let messages: Vec<_> = (0..3).map(|_| process.event("message")).collect();
        let texts: Vec<_> = messages.iter().map(|message| message["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["$one", "two", "two"], "{messages:?}");
        assert!(messages.iter().all(|message| message["publisher"] == daemon.id.as_str()), "{messages:?}");
    }
}

#[test]
fn bench_channel_prints_its_figures() {
    let figures = run("bench-channel --nodes 3 --count 100 --json").json();
    assert_eq!((&figures[0]["deliveries"], &figures[0]["lost"]), (&200.into(), &0.into()));
}
