//! What papers say a figure should be: the lines that are drawn into plots, each with its source.

use libm::{exp, log, log2};

/// Mean path length of Chord with `nodes` members, in hops: half the binary logarithm.
///
/// Stoica, Morris, Karger, Kaashoek, Balakrishnan, "Chord: a scalable peer-to-peer lookup service for internet applications",
/// SIGCOMM 2001, section 6.3.
pub fn chord_hops(nodes: f64) -> f64 {
    log2(nodes.max(1.0)) / 2.0
}

/// What of Atoll's routing a ring has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ingredients {
    /// Everything: random members of the fingers' arcs, links used both ways, the neighbours' neighbours.
    All,
    /// Without the neighbours' neighbours.
    RandomMembers,
    /// Fingers at fixed points of the ring, used clockwise only.
    Deterministic,
    /// Chord as in the paper, without a budget of links, and with a short successor list.
    Chord,
}

impl Ingredients {
    /// All of them.
    pub const EACH: [Ingredients; 4] =
        [Ingredients::Chord, Ingredients::Deterministic, Ingredients::RandomMembers, Ingredients::All];

    /// In words, for tables.
    pub fn name(self) -> &'static str {
        match self {
            Ingredients::All => "Atoll",
            Ingredients::RandomMembers => "random members, both ways",
            Ingredients::Deterministic => "fixed fingers, clockwise",
            Ingredients::Chord => "Chord, no budget",
        }
    }
}

/// The mean hops of Atoll's design with 16 links a node, where the design has a figure: `rich` is the share of nodes with 128 links.
///
/// `docs/architecture.md`: graphs that were made from random ids, not rings that the protocol built.
pub fn design_hops(ingredients: Ingredients, rich: f64, nodes: usize) -> Option<f64> {
    let figures: [Option<f64>; 4] = match ingredients {
        _ if rich != 0.0 && ingredients != Ingredients::All => return None,
        Ingredients::Chord => [4.98, 6.25, 7.99, 9.87].map(Some),
        Ingredients::Deterministic => [5.85, 9.49, 14.6, 21.4].map(Some),
        Ingredients::RandomMembers => [4.46, 7.24, 10.8, 15.0].map(Some),
        Ingredients::All if rich == 0.0 => [3.28, 4.85, 6.59, 8.46].map(Some),
        Ingredients::All if rich == 0.1 => [Some(2.63), Some(3.45), None, Some(5.44)],
        Ingredients::All => [None; 4],
    };
    let at = [1_000, 10_000, 100_000, 1_000_000].iter().position(|&size| size == nodes)?;
    figures[at]
}

/// No graph of `nodes` members with at most `degree` links each has a smaller mean distance, in hops: each member has `degree`
/// others at one hop at most, and each further hop leads to `degree - 1` times as many as the one before.
///
/// The bound is Moore's; for mean distances see Cerf, Cowan, Mullin, Stanton, "A lower bound on the average shortest path length
/// in regular graphs", Networks 4 (1974).
pub fn moore_hops(nodes: f64, degree: f64) -> f64 {
    let others = nodes - 1.0;
    if others <= 0.0 {
        return 0.0;
    }
    let (mut shell, mut hops) = (degree, 1.0);
    let (mut reached, mut sum) = (0.0, 0.0);
    while reached < others {
        let here = f64::min(shell, others - reached);
        if here <= 0.0 {
            return f64::INFINITY;
        }
        reached += here;
        sum += here * hops;
        shell *= degree - 1.0;
        hops += 1.0;
    }
    sum / others
}

/// The shape of greedy routing over random links whose lengths follow the inverse power of the distance, scaled to go through
/// one measured point (`nodes`, `hops`): it grows with the square of the logarithm for a fixed number of links.
///
/// Kleinberg, "The small-world phenomenon: an algorithmic perspective", STOC 2000; for rings with k links: Manku, Bawa, Raghavan,
/// "Symphony: distributed hashing in a small world", USITS 2003.
pub fn kleinberg_hops(through: (f64, f64), nodes: f64) -> f64 {
    let (measured_nodes, measured_hops) = through;
    let ratio = log(nodes.max(1.0)) / log(measured_nodes.max(2.0));
    measured_hops * ratio * ratio
}

/// The share `quantile` of nodes holds at most so many times the mean number of keys, when each node has `virtual_nodes` random
/// places on the ring and there are `mean` random keys a node.
///
/// The arcs between random points are exponentially distributed (Karger et al., "Consistent hashing and random trees", STOC 1997), a
/// node's are together Erlang, and so its keys, which fall on them at random, have a negative binomial distribution.
pub fn load_quantile(virtual_nodes: u32, mean: f64, quantile: f64) -> f64 {
    let below = shares_with_at_most(virtual_nodes, mean).take_while(|&share| share < quantile);
    below.count() as f64 / mean
}

/// The most keys on one of `nodes`, as a multiple of the mean, in expectation. As [`load_quantile`].
pub fn load_maximum(nodes: usize, virtual_nodes: u32, mean: f64) -> f64 {
    let nobody_has_more = shares_with_at_most(virtual_nodes, mean).map(|share| libm::pow(share, nodes as f64));
    nobody_has_more.take_while(|&all| all < 1.0 - 1e-9).map(|all| 1.0 - all).sum::<f64>() / mean
}

/// The share of nodes with at most 0, 1, 2... keys: see [`load_quantile`]. Ends where all have.
fn shares_with_at_most(virtual_nodes: u32, mean: f64) -> impl Iterator<Item = f64> {
    let places = f64::from(virtual_nodes.max(1));
    let more = mean / (mean + places);
    let mut exactly = exp(places * log(1.0 - more));
    let mut share = 0.0;
    (0..).map(f64::from).map_while(move |keys: f64| {
        // With many keys the first terms are too small for a number: they are left out.
        let before = share;
        share += exactly;
        exactly *= (keys + places) / (keys + 1.0) * more;
        (before < 1.0 - 1e-12 && keys < MOST_LOADED * mean).then_some(share)
    })
}

/// No node has so many times the mean.
const MOST_LOADED: f64 = 100.0;

/// What the paper on Chord says of the keys a node, as multiples of the mean, among [`PAPER_NODES`] nodes.
///
/// SIGCOMM 2001 (as [`chord_hops`]), section 6.2: one maximum, of one ring, and 99th percentiles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperLoad {
    /// Places of each node on the ring.
    pub virtual_nodes: usize,
    /// Keys among the nodes.
    pub keys: usize,
    /// 99 of 100 nodes hold at most so much.
    pub p99: f64,
    /// The most on one node.
    pub maximum: Option<f64>,
}

/// Nodes in the paper's section on load.
pub const PAPER_NODES: usize = 10_000;

/// The paper's figures: virtual nodes were tried with twice as many keys.
pub const PAPER_LOADS: [PaperLoad; 2] = [
    PaperLoad { virtual_nodes: 1, keys: 500_000, p99: 4.6, maximum: Some(9.1) },
    PaperLoad { virtual_nodes: 20, keys: 1_000_000, p99: 1.6, maximum: None },
];

/// The share of lookups that come through when each member on the way drops with probability `dropping`, the way has `hops`
/// hops, and each of `tries` goes by another way: neither the asking member nor the owner drops.
pub fn delivered_despite_droppers(dropping: f64, hops: f64, tries: u32) -> f64 {
    let one = libm::pow(1.0 - dropping, (hops - 1.0).max(0.0));
    1.0 - libm::pow(1.0 - one, f64::from(tries))
}

/// One row of the paper's table of what failures do: N = 1000, successor lists of 20, nobody repairs.
///
/// Stoica et al., "Chord: a scalable peer-to-peer lookup protocol for internet applications", IEEE/ACM Transactions on Networking
/// 11 (2003), table II.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperFailure {
    /// The share of nodes that died.
    pub dead: f64,
    /// Mean path length, in live hops.
    pub hops: f64,
    /// Mean dead contacts on the way.
    pub timeouts: f64,
}

/// Table II of the ToN 2003 paper.
pub const PAPER_FAILURES: [PaperFailure; 6] = [
    PaperFailure { dead: 0.0, hops: 3.84, timeouts: 0.0 },
    PaperFailure { dead: 0.1, hops: 4.03, timeouts: 0.60 },
    PaperFailure { dead: 0.2, hops: 4.22, timeouts: 1.17 },
    PaperFailure { dead: 0.3, hops: 4.44, timeouts: 2.02 },
    PaperFailure { dead: 0.4, hops: 4.69, timeouts: 3.23 },
    PaperFailure { dead: 0.5, hops: 5.09, timeouts: 5.10 },
];

/// One row of the paper's table of what churn does: N = 1000, stabilization every 30 s on average, one lookup a second.
///
/// ToN 2003 (as [`PaperFailure`]), table III.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaperChurn {
    /// Joins a second, and as many departures.
    pub rate: f64,
    /// Mean path length, in hops.
    pub hops: f64,
    /// Mean dead contacts on the way.
    pub timeouts: f64,
    /// Lookups that failed, of 10,000.
    pub failures: f64,
}

/// Table III of the ToN 2003 paper.
pub const PAPER_CHURN: [PaperChurn; 8] = [
    PaperChurn { rate: 0.05, hops: 3.90, timeouts: 0.05, failures: 0.0 },
    PaperChurn { rate: 0.10, hops: 3.83, timeouts: 0.11, failures: 0.0 },
    PaperChurn { rate: 0.15, hops: 3.84, timeouts: 0.16, failures: 2.0 },
    PaperChurn { rate: 0.20, hops: 3.81, timeouts: 0.23, failures: 5.0 },
    PaperChurn { rate: 0.25, hops: 3.83, timeouts: 0.30, failures: 6.0 },
    PaperChurn { rate: 0.30, hops: 3.91, timeouts: 0.34, failures: 8.0 },
    PaperChurn { rate: 0.35, hops: 3.94, timeouts: 0.42, failures: 16.0 },
    PaperChurn { rate: 0.40, hops: 4.06, timeouts: 0.46, failures: 15.0 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(got: f64, expected: f64) {
        assert!((got - expected).abs() < 0.01 * expected.max(1.0), "{got}, not {expected}");
    }

    #[test]
    fn moores_bound_is_that_of_the_design() {
        for (nodes, hops) in [(1e3, 2.73), (1e4, 3.59), (1e5, 4.38), (1e6, 5.07)] {
            close(moore_hops(nodes, 16.0), hops);
        }
        close(moore_hops(17.0, 16.0), 1.0);
        assert!(moore_hops(10.0, 1.0).is_infinite(), "pairs are no ring");
    }

    #[test]
    fn the_load_is_that_of_the_paper() {
        close(load_quantile(1, 50.0, 0.99), 4.64);
        close(load_quantile(20, 100.0, 0.99), 1.65);
        // Half as many keys scatter more.
        close(load_quantile(20, 50.0, 0.99), 1.70);
        // The paper's 9.1 is one ring of many.
        close(load_maximum(10_000, 1, 50.0), 9.88);
        close(load_maximum(10_000, 20, 50.0), 2.31);
    }

    #[test]
    fn tries_help_against_droppers() {
        close(delivered_despite_droppers(0.1, 3.0, 1), 0.81);
        close(delivered_despite_droppers(0.1, 3.0, 2), 0.9639);
        close(delivered_despite_droppers(0.0, 9.0, 1), 1.0);
    }

    #[test]
    fn kleinbergs_shape_goes_through_the_point() {
        close(kleinberg_hops((1000.0, 3.3), 1000.0), 3.3);
        close(kleinberg_hops((1000.0, 3.0), 1e6), 12.0);
    }
}
