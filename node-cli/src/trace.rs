//! `node-cli trace`: the hops that a frame takes to a peer, each with its round trip time.

use std::time::{Duration, Instant};

use atoll::proto::LookupError;
use atoll::{Id, Node};
use serde_json::json;
use tokio::time::timeout;

use crate::args::{NodeArgs, PeerArgs};
use crate::join::Visit;
use crate::output::Output;

/// Round trips to each hop. The fastest is shown: what is slower waited for something else.
const ROUNDS: usize = 3;

/// How long one trace may take.
const TRY: Duration = Duration::from_millis(800);

/// Pause before the next.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(args: &PeerArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    Visit::run(node, Some(&args.peer), async |visit: &Visit| {
        let peer = visit.find(&args.peer).await?.id;
        let hops = hops(visit, peer).await?;
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

/// The nodes on the way to a peer. A trace is one frame, which is lost when a link of the way just opens or closes: then
/// another is sent, as long as a visit may take.
pub(crate) async fn hops(visit: &Visit, peer: Id) -> anyhow::Result<Vec<Id>> {
    let traced = async {
        loop {
            match timeout(TRY, visit.node.trace(peer)).await {
                Err(_) | Ok(Err(LookupError::TimedOut | LookupError::NoWay)) => tokio::time::sleep(PAUSE).await,
                Ok(answer) => return answer,
            }
        }
    };
    Ok(visit.soon(traced).await??)
}

/// The time of a frame to a node and of the answer back, by whatever way leads there; `None` if none came.
async fn round_trip(node: &Node, hop: Id) -> Option<Duration> {
    let mut best = None;
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        if !matches!(timeout(TRY, node.trace(hop)).await, Ok(Ok(_))) {
            continue;
        }
        let time = begun.elapsed();
        best = Some(best.map_or(time, |best: Duration| best.min(time)));
    }
    best
}
