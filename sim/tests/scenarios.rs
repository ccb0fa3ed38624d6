//! The scenarios on small rings: what must hold of their figures whatever the seed.

use sim::output::{Cell, Report};

fn run(words: &str) -> Report {
    sim::cli::report(&words.split(' ').collect::<Vec<_>>()).unwrap_or_else(|error| panic!("sim {words}: {error:#}"))
}

/// The numbers of a column; where one is missing, the test fails.
fn numbers(report: &Report, column: &str) -> Vec<f64> {
    let all = report.numbers(column).into_iter().collect::<Option<Vec<f64>>>();
    all.unwrap_or_else(|| panic!("{column} is not in every row of {}", report.to_table()))
}

#[test]
fn all_packets_arrive_when_nobody_dies_and_nearly_all_when_some_do() {
    let report = run("fail --nodes 100 --dead 0,0.2 --packets 2000 --lookups 200 --settle 20s --runs 2");
    let arrived = numbers(&report, "packets-before");
    assert_eq!(arrived[0], 100.0, "{}", report.to_table());
    assert!(arrived[1] > 97.0, "{}", report.to_table());
    assert_eq!(numbers(&report, "packets-after"), [100.0, 100.0], "{}", report.to_table());
}

#[test]
fn in_the_papers_chord_every_walk_ends_at_the_owner_past_the_dead() {
    let report = run("fail --protocol chord --nodes 200 --dead 0,0.3 --lookups 1000");
    assert_eq!(numbers(&report, "failed"), [0.0, 0.0], "{}", report.to_table());
    let (hops, time_outs) = (numbers(&report, "mean"), numbers(&report, "time-outs"));
    assert_eq!(time_outs[0], 0.0);
    assert!(time_outs[1] > 0.3 && hops[1] > hops[0], "{}", report.to_table());
}

#[test]
fn who_is_answered_was_reached_and_without_attackers_all_are() {
    let report = run("attack --nodes 100 --attackers 0,0.3 --misdeed drop,misroute --lookups 1000 --settle 20s");
    let (reached, answered) = (numbers(&report, "reached"), numbers(&report, "answered"));
    assert_eq!((reached[0], answered[0]), (100.0, 100.0), "{}", report.to_table());
    assert!(reached.iter().zip(&answered).all(|(reached, answered)| reached >= answered), "{}", report.to_table());
    assert!(answered[2] < 100.0, "nobody dropped anything: {}", report.to_table());
}

#[test]
fn the_same_nodes_come_and_go_whatever_the_protocol() {
    let report = run("churn --nodes 60 --rate 0.2 --duration 2min --settle 20s");
    for column in ["joins", "departures"] {
        let counts = numbers(&report, column);
        assert!(counts[0] > 0.0 && counts[0] == counts[1], "{}", report.to_table());
    }
    let names: Vec<&Cell> = report.rows.iter().map(|row| &row[1]).collect();
    assert_eq!(names, [&Cell::from("Atoll"), &Cell::from("Chord")]);
}

#[test]
fn every_ingredient_of_routing_shortens_the_ways() {
    let report = run("hops --nodes 200 --ablation --lookups 2000 --settle 30s");
    let means = numbers(&report, "mean");
    let [_chord, fixed, random, all] = means[..] else { panic!("{}", report.to_table()) };
    assert!(fixed > random && random > all, "{}", report.to_table());
    assert!(numbers(&report, "delivered").iter().all(|&delivered| delivered == 100.0), "{}", report.to_table());
}

#[test]
fn a_ring_with_relaxed_periods_finds_everybody() {
    let report = run("hops --nodes 200 --periods relaxed --lookups 1000");
    assert_eq!(numbers(&report, "delivered"), [100.0], "{}", report.to_table());
}
