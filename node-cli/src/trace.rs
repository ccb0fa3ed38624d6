//! `node-cli trace`: the hops that a frame takes to a peer, each with its round trip time.

use std::time::{Duration, Instant};

use atoll::{Id, Node};
use serde_json::json;

use crate::args::{NodeArgs, PeerArgs};
use crate::join::Visit;
use crate::output::Output;

/// Round trips to each hop. The fastest is shown: what is slower waited for something else.
const ROUNDS: usize = 3;

pub(crate) async fn run(args: &PeerArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let peer = args.peer;
    Visit::run(node, Some(peer), async |visit: &Visit| {
        let hops = visit.soon(visit.node.trace(peer)).await??;
        for (index, &hop) in hops.iter().enumerate() {
            let time = round_trip(&visit.node, hop).await;
            let milliseconds = time.map(|time| time.as_micros() as f64 / 1e3);
            let shown = milliseconds.map_or_else(|| "no answer".to_owned(), |ms| format!("{ms:.2} ms"));
            output.line(
                format_args!("{:>2}  {hop}  {shown}", index + 1),
                &json!({ "hop": index + 1, "id": hop, "rtt_ms": milliseconds }),
            )?;
        }
        Ok(())
    })
    .await
}

/// The time of a frame to a node and of the answer back, by whatever way leads there; `None` if none came.
async fn round_trip(node: &Node, hop: Id) -> Option<Duration> {
    let mut best = None;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        if node.trace(hop).await.is_err() {
            break;
        }
        let time = begun.elapsed();
        best = Some(best.map_or(time, |best: Duration| best.min(time)));
    }
    best
}
