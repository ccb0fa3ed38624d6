//! `node-cli lookup`: the member that owns a key.

use serde_json::json;

use crate::args::{LookupArgs, NodeArgs};
use crate::join::Visit;
use crate::output::{self, Output};

pub(crate) async fn run(args: &LookupArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let key = &args.sought;
    Visit::run(node, None, async |visit: &Visit| {
        let owner = visit.soon(visit.node.lookup(key.id)).await??;
        let from = key.text.as_ref().map_or_else(String::new, |text| format!("  the hash of {text:?}"));
        output.line(
            format_args!(
                "key         {}{from}\nowner       {}\nhops        {}\nbefore it   {}\nafter it    {}",
                key.id,
                owner.id,
                owner.hops,
                output::list(&owner.view.predecessors),
                output::list(&owner.view.successors),
            ),
            &json!({
                "key": key.id,
                "text": key.text,
                "owner": owner.id,
                "hops": owner.hops,
                "predecessors": owner.view.predecessors,
                "successors": owner.view.successors,
            }),
        )
    })
    .await
}
