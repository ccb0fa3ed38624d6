//! A figure, its target, and how both are printed.

use std::fmt::Write;

use serde_json::{Map, Value, json};

/// Prints figures as they are measured: a table to read, or one JSON object a line.
pub struct Report {
    json: bool,
    seed: u64,
    group: String,
}

impl Report {
    /// `seed`: of every choice that is made at random.
    pub fn new(json: bool, seed: u64) -> Self {
        Report { json, seed, group: String::new() }
    }

    pub(super) fn begin(&mut self, group: &str) {
        self.group = group.to_owned();
        if !self.json {
            println!("\n{group}");
        }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed
    }

    /// Tells whoever waits what is going on.
    pub(super) fn progress(&self, what: &str) {
        eprintln!("{}: {what} ...", self.group);
    }

    pub(super) fn add(&mut self, figure: Figure) {
        let figure = figure.with("seed", self.seed).with("cores", cores());
        match self.json {
            true => println!("{}", figure.to_json(&self.group)),
            false => println!("{}", figure.to_row()),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What a value is to be.
#[derive(Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

/// One measured value.
pub(super) struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
    target: Option<Target>,
    with: Map<String, Value>,
}

impl Figure {
    /// A figure without a target: it explains another.
    pub(super) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Figure { name: name.into(), value, unit, target: None, with: Map::new() }
    }

    pub(super) fn at_most(self, target: f64) -> Self {
        Figure { target: Some(Target::AtMost(target)), ..self }
    }

    pub(super) fn at_least(self, target: f64) -> Self {
        Figure { target: Some(Target::AtLeast(target)), ..self }
    }

    pub(super) fn exactly(self, target: f64) -> Self {
        Figure { target: Some(Target::Exactly(target)), ..self }
    }

    /// What it was measured with.
    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.with.insert(name.to_owned(), value.into());
        self
    }

    /// The same, for a number of which four digits say enough.
    pub(super) fn with_number(self, name: &str, value: f64) -> Self {
        self.with(name, rounded(value))
    }

    fn holds(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::AtMost(bound) => self.value <= bound,
            Target::AtLeast(bound) => self.value >= bound,
            Target::Exactly(bound) => self.value == bound,
        })
    }

    /// `target` and `holds` are null where there is no target.
    fn to_json(&self, group: &str) -> String {
        let target = self.target.map(|target| match target {
            Target::AtMost(bound) | Target::AtLeast(bound) | Target::Exactly(bound) => bound,
        });
        // Written by hand for the order of the fields: a map would sort them.
        format!(
            r#"{{"figure": {}, "value": {}, "unit": {}, "target": {}, "holds": {}, "with": {}}}"#,
            json!(format!("{group}: {}", self.name)),
            json!(rounded(self.value)),
            json!(self.unit),
            json!(target),
            json!(self.holds()),
            Value::Object(self.with.clone()),
        )
    }

    fn to_row(&self) -> String {
        let target = match self.target {
            None => String::new(),
            Some(Target::AtMost(bound)) => format!("≤ {bound}"),
            Some(Target::AtLeast(bound)) => format!("≥ {bound}"),
            Some(Target::Exactly(bound)) => format!("= {bound}"),
        };
        let mark = match self.holds() {
            None => "",
            Some(true) => "holds",
            Some(false) => "FALLS SHORT",
        };
        let value = rounded(self.value);
        let mut row = format!("  {:58} {value:>10} {:9} {target:9} {mark:11}", self.name, self.unit);
        for (name, value) in self.with.iter().filter(|(name, _)| !matches!(name.as_str(), "seed" | "cores")) {
            let _ = write!(row, " {name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
        row
    }
}

/// Four significant digits: the machine is not quieter than that. Whole numbers stay.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() || value.fract() == 0.0 {
        return value;
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 9);
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_json_object_with_its_fields_in_order() {
        let figure = Figure::new("open, median", 14.1234, "ms").at_most(50.0).with("links", 200);
        let expected = r#"{"figure": "link: open, median", "value": 14.12, "unit": "ms", "target": 50.0, "holds": true, "with": {"links":200}}"#;
        assert_eq!(figure.to_json("link"), expected);
    }

    #[test]
    fn a_target_that_is_missed_is_told_and_one_that_is_not_set_is_null() {
        assert_eq!(Figure::new("ratio", 0.5, "x").at_least(0.7).holds(), Some(false));
        assert!(Figure::new("hops", 1.5, "").to_json("ring").contains(r#""target": null, "holds": null"#));
    }
}
