//! What a run has found, and its forms: a table, JSON, CSV and plots.

mod csv;
mod json;
mod plot;
pub mod ring;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

pub use plot::{Axis, Plot, Series, Style};

use crate::settings::Chosen;

/// What a run has found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// In one line, for people.
    pub title: String,
    /// How to get it once more.
    pub origin: Origin,
    /// The run was ended before its time: it holds what was measured until then.
    pub interrupted: bool,
    /// What the cells of each row are.
    pub columns: Vec<Column>,
    /// What was measured, a cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// What the reader should know beside the rows.
    pub notes: Vec<String>,
    /// What the run took. Not the same in each run.
    pub cost: Cost,
    /// Pictures of it.
    pub figures: Vec<Figure>,
}

/// How to get a report once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The scenario.
    pub scenario: String,
    /// The version of the simulator, which is that of the protocol.
    pub version: String,
    /// Every setting of the scenario, the seed among them.
    pub settings: Vec<Chosen>,
    /// The one command that repeats it.
    pub repeat: String,
}

/// What the cells of one column are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Short and unique in the report: `mean`.
    pub name: String,
    /// Of numbers: `hops`. Empty for names and plain counts.
    pub unit: String,
    /// Digits behind the point in the table; JSON and CSV have all of them.
    pub digits: usize,
}

impl Column {
    /// A column of numbers with so many digits behind the point, or of text.
    pub fn new(name: impl Into<String>, unit: impl Into<String>, digits: usize) -> Self {
        Column { name: name.into(), unit: unit.into(), digits }
    }
}

/// One value of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Cell {
    /// A number, in the column's unit.
    Number(f64),
    /// A name.
    Text(String),
    /// It could not be measured.
    Missing,
}

impl From<f64> for Cell {
    fn from(number: f64) -> Self {
        if number.is_finite() { Cell::Number(number) } else { Cell::Missing }
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Cell::Number(number as f64)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Cell::Number(number as f64)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Cell::Text(text)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Missing, Into::into)
    }
}

/// What a run took of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Cost {
    /// Real time, in seconds.
    pub seconds: f64,
    /// Inputs that nodes took.
    pub events: u64,
    /// The most memory that the process had at one time, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Figure {
    /// Curves over axes.
    Plot(Plot),
    /// A drawing.
    Drawing {
        /// A word for file names.
        name: String,
        /// The drawing itself.
        #[serde(skip)]
        svg: String,
    },
}

impl Figure {
    fn name(&self) -> &str {
        match self {
            Figure::Plot(plot) => &plot.name,
            Figure::Drawing { name, .. } => name,
        }
    }
}

/// What a file of a picture holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Svg,
    Png,
}

impl Report {
    /// An empty report.
    pub fn new(title: impl Into<String>) -> Self {
        Report { title: title.into(), ..Report::default() }
    }

    /// The report with these columns: name, unit, and digits behind the point.
    #[must_use]
    pub fn with_columns(mut self, columns: &[(&str, &str, usize)]) -> Self {
        self.columns = columns.iter().map(|&(name, unit, digits)| Column::new(name, unit, digits)).collect();
        self
    }

    /// Adds what was measured once.
    ///
    /// # Panics
    ///
    /// When there are more or fewer cells than columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        let cells: Vec<Cell> = cells.into_iter().collect();
        assert_eq!(cells.len(), self.columns.len(), "a row has one cell for each column");
        self.rows.push(cells);
    }

    /// The numbers of a column, by its name, with the row that each stands in.
    pub fn numbers(&self, column: &str) -> Vec<Option<f64>> {
        let at = self.columns.iter().position(|found| found.name == column);
        let number = |row: &Vec<Cell>| match row.get(at?) {
            Some(Cell::Number(number)) => Some(*number),
            _ => None,
        };
        self.rows.iter().map(number).collect()
    }

    /// The table for a terminal, with its title before and what it took after it.
    pub fn to_table(&self) -> String {
        table::render(self)
    }

    /// One JSON object.
    ///
    /// # Errors
    ///
    /// When a value has no form in JSON, which no report should hold.
    pub fn to_json(&self) -> Result<String> {
        json::render(self)
    }

    /// Comma-separated values: a line of names, then the rows, with all digits.
    ///
    /// # Errors
    ///
    /// When a row cannot be written.
    pub fn to_csv(&self) -> Result<String> {
        csv::render(self)
    }

    /// Writes the pictures to a file (`.svg` or `.png`), or to a directory as both. Gives the files.
    ///
    /// A report with several pictures writes the first under the name of the file, and each other beside it with its own name
    /// appended.
    ///
    /// # Errors
    ///
    /// When there is nothing to draw, a file cannot be written, or a drawing is wanted as PNG.
    pub fn write_figures(&self, to: &Path) -> Result<Vec<PathBuf>> {
        if self.figures.is_empty() {
            bail!("there is nothing to draw: the run measured too little");
        }
        let mut written = Vec::new();
        match format_of(to)? {
            Some(format) => {
                for (at, figure) in self.figures.iter().enumerate() {
                    let path = if at == 0 { to.to_owned() } else { beside(to, figure.name()) };
                    write(figure, format, &path)?;
                    written.push(path);
                }
            }
            None => {
                std::fs::create_dir_all(to).with_context(|| format!("cannot make the directory {}", to.display()))?;
                for figure in &self.figures {
                    let formats: &[(Format, &str)] = match figure {
                        Figure::Plot(_) => &[(Format::Svg, "svg"), (Format::Png, "png")],
                        Figure::Drawing { .. } => &[(Format::Svg, "svg")],
                    };
                    for (format, extension) in formats {
                        let path = to.join(format!("{}-{}.{extension}", self.origin.scenario, figure.name()));
                        write(figure, *format, &path)?;
                        written.push(path);
                    }
                }
            }
        }
        Ok(written)
    }
}

/// Says what is wrong with the name of a file for pictures, before anything runs.
///
/// # Errors
///
/// A text that names the mend.
pub fn check_figure_path(path: &Path) -> Result<(), String> {
    format_of(path).map(|_| ()).map_err(|error| error.to_string())
}

/// `None`: a directory.
fn format_of(path: &Path) -> Result<Option<Format>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        _ if path.is_dir() => Ok(None),
        Some("svg") => Ok(Some(Format::Svg)),
        Some("png") => Ok(Some(Format::Png)),
        None => Ok(None),
        Some(other) => bail!("{}: .{other} is no form of a plot; write .svg, .png or a directory", path.display()),
    }
}

fn beside(path: &Path, name: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{name}.{extension}"))
}

fn write(figure: &Figure, format: Format, path: &Path) -> Result<()> {
    let bytes = match (figure, format) {
        (Figure::Plot(plot), Format::Svg) => plot.to_svg().into_bytes(),
        (Figure::Plot(plot), Format::Png) => plot.to_png()?,
        (Figure::Drawing { svg, .. }, Format::Svg) => svg.clone().into_bytes(),
        (Figure::Drawing { .. }, Format::Png) => bail!("{}: a drawing is SVG; name the file .svg", path.display()),
    };
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
