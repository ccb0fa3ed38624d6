//! How evenly keys are spread over the nodes: a matter of the nodes' ids alone.

use anyhow::Result;
use atoll::id::Id;
use rand::SeedableRng;
use rand_pcg::Pcg32;

use super::samples::Samples;
use super::{Run, Scenario};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::{self, SeedAndFile};
use crate::settings::values;
use crate::theory;

/// Points of each curve in the plot.
const POINTS: usize = 100;

/// How evenly keys are spread over nodes with random ids.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim load --nodes 10000 --keys 500000 --virtual-nodes 1,20")]
pub struct Load {
    /// Nodes.
    #[arg(long, default_value = "10000", value_name = "NODES", value_parser = values::count)]
    pub(super) nodes: usize,
    /// Keys, at random places.
    #[arg(long, default_value = "500000", value_name = "KEYS", value_parser = values::count)]
    pub(super) keys: usize,
    /// Places that each node has on the ring.
    #[arg(long, default_value = "1,2,5,10,20", value_name = "PLACES", value_delimiter = ',', value_parser = values::count)]
    pub(super) virtual_nodes: Vec<usize>,
    /// Rings, with seeds from --seed onwards; the figures are of all of them together, the maximum is the mean over them.
    #[arg(long, default_value = "20", value_name = "RINGS", value_parser = values::count)]
    pub(super) rings: usize,
    #[command(flatten)]
    pub(super) common: SeedAndFile,
}

/// All rings with so many places a node.
struct Measured {
    virtual_nodes: usize,
    /// Keys on each node, as multiples of the mean.
    loads: Samples,
    /// The most on one node, of each ring.
    maxima: Samples,
}

impl Scenario for Load {
    fn check(&self) -> Result<(), Wrong> {
        match self.virtual_nodes.iter().find(|&&places| places.saturating_mul(self.nodes) > 1 << 40) {
            Some(_) => Err(Wrong::new("virtual-nodes", "so many places do not fit on the ring: write less")),
            None => Ok(()),
        }
    }

    /// A key and a place take far less than a node, which is what this is counted in.
    fn sizes(&self) -> Vec<usize> {
        let bytes = |places: &usize| 16 * (places.saturating_mul(self.nodes).saturating_add(self.rings * self.nodes));
        self.virtual_nodes.iter().map(|places| bytes(places) / groups::NODE_BYTES as usize).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        run.progress.expect((self.virtual_nodes.len() * self.rings * self.keys) as u64);
        let measured = run.each(&self.virtual_nodes, |&places| Ok(self.measure(run, places)))?;
        Ok(self.report(measured))
    }
}

impl Load {
    fn measure(&self, run: &Run, virtual_nodes: usize) -> Option<Measured> {
        let mut measured = Measured { virtual_nodes, loads: Samples::default(), maxima: Samples::default() };
        for ring in 0..self.rings {
            if run.progress.is_stopped() {
                break;
            }
            let loads = self.loads(self.common.seed.wrapping_add(ring as u64), virtual_nodes);
            measured.maxima.push(loads.max()?);
            measured.loads.append(loads);
            run.progress.did(self.keys as u64, 0);
        }
        measured.maxima.max().is_some().then_some(measured)
    }

    /// Keys on each node of one ring, as multiples of the mean.
    fn loads(&self, seed: u64, virtual_nodes: usize) -> Samples {
        let mut rng = Pcg32::seed_from_u64(seed);
        let places = (0..self.nodes * virtual_nodes).map(|place| (Id::random(&mut rng), place % self.nodes));
        let mut places: Vec<(Id, usize)> = places.collect();
        places.sort_unstable();
        let mut keys = vec![0_u32; self.nodes];
        for _ in 0..self.keys {
            let key = Id::random(&mut rng);
            // A key is held by the first node at or after it.
            let at = places.partition_point(|(id, _)| *id < key);
            let (_, node) = places[at % places.len()];
            keys[node] += 1;
        }
        let mean = self.keys as f64 / self.nodes as f64;
        keys.into_iter().map(|keys| f64::from(keys) / mean).collect()
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let mean = self.keys as f64 / self.nodes as f64;
        let title = format!("Keys a node, as multiples of the mean of {mean}");
        let mut report = Report::new(title).with_columns(&[
            ("virtual-nodes", "", 0),
            ("p1", "× mean", 3),
            ("p50", "× mean", 3),
            ("p99", "× mean", 3),
            ("p99-theory", "× mean", 3),
            ("p99-paper", "× mean", 1),
            ("max", "× mean", 2),
            ("max-theory", "× mean", 2),
            ("max-paper", "× mean", 1),
        ]);
        for Measured { virtual_nodes, loads, maxima } in &mut measured {
            let as_paper = |row: &&theory::PaperLoad| {
                (self.nodes, self.keys, *virtual_nodes) == (theory::PAPER_NODES, row.keys, row.virtual_nodes)
            };
            let paper = theory::PAPER_LOADS.iter().find(as_paper);
            report.row([
                (*virtual_nodes).into(),
                loads.quantile(0.01).into(),
                loads.quantile(0.5).into(),
                loads.quantile(0.99).into(),
                theory::load_quantile(*virtual_nodes as u32, mean, 0.99).into(),
                paper.map(|row| row.p99).into(),
                maxima.mean().into(),
                theory::load_maximum(self.nodes, *virtual_nodes as u32, mean).into(),
                paper.and_then(|row| row.maximum).into(),
            ]);
        }
        report.figures.push(Figure::Plot(plot(&mut measured, mean)));
        report
    }
}

fn plot(measured: &mut [Measured], mean: f64) -> Plot {
    let mut series = Vec::new();
    let shares = || (1..POINTS).map(|step| step as f64 / POINTS as f64);
    for Measured { virtual_nodes, loads, .. } in measured.iter_mut() {
        let points = shares().filter_map(|share| Some((100.0 * share, loads.quantile(share)?)));
        series.push(Series::new(format!("{virtual_nodes} places a node"), Style::Measured, points));
    }
    if let Some(Measured { virtual_nodes, .. }) = measured.first() {
        let points = shares().map(|share| (100.0 * share, theory::load_quantile(*virtual_nodes as u32, mean, share)));
        series.push(Series::new(format!("theory, {virtual_nodes}"), Style::Theory, points));
    }
    Plot {
        name: "keys".to_owned(),
        title: "Keys a node".to_owned(),
        x: Axis::linear("nodes that hold at most so much (%)"),
        y: Axis::linear("keys (multiples of the mean)"),
        series,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_holder() {
        let common = SeedAndFile { file: None, seed: 3 };
        let load = Load { nodes: 50, keys: 5000, virtual_nodes: vec![1], rings: 1, common };
        let mean = load.loads(3, 4).mean().expect("50 nodes");
        assert!((mean - 1.0).abs() < 1e-9, "{mean}");
    }
}
