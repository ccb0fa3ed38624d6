//! `node-cli settings`: the settings that hold, and where each comes from.

use clap::Arg;
use serde_json::json;

use crate::layers::{self, Parsed};
use crate::output::Output;

pub(crate) fn run(parsed: &Parsed, output: Output) -> anyhow::Result<()> {
    for flag in parsed.command.get_arguments().filter(|flag| layers::may_be_set(flag)) {
        let name = flag.get_long().expect("only flags with a long name may be set");
        let values = values(parsed, flag);
        let source = parsed.source(flag).unwrap_or_else(|| "not set".to_owned());
        let shown = if values.is_empty() { "-".to_owned() } else { values.join(" ") };
        output.line(
            format_args!("{name:<16} {shown:<40} {source}"),
            &json!({ "setting": name, "values": values, "source": source }),
        )?;
    }
    Ok(())
}

fn values(parsed: &Parsed, flag: &Arg) -> Vec<String> {
    let id = flag.get_id().as_str();
    match id {
        // Their credentials are nobody's to see.
        "ice_server" => {
            parsed.cli.node.ice_server.iter().flat_map(|list| &list.0).flat_map(|s| s.urls.clone()).collect()
        }
        "verbose" => vec![parsed.cli.verbose.to_string()],
        "json" => vec![parsed.cli.json.to_string()],
        _ => {
            let raw = parsed.matches.get_raw(id).unwrap_or_default();
            raw.map(|value| value.to_string_lossy().into_owned()).collect()
        }
    }
}
