//! `sim check` in small: that the protocol passes it, and that it finds what is wrong where something is.

use sim::check::{CheckArgs, Outcome, run};

fn check(args: &CheckArgs) -> Outcome {
    run(args, std::thread::available_parallelism().map_or(1, usize::from), &|_, _| true)
        .expect("its arguments are right")
}

#[test]
fn nothing_is_broken_in_two_hundred_random_scenarios() {
    let outcome = check(&CheckArgs::default());
    println!("{outcome}");
    assert!(outcome.passed(), "{outcome}");
    assert_eq!((outcome.run, outcome.repeated), (200, 20));
}

#[test]
fn what_once_failed_holds() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/once-failed");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let outcome = check(&CheckArgs { file: Some(file.clone()), ..CheckArgs::default() });
        assert!(outcome.passed(), "{}: {outcome}", file.display());
    }
}

#[test]
fn a_run_that_is_told_to_stop_says_so() {
    let outcome = run(&CheckArgs::default(), 1, &|run, _| run < 3).unwrap();
    assert!(outcome.interrupted && outcome.passed());
    assert_eq!(outcome.run, 3);
}

#[cfg(feature = "known-bugs")]
mod known_bugs {
    use atoll::proto::KnownBug;
    use sim::invariant::{not_lost, not_stale};

    use super::*;

    /// Checks that the bug is found within so many scenarios, and that the smallest one shows it too. Gives what it breaks.
    fn is_caught(bug: KnownBug, within: u64) -> &'static str {
        let outcome = check(&CheckArgs { seeds: within, bug: Some(bug), ..CheckArgs::default() });
        println!("{outcome}");
        let failure = outcome.failure.unwrap_or_else(|| panic!("{bug} is not found within {within} scenarios"));
        assert!(failure.replay.contains(bug.name()), "the replay is without the bug: {}", failure.replay);
        let minimal = failure.minimal.expect("it is made smaller");
        let again = sim::check::Scenario::parse(&minimal.scenario.to_toml()).expect("what was printed is read");
        let base = CheckArgs { bug: Some(bug), ..CheckArgs::default() }.base();
        let failed =
            sim::check::run_scenario(&again, &base).expect_err("the smallest scenario fails from its file, too");
        assert_eq!(failed.broken.invariant, failure.failed.broken.invariant);
        failed.broken.invariant
    }

    #[test]
    fn the_join_of_2001_is_caught() {
        is_caught(KnownBug::Join2001, 50);
    }

    #[test]
    fn notify_without_rectify_is_caught() {
        is_caught(KnownBug::NotifyWithoutRectify, 50);
    }

    #[test]
    fn forwarding_past_the_target_is_caught() {
        is_caught(KnownBug::ForwardPastTarget, 50);
    }

    #[test]
    fn acknowledging_what_no_successor_has_is_caught() {
        assert_eq!(is_caught(KnownBug::AcknowledgeWithoutCopies, 20), not_lost::NAME);
    }

    #[test]
    fn answering_with_what_was_there_before_is_caught() {
        assert_eq!(is_caught(KnownBug::AnswerFromCache, 20), not_stale::NAME);
    }
}
