//! A report as comma-separated values: a line of names with their units, then the rows with all digits.

use anyhow::{Context, Result};

use super::{Cell, Report};

pub(super) fn render(report: &Report) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(report.columns.iter().map(|column| match column.unit.as_str() {
        "" => column.name.clone(),
        unit => format!("{} ({unit})", column.name),
    }))?;
    for row in &report.rows {
        writer.write_record(row.iter().map(|cell| match cell {
            Cell::Number(number) => number.to_string(),
            Cell::Text(text) => text.clone(),
            Cell::Missing => String::new(),
        }))?;
    }
    let bytes = writer.into_inner().context("the rows do not fit into memory")?;
    Ok(String::from_utf8(bytes)?)
}
