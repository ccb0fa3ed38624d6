//! Curves over axes, drawn by the crate `kuva` as SVG or PNG. Its PNGs need no fonts of the machine.

use anyhow::Result;
use kuva::prelude::{Layout, LegendPosition, LinePlot, MarkerShape, Plot as Drawn, ScatterPlot};
use kuva::{TickFormat, render_to_png, render_to_svg};
use serde::Serialize;

use super::table::grouped;

/// Colours that people with any colour vision tell apart: Okabe and Ito, "Color universal design", 2008.
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#444444"];

/// Pixels of a PNG for each unit of the SVG.
const PNG_SCALE: f32 = 2.0;

/// Width of a plot, in units of the SVG.
const WIDTH: f64 = 820.0;

/// Height of a plot, in units of the SVG.
const HEIGHT: f64 = 420.0;

/// Room above the highest point of an axis that begins at zero.
const HEADROOM: f64 = 1.08;

/// Pieces that the line of a formula is drawn in.
const SMOOTH: usize = 48;

/// Curves over axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plot {
    /// A word for file names.
    pub name: String,
    /// The line above.
    pub title: String,
    /// The axis to the right.
    pub x: Axis,
    /// The axis upwards. It begins at zero unless it is logarithmic.
    pub y: Axis,
    /// The curves.
    pub series: Vec<Series>,
}

/// One axis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Axis {
    /// What it shows, with its unit in parentheses: `path length (hops)`.
    pub label: String,
    /// Each step is a multiple of the one before.
    pub logarithmic: bool,
}

impl Axis {
    /// An axis with equal steps.
    pub fn linear(label: impl Into<String>) -> Self {
        Axis { label: label.into(), logarithmic: false }
    }

    /// An axis of powers of ten.
    pub fn logarithmic(label: impl Into<String>) -> Self {
        Axis { label: label.into(), logarithmic: true }
    }
}

/// One curve.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// What the legend calls it.
    pub name: String,
    /// Where its points come from.
    pub style: Style,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A formula, drawn smoothly from one x to another. `by_factors`: at equal ratios instead of equal distances.
    pub fn formula(name: impl Into<String>, (from, to): (f64, f64), by_factors: bool, y: impl Fn(f64) -> f64) -> Self {
        let at = |step: usize| match step as f64 / SMOOTH as f64 {
            share if by_factors => from * libm::pow(to / from, share),
            share => from + (to - from) * share,
        };
        Series::new(name, Style::Theory, (0..=SMOOTH).map(at).map(|x| (x, y(x))))
    }

    /// A curve of this name; points that are no numbers are left out.
    pub fn new(name: impl Into<String>, style: Style, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        Series { name: name.into(), style, points }
    }
}

/// Where the points of a curve come from, and so how it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// From this run: points on a line.
    Measured,
    /// From a formula: a broken line.
    Theory,
    /// From a paper's own measurements: marks alone.
    Paper,
}

impl Plot {
    /// The plot as the text of an SVG file.
    pub fn to_svg(&self) -> String {
        let (drawn, layout) = self.drawn();
        render_to_svg(drawn, layout)
    }

    /// The plot as the bytes of a PNG file.
    ///
    /// # Errors
    ///
    /// When the picture cannot be encoded.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let (drawn, layout) = self.drawn();
        render_to_png(drawn, layout, PNG_SCALE).map_err(anyhow::Error::msg)
    }

    fn drawn(&self) -> (Vec<Drawn>, Layout) {
        let drawn: Vec<Drawn> = self
            .series
            .iter()
            .enumerate()
            .flat_map(|(at, series)| self.draw(series, COLOURS[at % COLOURS.len()]))
            .collect();
        let mut layout = Layout::auto_from_plots(&drawn)
            .with_title(&self.title)
            .with_x_label(&self.x.label)
            .with_y_label(&self.y.label)
            .with_width(WIDTH)
            .with_height(HEIGHT)
            .with_legend_position(LegendPosition::OutsideRightTop);
        if self.x.logarithmic {
            layout = layout.with_log_x().with_x_tick_format(TickFormat::Custom(std::sync::Arc::new(plain)));
        }
        if self.y.logarithmic {
            layout = layout.with_log_y();
        } else {
            let highest = self.points().map(|(_, y)| y).fold(0.0, f64::max);
            layout = layout.with_y_axis_min(0.0).with_y_axis_max(if highest > 0.0 { highest * HEADROOM } else { 1.0 });
        }
        (drawn, layout)
    }

    fn draw(&self, series: &Series, colour: &str) -> Vec<Drawn> {
        let points: Vec<(f64, f64)> = series.points.iter().copied().filter(|&point| self.shows(point)).collect();
        let line = || LinePlot::new().with_data(points.iter().copied()).with_color(colour);
        let marks = || ScatterPlot::new().with_data(points.iter().copied()).with_color(colour);
        match series.style {
            _ if points.is_empty() => Vec::new(),
            Style::Measured => {
                vec![line().with_stroke_width(2.0).with_legend(&series.name).into(), marks().with_size(3.5).into()]
            }
            Style::Theory => vec![line().with_stroke_width(1.5).with_dashed().with_legend(&series.name).into()],
            Style::Paper => {
                vec![marks().with_size(5.0).with_marker(MarkerShape::Diamond).with_legend(&series.name).into()]
            }
        }
    }

    /// Zero has no place on a logarithmic axis.
    fn shows(&self, (x, y): (f64, f64)) -> bool {
        (x > 0.0 || !self.x.logarithmic) && (y > 0.0 || !self.y.logarithmic)
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.series.iter().flat_map(|series| series.points.iter().copied())
    }
}

fn plain(number: f64) -> String {
    if number >= 1.0 { grouped(number.round() as u64) } else { format!("{number}") }
}
