//! Small bounds, a few seconds in all; the larger ones are for the command line.

use std::hash::{DefaultHasher, Hasher};

use super::*;

fn bound(nodes: usize, joins: usize, fails: u8, grain: Grain) -> ModelArgs {
    ModelArgs { nodes, joins, fails, grain, ..ModelArgs::default() }
}

/// Every state within the bound was looked at, and nothing is broken.
#[track_caller]
fn holds(args: &ModelArgs) -> Outcome {
    let outcome = run(args).expect("the bound is a sound one");
    assert!(outcome.failure.is_none(), "{outcome}");
    assert!(outcome.exhaustive, "{outcome}");
    assert!(outcome.arrived, "nothing was ever finished: {outcome}");
    assert!(outcome.unique > 1 && outcome.converged == outcome.unique as u64, "{outcome}");
    outcome
}

#[test]
fn two_nodes_become_one_ring_however_their_frames_are_interleaved() {
    let outcome = holds(&bound(1, 1, 0, Grain::Frames));
    assert!(outcome.unique > 100, "so few interleavings: {outcome}");
}

#[test]
fn a_node_that_joins_a_ring_finds_its_place() {
    holds(&bound(2, 1, 0, Grain::Operations));
    holds(&bound(3, 1, 0, Grain::Operations));
}

#[test]
fn two_nodes_that_join_between_the_same_neighbours_find_their_places() {
    holds(&bound(3, 2, 0, Grain::Operations));
}

#[test]
fn a_ring_closes_over_a_crashed_node_whoever_notices_first() {
    holds(&bound(3, 0, 1, Grain::Operations));
}

/// Two that are left told each other of the dead third for ever: each took its own word back for news.
#[test]
fn the_name_of_a_dead_node_does_not_echo_between_the_last_two() {
    let args = ModelArgs { max_states: Some(20_000), ..bound(3, 0, 1, Grain::Frames) };
    let outcome = run(&args).expect("the bound is a sound one");
    assert!(outcome.failure.is_none(), "{outcome}");
}

/// A node asked a neighbour for its view, whose answer made it ask again.
#[test]
fn a_node_may_join_while_another_crashes() {
    let args = ModelArgs { max_states: Some(30_000), ..bound(3, 1, 1, Grain::Operations) };
    let outcome = run(&args).expect("the bound is a sound one");
    assert!(outcome.failure.is_none(), "{outcome}");
}

#[test]
fn states_that_look_alike_behave_alike() {
    let args = bound(2, 1, 0, Grain::Frames);
    let model = RingModel::new(&args).expect("the bound is a sound one");
    // Two walks that take the same steps with generators of their own, so that they draw other numbers.
    let mut one = model.start.clone();
    let mut other = model.start.clone();
    for node in &mut other.nodes {
        if let Node::Alive { proto, .. } = node {
            std::sync::Arc::make_mut(proto).reseed(99);
        }
    }
    let mut picks = DefaultHasher::new();
    for step in 0..400_u64 {
        assert_eq!(fair::key(&one), fair::key(&other), "after {step} steps");
        let (actions, same) = (model.rules.actions(&one), model.rules.actions(&other));
        assert_eq!(actions.len(), same.len(), "after {step} steps");
        if actions.is_empty() {
            break;
        }
        picks.write_u64(step);
        let pick = (picks.finish() % actions.len() as u64) as usize;
        one = model.rules.after(&one, actions[pick]);
        other = model.rules.after(&other, same[pick]);
    }
}

/// Whatever the way to a state, the same can happen from there.
#[track_caller]
fn lead_to_the_same(args: &ModelArgs, most: usize) {
    let model = RingModel::new(args).expect("the bound is a sound one");
    let successors = |world: &World| {
        let actions = model.rules.actions(world);
        let mut next: Vec<(u64, String)> = actions
            .into_iter()
            .map(|action| (fair::key(&model.rules.after(world, action)), model.rules.describe_action(world, action)))
            .collect();
        next.sort_unstable();
        next
    };
    let mut known = std::collections::BTreeMap::new();
    let mut queue = std::collections::VecDeque::from([model.start.clone()]);
    while let Some(world) = queue.pop_front() {
        let next = successors(&world);
        match known.get(&fair::key(&world)) {
            Some(before) => assert_eq!(&next, before, "from {}\n{world:#?}", model.rules.describe(&world)),
            None => {
                known.insert(fair::key(&world), next);
                if known.len() <= most {
                    queue.extend(
                        model.rules.actions(&world).into_iter().map(|action| model.rules.after(&world, action)),
                    );
                }
            }
        }
    }
}

#[test]
fn states_that_count_as_one_lead_to_the_same_states() {
    lead_to_the_same(&bound(2, 1, 0, Grain::Frames), 1000);
    lead_to_the_same(&bound(3, 0, 1, Grain::Frames), 1000);
    lead_to_the_same(&bound(3, 1, 1, Grain::Operations), 1000);
}

#[test]
fn the_seeds_that_are_tried_draw_each_of_up_to_three_links() {
    for nodes in 2..=4 {
        let args = bound(nodes, 0, 0, Grain::Frames);
        let model = RingModel::new(&args).expect("the bound is a sound one");
        let mut world = model.start.clone();
        world.left.checks = 1;
        let checks = model.rules.actions(&world).into_iter().filter(|action| {
            matches!(action, Action::Due { node: 0, deadline: atoll::proto::untimed::Deadline::Check, .. })
        });
        let mut asked: Vec<usize> = checks
            .map(|check| {
                let after = model.rules.after(&world, check);
                let told = after.wires.iter().find(|wire| wire.ends.iter().any(|end| !end.inbox.is_empty()));
                told.expect("the lookup goes over some link").ends.each_ref().map(|end| end.node).into_iter().max()
            })
            .map(|peer| peer.expect("two ends"))
            .collect();
        asked.sort_unstable();
        asked.dedup();
        assert_eq!(asked, (1..nodes).collect::<Vec<_>>(), "links that were drawn");
    }
}

#[test]
fn a_bound_without_sense_is_refused_with_the_mend() {
    let refused = |args: &ModelArgs| run(args).expect_err("out of bounds").to_string();
    assert!(refused(&bound(9, 0, 0, Grain::Frames)).contains("1 to 6"));
    assert!(refused(&bound(3, 0, 2, Grain::Frames)).contains("--successors"));
    assert!(refused(&bound(2, 0, 1, Grain::Frames)).contains("--nodes 3"));
}

#[test]
fn a_command_that_is_printed_is_one_that_is_understood() {
    use clap::{Args, FromArgMatches};
    let args = ModelArgs { fails: 1, max_depth: Some(2), stabilizations: Some(1), ..bound(3, 1, 1, Grain::Bursts) };
    let outcome = run(&args).expect("the bound is a sound one");
    let command = ModelArgs::augment_args(clap::Command::new("model"));
    let matches = command.get_matches_from(outcome.command.split(' ').skip(1));
    let again = ModelArgs::from_arg_matches(&matches).expect("it was printed for that");
    let again = run(&again).expect("the bound is a sound one");
    assert_eq!((again.states, again.unique, again.command), (outcome.states, outcome.unique, outcome.command.clone()));
}

#[cfg(feature = "known-bugs")]
mod known_bugs {
    use atoll::proto::KnownBug;

    use super::*;

    #[track_caller]
    fn breaks(args: &ModelArgs) -> Failure {
        let outcome = run(args).expect("the bound is a sound one");
        assert!(!outcome.exhaustive);
        outcome.failure.unwrap_or_else(|| panic!("the bug was not found: {}", outcome.bound))
    }

    #[test]
    fn a_predecessor_that_nobody_asks_for_life_is_found() {
        let args = ModelArgs {
            bug: Some(KnownBug::NotifyWithoutRectify),
            threads: Some(1),
            ..bound(3, 0, 1, Grain::Operations)
        };
        let failure = breaks(&args);
        assert_eq!(failure.property, CONVERGES);
        assert!(failure.steps.iter().any(|step| step.contains("crashes")), "{failure}");
        assert!(failure.reason.contains("is not ideal"), "{failure}");
    }

    #[test]
    fn a_node_that_joins_with_nothing_but_its_successor_is_found() {
        let args = ModelArgs {
            bug: Some(KnownBug::Join2001),
            threads: Some(1),
            stabilizations: Some(0),
            converge_every: 1000,
            ..bound(3, 1, 1, Grain::Bursts)
        };
        let failure = breaks(&args);
        assert_eq!(failure.property, VALID);
        assert!(failure.reason.contains("live successor is broken"), "{failure}");
    }
}
