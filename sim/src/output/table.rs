//! A report as a table for people, with how to repeat it.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table};

use super::{Cell, Column, Report};

pub(super) fn render(report: &Report) -> String {
    let mut text = format!("{}\n", report.title);
    if report.interrupted {
        text += "INTERRUPTED: this is what was measured until then.\n";
    }
    if !report.rows.is_empty() {
        let mut table = Table::new();
        table
            .load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none()))
            .set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(report.columns.iter().enumerate().map(|(at, column)| {
            let title = match column.unit.as_str() {
                "" => column.name.clone(),
                unit => format!("{}\n{unit}", column.name),
            };
            let is_text = report.rows.iter().any(|row| matches!(row[at], Cell::Text(_)));
            let alignment = if is_text { CellAlignment::Left } else { CellAlignment::Right };
            comfy_table::Cell::new(title).set_alignment(alignment)
        }));
        for row in &report.rows {
            table.add_row(report.columns.iter().zip(row).map(|(column, cell)| {
                let shown = comfy_table::Cell::new(shown(column, cell));
                match cell {
                    Cell::Text(_) => shown,
                    _ => shown.set_alignment(CellAlignment::Right),
                }
            }));
        }
        text += &format!("{table}\n");
    }
    for note in &report.notes {
        text += &format!("{note}\n");
    }
    let cost = report.cost;
    let rate = cost.events as f64 / cost.seconds.max(1e-3);
    if cost.events > 0 {
        let memory = cost.peak_memory.map(|bytes| format!(", {:.1} GB of memory", bytes as f64 / 1e9));
        text += &format!(
            "{} events in {:.1} s, {} a second{}; atoll-sim {}\n",
            grouped(cost.events),
            cost.seconds,
            grouped(rate as u64),
            memory.unwrap_or_default(),
            report.origin.version
        );
    }
    text + &format!("again: {}\n", report.origin.repeat)
}

fn shown(column: &Column, cell: &Cell) -> String {
    match cell {
        Cell::Text(text) => text.clone(),
        Cell::Missing => "-".to_owned(),
        Cell::Number(number) if column.digits == 0 && *number >= 0.0 && *number < 1e15 => {
            grouped(number.round() as u64)
        }
        Cell::Number(number) => format!("{number:.*}", column.digits),
    }
}

/// 1234567 as 1,234,567.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
