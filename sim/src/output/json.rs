//! A report as one JSON object: what it holds, with each row as an object by the columns' names.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::Report;

pub(super) fn render(report: &Report) -> Result<String> {
    let row = |cells: &Vec<super::Cell>| -> Result<Value> {
        let pairs = report.columns.iter().zip(cells);
        let pairs = pairs.map(|(column, cell)| Ok((column.name.clone(), serde_json::to_value(cell)?)));
        Ok(Value::Object(pairs.collect::<Result<Map<_, _>>>()?))
    };
    let settings = report.origin.settings.iter().map(|chosen| (chosen.name.clone(), json!(chosen.value)));
    let value = json!({
        "title": report.title,
        "scenario": report.origin.scenario,
        "version": report.origin.version,
        "repeat": report.origin.repeat,
        "settings": settings.collect::<Map<_, _>>(),
        "interrupted": report.interrupted,
        "columns": report.columns,
        "rows": report.rows.iter().map(row).collect::<Result<Vec<_>>>()?,
        "notes": report.notes,
        "figures": report.figures,
        "cost": report.cost,
    });
    Ok(value.to_string())
}
